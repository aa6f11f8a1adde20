"""From the results of single frames to the tables of a set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_perception.core.types import UNKNOWN
from edge_perception.evaluation.confidence import confidence_table
from edge_perception.evaluation.drive_recordings import ONE_CAMERA
from edge_perception.evaluation.drive_tables import (
    RIGHT_TARGET,
    emergency_table,
    track_table,
)
from edge_perception.evaluation.drives import WAYS, DriveResult
from edge_perception.evaluation.matching import Judged, ap_table
from edge_perception.evaluation.resampling import FEW, interval
from edge_perception.evaluation.rig import SUBSETS, ModelSet, shipped_thresholds
from edge_perception.evaluation.robustness import robustness_table
from edge_perception.evaluation.surround import (
    ALL,
    CAMERA_LOST,
    DECISION,
    LIDAR_LOST,
    SURROUND,
    TRIALS,
    sources_of,
)
from edge_perception.evaluation.trials import (
    CLEAN_LENS,
    CLEAR_DAY,
    CONDITION_SUBSETS,
    EVERYTHING,
    LENS_SUBSETS,
    VIEW,
    Heard,
    Result,
)
from edge_perception.simulation.soiling import LENSES

_FULL = SUBSETS[0]
NEAR_DEG = 20.0  # a bearing that points at the right road user


def build_report(
    results: Sequence[Result], models: ModelSet, drives: Sequence[DriveResult] = ()
) -> dict[str, Any]:
    """Return all tables; NaN stands for what could not be measured.

    Args:
        results: of single frames.
        models: that made them.
        drives: for tracks and sirens; none: these tables are empty.
    """
    report: dict[str, Any] = {"subsets": _subsets(results, models)}
    report["conditions"] = _conditions(results)
    report["lens"] = _lenses(results)
    report["decision_vs_feature"] = _levels(results)
    report["stamp_offset_ms"] = _series(results, "delay_ms")
    report["calibration_error_deg"] = _series(results, "calibration_deg")
    report["int8_delta"] = _int8(results)
    report["robustness"] = {"simulated": _robustness(results)}
    report["rigs"] = _rigs(results)
    report["tracks"] = track_table(drives)
    report["emergency"] = emergency_table(drives)
    report["targets"] = targets(report) | drive_targets(report["emergency"])
    return report


def joined(results: Sequence[Result], what: str, which: str, where: str) -> Judged:
    """Return all frames' detections of one trial."""
    key = (what, which, where)
    return Judged.joined([item.judged[key] for item in results if key in item.judged])


def _has(results: Sequence[Result], what: str, which: str) -> bool:
    return any((what, which, EVERYTHING) in item.judged for item in results)


def _subsets(results: Sequence[Result], models: ModelSet) -> dict[str, Any]:
    table = {}
    for subset in SUBSETS:
        judged = joined(results, "feature", subset, EVERYTHING)
        view = ap_table(joined(results, "feature", subset, VIEW))
        table[subset] = {
            **ap_table(judged),
            "map_camera_view": view["map"],
            "ap_camera_view": view["ap"],
            **confidence_table(judged, shipped_thresholds(models.fusion, subset)),
            **_sounds(results, subset),
        }
    return table


def _sounds(results: Sequence[Result], subset: str) -> dict[str, Any]:
    heard = [item for result in results for item in result.heard.get(subset, ())]
    if not heard:
        return {"siren_f1": None, "sound_f1": None, "bearing": None}
    names = sorted({item.class_name for item in heard})
    scores = {name: sound_f1([i for i in heard if i.class_name == name]) for name in names}
    return {
        "siren_f1": scores["siren"]["f1"],
        "sound_f1": scores,
        "bearing": {name: bearing_table([i for i in heard if i.class_name == name])
                    for name in names},
    }  # fmt: skip


def bearing_table(heard: Sequence[Heard]) -> dict[str, float]:
    """Return of the sounds that were there and reported: the share with a bearing, its errors."""
    right = [item.bearing_error_rad for item in heard if item.present and item.reported]
    errors = np.degrees([error for error in right if not math.isnan(error)])
    if not len(errors):
        return {"given": 0.0, "median_deg": UNKNOWN, "within_20_deg": UNKNOWN}
    return {
        "given": len(errors) / len(right),
        "median_deg": float(np.median(errors)),
        "within_20_deg": float((errors < NEAR_DEG).mean()),
    }


def sound_f1(heard: Sequence[Heard]) -> dict[str, float]:
    """Return precision, recall, F1 and how often the sound was there."""
    right = sum(item.present and item.reported for item in heard)
    precision = right / max(sum(item.reported for item in heard), 1)
    recall = right / max(sum(item.present for item in heard), 1)
    return {
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "precision": precision,
        "recall": recall,
        "present": sum(item.present for item in heard),
    }


def _conditions(results: Sequence[Result]) -> dict[str, Any]:
    groups: dict[str, Callable[[Result], bool]] = {
        "day": lambda r: r.light == "day",
        "dusk": lambda r: r.light == "dusk",
        "night": lambda r: r.light == "night",
        "clear": lambda r: r.weather == "clear",
        "rain": lambda r: r.weather == "rain",
        "fog": lambda r: r.weather == "fog",
        "day_clear": lambda r: (r.light, r.weather) == ("day", "clear"),
        "night_fog": lambda r: (r.light, r.weather) == ("night", "fog"),
    }
    table = {}
    for name, belongs in groups.items():
        picked = [item for item in results if belongs(item)]
        if picked:
            entry: dict[str, Any] = {"frames": len(picked)}
            entry |= {subset: _map(picked, "feature", subset) for subset in SUBSETS}
            entry[CLEAR_DAY] = {s: _map(picked, CLEAR_DAY, s) for s in CONDITION_SUBSETS}
            entry["lost_points"] = _lost_points(picked)
            if len(picked) < FEW:
                entry["lost_points_90"] = interval(picked, _lost_points)
            table[name] = entry
    return table


def _lost_points(results: Sequence[Result]) -> float:
    """Return by how much the fused mAP is below that of the same scenes by clear day."""
    return 100 * (_map(results, CLEAR_DAY, _FULL) - _map(results, "feature", _FULL))


def _map(results: Sequence[Result], what: str, which: str) -> float:
    return float(ap_table(joined(results, what, which, EVERYTHING))["map"])


def _lenses(results: Sequence[Result]) -> dict[str, Any]:
    """Return by lens the mAP of the same frames, camera and LiDAR, and in the camera's view."""
    if not _has(results, "lens", f"{CLEAN_LENS} camera"):
        return {}
    table: dict[str, Any] = {"frames": sum(bool(item.altered) for item in results)}
    for lens in (CLEAN_LENS, *LENSES):
        table[lens] = {
            f"{subset}{suffix}": ap_table(joined(results, "lens", f"{lens} {subset}", where))["map"]
            for subset in LENS_SUBSETS
            for suffix, where in (("", EVERYTHING), ("_view", VIEW))
        }
    return table


def _levels(results: Sequence[Result]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, what, which in (
        ("feature_camera+lidar", "feature", "camera+lidar"),
        ("decision_camera+lidar", "decision", "camera+lidar"),
        ("lidar_encoder_alone", "decision", "lidar"),
        ("camera_encoder_alone", "decision", "camera"),
    ):
        everything = ap_table(joined(results, what, which, EVERYTHING))
        view = ap_table(joined(results, what, which, VIEW))
        table[name] = {
            "map": everything["map"], "map_2m": everything["map_2m"], "ap": everything["ap"],
            "map_camera_view": view["map"],
        }  # fmt: skip
    singles = ("lidar_encoder_alone", "camera_encoder_alone")
    best = max(singles, key=lambda name: table[name]["map"])
    table["best_single"] = best
    table["feature_minus_best_single"] = table["feature_camera+lidar"]["map"] - table[best]["map"]
    return table


def _series(results: Sequence[Result], what: str) -> dict[str, Any]:
    names = dict.fromkeys(key[1] for item in results for key in item.judged if key[0] == what)
    return {
        name: {
            "map": ap_table(joined(results, what, name, EVERYTHING))["map"],
            "map_camera_view": ap_table(joined(results, what, name, VIEW))["map"],
        }
        for name in names
    }


def _int8(results: Sequence[Result]) -> dict[str, Any] | None:
    if not _has(results, "precision", "int8"):
        return None
    maps = {
        name: ap_table(joined(results, "precision", name, EVERYTHING))["map"]
        for name in ("fp32", "int8")
    }
    return {**maps, "map_delta": maps["int8"] - maps["fp32"]}


def _robustness(results: Sequence[Result]) -> dict[str, Any]:
    rows = [item.altered for item in results if item.altered]
    if not rows:
        return {"frames": 0, "why_not": "no frame with disturbances (--extra)"}
    return robustness_table(rows)


def _rigs(results: Sequence[Result]) -> dict[str, Any]:
    """Return by rig the mAP with everything and with sensors lost, and what share of it is left."""
    tried = [item.rigs for item in results if item.rigs]
    table: dict[str, Any] = {}
    for rig in dict.fromkeys(rig for trials in tried for rig, _ in trials):
        maps = {}
        for trial in TRIALS:
            judged = Judged.joined([trials[rig, trial].judged for trials in tried])
            maps[trial] = ap_table(judged)["map"]
        fused = [t for trials in tried for (r, name), t in trials.items()
                 if r == rig and name != DECISION]  # fmt: skip
        table[rig] = {
            "frames": len(tried),
            "sources": list(sources_of(rig)),
            "map": maps,
            "share": {trial: maps[trial] / max(maps[ALL], 1e-9) for trial in TRIALS[1:]},
            "at_feature_level": sum(t.at_feature_level for t in fused) / len(fused),
        }
    return table


def targets(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the set is meant to reach, what it reaches, and whether that is enough."""
    maps = {name: entry["map"] for name, entry in report["subsets"].items()}
    full, conditions = maps[_FULL], report["conditions"]
    best = max(maps["lidar"], maps["camera"])
    day = conditions.get("day", {}).get(_FULL, float("nan"))
    rows = {
        "fused above the best single modality, points": (100 * (full - best), ">=", 5.0),
        "LiDAR lost, share of the full mAP": (maps["camera+audio"] / full, ">=", 0.5),
        "camera lost, share of the full mAP": (maps["lidar+audio"] / full, ">=", 0.8),
        "audio lost, change in points": (100 * abs(full - maps["camera+lidar"]), "<=", 1.0),
        "siren F1 at 0 dB": (report["subsets"][_FULL]["siren_f1"], ">=", 0.9),
    }
    surround = report["rigs"].get(SURROUND)
    if surround:
        left = surround["share"]
        rows[f"{SURROUND}, LiDAR lost, share of the mAP"] = (left[LIDAR_LOST], ">=", 0.5)
        rows[f"{SURROUND}, one lost, share of the mAP"] = (left[CAMERA_LOST], ">=", 0.8)
    for name in ("night", "fog"):
        if name in conditions:
            drop = 100 * (day - conditions[name][_FULL])
            rows[f"{name}: fused below day, points"] = (drop, "<=", 10.0)
            lost = conditions[name]["lost_points"]
            rows[f"{name}: below the same by clear day, points"] = (lost, "<=", 10.0)
    return {
        name: {
            "value": value, "limit": f"{sign} {limit:g}",
            "reached": bool(value >= limit if sign == ">=" else value <= limit),
        }
        for name, (value, sign, limit) in rows.items()
    }  # fmt: skip


def drive_targets(emergency: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is asked of sirens in drives."""
    if ONE_CAMERA not in emergency:
        return {}
    value = emergency[ONE_CAMERA][WAYS[0].name]["visible"]["right"]
    reached = bool(value >= RIGHT_TARGET)
    entry = {"value": value, "limit": f">= {RIGHT_TARGET:g}", "reached": reached}
    return {"siren: right object where it is visible": entry}


def without_nan(value: Any) -> Any:
    """Return plain data with null in the place of NaN, as JSON wants it."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
