"""Candidates of one model: made as bundles, judged, timed in turns with the model before."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import Bundle
from edge_perception.models.writing import write_bundle
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.findings import write_text
from edge_perception.optimize.judging import Judge
from edge_perception.optimize.measuring import Runner, compare
from edge_perception.optimize.verdicts import Gate, Verdict, failed

_ROUNDS, _RUNS = 5, 10
# Rounding may fall to the other side on another processor; the map as a whole must not change.
_GATE = {"absolute_tolerance": 10.0, "cosine": 0.99}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One graph that may take the place of the model before."""

    name: str
    data: bytes
    precision: str
    verdict: Verdict
    ratio: float = float("nan")  # of the time of the model before, in turns
    ratio_low: float = float("nan")
    ratio_high: float = float("nan")
    p50_ms: float = float("nan")
    memory_mb: float = float("nan")
    note: str = ""
    backend: str = DEFAULT_BACKEND  # the runtime that it was judged and timed on

    def row(self, gate: Gate) -> dict[str, Any]:
        """Return plain data."""
        return {
            "candidate": self.name, "bytes": len(self.data), "ratio": self.ratio,
            "ratio_low": self.ratio_low, "ratio_high": self.ratio_high, "p50_ms": self.p50_ms,
            "memory_mb": self.memory_mb, "loss_points": self.verdict.loss,
            "loss_low": self.verdict.interval[0], "loss_high": self.verdict.interval[1],
            "score_points": self.verdict.score, "within_gate": gate.holds(self.verdict),
            "backend": self.backend,
            "note": self.verdict.failure or self.note,
        }  # fmt: skip


class Remembered:
    """Verdicts and times on disk, by what they are of: an interrupted command goes on there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
            self._known = known if isinstance(known, dict) else {}

    def get(self, key: str) -> Any:
        """Return what is known of a key; None: nothing."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep it."""
        self._known[key] = value
        write_text(self._path, json.dumps(self._known))


def about_of(judge: Judge, frames: str) -> str:
    """Return what a verdict of a judge depends on, beside the candidate.

    Args:
        judge: of the models that it knows.
        frames: names the frames and how they were taken.
    """
    return f"{judge.about} {frames} {judge.what} {judge.frames}"


class Trials:
    """Judges and times candidates of one bundle."""

    def __init__(self, bundle: Bundle, judge: Judge, work: Path, about: str) -> None:
        """Prepare.

        Args:
            bundle: the model before.
            judge: says what a candidate costs.
            work: folder where results are remembered.
            about: what else they depend on: which frames, which gate.
        """
        self.bundle, self._judge = bundle, judge
        self.frames = judge.frames
        self._about = about_of(judge, about)
        self.remembered = Remembered(work / "remembered.json")
        self._folder = tempfile.TemporaryDirectory(prefix="edge_perception_candidates_")
        self._base: Runner | None = None

    def verdict(self, data: bytes, backend: str = DEFAULT_BACKEND) -> Verdict:
        """Judge a graph on a runtime."""
        key = f"verdict {backend} {self._key(data)}"
        known = self.remembered.get(key)
        if known is not None:
            return Verdict(**known)
        try:
            session = load_model_bytes(
                backends()[backend], data, Path("candidate.onnx"), BackendOptions()
            )
        except (EdgePerceptionError, RuntimeError) as error:
            return failed(error)
        try:
            found = self._judge.judge(session)
        finally:
            session.close()
        self.remembered.put(key, asdict(found))
        return found

    def candidate(
        self,
        name: str,
        data: bytes,
        precision: str,
        note: str = "",
        backend: str = DEFAULT_BACKEND,
    ) -> Candidate:
        """Judge and time a graph on a runtime; the model before runs on the default one."""
        made = Candidate(
            name=name,
            data=data,
            precision=precision,
            verdict=self.verdict(data, backend),
            note=note,
            backend=backend,
        )
        if made.verdict.failure:
            return made
        digest = hashlib.sha256(data).hexdigest()
        key = f"times {backend} {self.bundle.sha256} {digest}"
        times = self.remembered.get(key)
        if times is None:
            try:
                times = self._times(made)
            except (EdgePerceptionError, OSError) as error:
                return replace(made, verdict=failed(error))
            self.remembered.put(key, times)
        return replace(made, **times)

    def _times(self, made: Candidate) -> dict[str, float]:
        role = self.bundle.manifest.role
        if self._base is None:
            self._base = Runner({role: Configuration(bundle=self.bundle)})
            self._base.run(3)
        target = Path(self._folder.name) / "candidate"
        try:
            way = Configuration(
                bundle=write_variant(self.bundle, target, made, {}), backend=made.backend
            )
            found = compare(self._base, {role: way}, rounds=_ROUNDS, sets=_RUNS)
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return {
            "ratio": found.ratio, "ratio_low": found.ratio_low, "ratio_high": found.ratio_high,
            "p50_ms": found.p50_ms, "memory_mb": float(found.told[role]["memory_mb"]),
        }  # fmt: skip

    def _key(self, data: bytes) -> str:
        return hashlib.sha256(self._about.encode() + data).hexdigest()

    def base_ms(self) -> float:
        """Return the median time of the model before, alone, ms."""
        role = self.bundle.manifest.role
        if self._base is None:
            self._base = Runner({role: Configuration(bundle=self.bundle)})
        times = sorted(self._base.run(30)["set_ms"])
        return float(times[len(times) // 2])

    def close(self) -> None:
        """End the helper and remove what was written for it."""
        if self._base is not None:
            self._base.close()
        self._folder.cleanup()

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_variant(
    bundle: Bundle,
    folder: Path,
    made: Candidate,
    changes: Mapping[str, Any],
    *,
    note: str = "",
    replace_it: bool = False,
) -> Bundle:
    """Write a candidate as a variant of a bundle, with golden outputs of its own.

    Args:
        bundle: what it was made of.
        folder: of the new bundle.
        made: the candidate.
        changes: fields of the manifest in place of those of the bundle.
        note: for its model card.
        replace_it: overwrite a bundle that is there.
    """
    manifest = json.loads(json.dumps(asdict(bundle.manifest)))
    for field in ("files", "golden", "created"):
        manifest.pop(field, None)
    for field in ("calibration_set",):
        if manifest.get(field) is None:
            manifest.pop(field, None)
    manifest["runtime"].pop("opset", None)
    manifest["runtime"]["precision"] = made.precision
    manifest["gates"]["outputs"] = {spec["name"]: dict(_GATE) for spec in manifest["outputs"]}
    manifest.update(changes)
    objectives = manifest.get("objectives") or {}
    manifest["objectives"] = {k: v for k, v in objectives.items() if v is not None}
    card = bundle.manifest.provenance.model_card
    files = {}
    if card in bundle.manifest.files:
        files[card] = bundle.read(card) + note.encode()
    inputs, _ = read_golden(bundle)
    return write_bundle(
        folder, manifest=manifest, model=made.data, golden_inputs=inputs, files=files,
        replace=replace_it, backend=made.backend,
    )  # fmt: skip
