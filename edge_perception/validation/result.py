"""The result of a validation: one recording replayed and judged, and result.json over all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.validation.baseline import Baseline, commit_name, device_name
from edge_perception.validation.diff import Comparison
from edge_perception.validation.findings import Finding
from edge_perception.validation.metrics import RunFigures, Series
from edge_perception.validation.settings import ReplaySettings
from edge_perception.validation.thresholds import RESULT_SCHEMA, Thresholds


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """What `validate` is asked for, beside the replays."""

    out: Path
    baseline: Path | None = None
    update_baseline: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    jobs: int = 1
    ray: str = ""


@dataclass(kw_only=True)
class BagResult:
    """One recording, validated."""

    name: str
    settings: ReplaySettings
    folder: Path
    account: dict[str, Any] = field(default_factory=dict)
    figures: RunFigures | None = None
    baseline: Baseline | None = None
    comparison: Comparison | None = None
    modes_then: Series = field(default_factory=Series)  # of the baseline
    findings: list[Finding] = field(default_factory=list)
    failure: str = ""  # it could not be replayed
    usage: bool = False
    replaying_s: float = 0.0  # of all recordings of the command together, wall time

    @property
    def passed(self) -> bool:
        """Whether it was replayed and nothing failed."""
        return not self.failure and not any(finding.failed for finding in self.findings)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What of the recording did not arrive: the verdict holds for the rest only."""
        return tuple(self.account.get("problems", ()))

    @property
    def throughput_ratio(self) -> float | None:
        """Throughput against the models in a loop, with their pre- and postprocessing."""
        return _ratio(self.account.get("work_s"), self.account.get("wall_s"))

    def to_json(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        if self.failure:
            return {"name": self.name, "bag": self.settings.bag, "failure": self.failure}
        account = self.account
        assert self.figures is not None
        base = self.baseline
        return {
            "name": self.name,
            "bag": self.settings.bag,
            "passed": self.passed,
            "sha256": account["sha256"],
            "throughput_ratio": self.throughput_ratio,
            "throughput_ratio_inference_only": _ratio(account["bare_s"], account["wall_s"]),
            "peak_mb": account["peak_mb"],
            "replay_s": round(account["wall_s"], 3),
            "real_time_factor": _ratio(account["recording"]["duration_s"], account["wall_s"]),
            "segments": account["segments"],
            "recording": account["recording"],
            "notes": account["notes"],
            "topics": account["topics"],
            "what_if": self.settings.what_if(),
            "latency_model": self.settings.latency,
            "models": account["models"],
            "parameters": account["parameters"],
            "metrics": self.figures.metrics(),
            "dropped": account["dropped"],
            "baseline": None
            if base is None
            else {
                "path": str(base.path),
                "commit": base.head.commit,
                "device": base.head.device,
                "runtime": base.head.runtime,
                "sha256": base.head.sha256,
                "same_bytes": base.head.sha256 == account["sha256"],
                "same_recording": base.exact,
                "metrics": base.head.metrics,
            },
            "findings": [
                {"kind": f.kind, "text": f.line(), "count": f.count, "failed": f.failed}
                for f in self.findings
            ],
        }


def result_document(results: Sequence[BagResult], started: float) -> dict[str, Any]:
    """Return result.json: of one recording flat, of several with a list."""
    bags = [result.to_json() for result in results]
    whole: dict[str, Any] = {
        "schema": RESULT_SCHEMA,
        "passed": all(result.passed for result in results),
        "commit": commit_name(),
        "device": device_name(),
        "wall_s": round(time.monotonic() - started, 3),
        "replaying_s": round(max((r.replaying_s for r in results), default=0.0), 3),
    }
    if len(bags) == 1:
        return {**bags[0], **whole}
    good = [bag for bag in bags if "sha256" in bag]
    ratios = [bag["throughput_ratio"] for bag in good if bag["throughput_ratio"]]
    whole["throughput_ratio"] = min(ratios, default=None)
    whole["peak_mb"] = max((bag["peak_mb"] for bag in good), default=None)
    return {**whole, "bags": bags}


def _ratio(a: float | None, b: float | None) -> float | None:
    return round(a / b, 4) if a and b else None
