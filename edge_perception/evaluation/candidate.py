"""A candidate beside the set that serves: on the same frames, and the verdict with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.evaluation.better import Comparison, Margin, compare
from edge_perception.evaluation.frames import load_frame
from edge_perception.evaluation.matching import Judged
from edge_perception.evaluation.recorded import RecordedFrames, judge_features
from edge_perception.evaluation.rig import MODALITIES, ModelSet, Rig, load_set
from edge_perception.models.manifest import FUSION, MANIFEST_NAME, load_bundle

EVIDENCE = "edge_perception/evidence/1"
SUBSETS = {"recordings": "camera+lidar", "simulated": "camera+lidar+audio"}
Progress = Callable[[int], None]


def read_current(folder: Path) -> ModelSet:
    """Read the set that serves.

    Raises:
        ModelError: as `load_set`.
    """
    return load_set(folder)


def candidate_set(current: ModelSet, path: Path) -> ModelSet:
    """Return the set that serves with a candidate in it.

    Args:
        current: what serves.
        path: a bundle, or a folder with bundles by role; roles that it has not stay.

    Raises:
        ModelError: a bundle cannot be used.
        ConfigurationError: there is none, or it does not belong to the rest.
    """
    if (path / MANIFEST_NAME).is_file():
        bundles = [load_bundle(path)]
    else:
        bundles = [load_bundle(f.parent) for f in sorted(path.glob(f"*/{MANIFEST_NAME}"))]
    if not bundles:
        raise ConfigurationError(f"{path}: expected a bundle or a folder of bundles, found none")
    changed = {bundle.manifest.role: bundle for bundle in bundles}
    unknown = sorted(set(changed) - set(vars(current)))
    if unknown:
        raise ConfigurationError(f"{path}: expected camera, lidar, audio or fusion, got {unknown}")
    made = replace(current, **changed)
    if all(made.bundle(role).sha256 == current.bundle(role).sha256 for role in changed):
        raise ConfigurationError(f"{path}: is what serves already")
    accepts = made.fusion.manifest.compatible_with
    for role in MODALITIES:
        space = made.bundle(role).manifest.feature_space
        if space not in accepts:
            raise ConfigurationError(
                f"{path}: fusion takes features of {', '.join(accepts)}, {role} gives '{space}'"
            )
    return made


def compare_on_recordings(
    current: ModelSet,
    candidate: ModelSet,
    recordings: Sequence[tuple[str, RecordedFrames]],
    margin: Margin,
) -> Comparison:
    """Compare on labelled recordings.

    Args:
        current: what serves.
        candidate: what might.
        recordings: with what they belong to: those of one group resemble each other.
        margin: that is asked for.

    Raises:
        ModelError: a bundle cannot be used.
        ConfigurationError: there are too few groups or frames.
    """
    rigs = [Rig(current), Rig(candidate)]
    found: dict[str, tuple[list[Judged], list[Judged]]] = {}
    known: set[bytes] = set()  # a recording that is given twice is no second witness
    try:
        for group, frames in recordings:
            for frame in frames.some(len(frames), known):
                for number, rig in enumerate(rigs):
                    features = {
                        "camera": rig.feature("camera", frame.image, frame.camera),
                        "lidar": rig.feature("lidar", frame.cloud, frame.lidar),
                    }
                    subset = SUBSETS["recordings"]
                    judged = judge_features(
                        rig, features, frame.truth, frame.camera, subsets=(subset,)
                    )
                    results = found.setdefault(group, ([], []))
                    results[number].append(dict(judged)["feature", subset])
    finally:
        for rig in rigs:
            rig.close()
    return compare([r[0] for r in found.values()], [r[1] for r in found.values()], margin)


def compare_on_simulation(
    current: ModelSet,
    candidate: ModelSet,
    seeds: Sequence[int],
    cache: Path,
    margin: Margin,
    progress: Progress = lambda _: None,
) -> Comparison:
    """Compare on simulated scenes, each of them independent; sound is listened to."""
    rigs = [Rig(current), Rig(candidate)]
    results: tuple[list[list[Judged]], list[list[Judged]]] = ([], [])
    subset = SUBSETS["simulated"]
    try:
        for count, seed in enumerate(seeds, 1):
            frame = load_frame(seed, cache)
            for number, rig in enumerate(rigs):
                judged = judge_features(
                    rig, rig.features(frame), frame.truth, frame.camera, subsets=(subset,)
                )
                results[number].append([dict(judged)["feature", subset]])
            progress(count)
    finally:
        for rig in rigs:
            rig.close()
    return compare(*results, margin)


def evidence(
    found: Comparison,
    current: ModelSet,
    candidate: ModelSet,
    data: Mapping[str, Any],
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a registry keeps of a comparison.

    Args:
        found: the comparison.
        current: what served.
        candidate: what is proposed.
        data: on which frames, so that it can be done again.
        left_out: labelled frames that could not be used, and why.
    """
    return {
        "schema": EVIDENCE,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "better": found.better,
        "reason": found.reason,
        "map_points": {
            "current": round(found.current, 3),
            "candidate": round(found.candidate, 3),
            "difference": round(found.difference, 3),
            "low": round(found.low, 3),
            "high": round(found.high, 3),
        },
        "margin": asdict(found.margin),
        "frames": found.frames,
        "groups": found.groups,
        "left_out": list(left_out),
        "ap_points": {
            name: {"current": round(a, 2), "candidate": round(b, 2)}
            for name, (a, b) in found.classes.items()
        },
        "current": _names(current),
        "candidate": _names(candidate),
        "data": dict(data),
    }


def _names(models: ModelSet) -> dict[str, str]:
    """Return digest of the manifest by role."""
    return {role: models.bundle(role).sha256 for role in (*MODALITIES, FUSION)}
