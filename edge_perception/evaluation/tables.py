"""The tables as text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from edge_perception.evaluation import drive_tables, robustness
from edge_perception.evaluation.matching import CLASSES
from edge_perception.evaluation.surround import TRIALS
from edge_perception.evaluation.trials import CLEAR_DAY, CONDITION_SUBSETS


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the printed report."""
    yield from _subsets(report)
    yield from _conditions(report)
    yield from _lenses(report["lens"])
    yield ""
    yield "level                     mAP   at 2 m  in view of the camera"
    for name, entry in report["decision_vs_feature"].items():
        if isinstance(entry, dict):
            view = _number(entry["map_camera_view"])
            yield f"{name:24} {_number(entry['map'])}  {_number(entry['map_2m'])}   {view}"
    for key, title in (
        ("stamp_offset_ms", "image older than the sweep, ms"),
        ("calibration_error_deg", "camera turned, degrees"),
    ):
        if report[key]:
            yield ""
            yield f"{title}: mAP, in view of the camera"
            for name, entry in report[key].items():
                yield f"{name:>8}  {_number(entry['map'])}  {_number(entry['map_camera_view'])}"
    yield from robustness.lines(report["robustness"])
    yield from _rigs(report)
    yield from drive_tables.lines(report)
    yield ""
    int8 = report["int8_delta"]
    if int8 is None:
        yield "INT8: not measured (--int8)"
    else:
        yield f"INT8: mAP {int8['int8']:.3f} against {int8['fp32']:.3f}"
    yield ""
    yield "target                                           value   limit"
    for name, entry in report["targets"].items():
        verdict = "reached" if entry["reached"] else "NOT reached"
        yield f"{name:46} {_number(entry['value'], 7)}   {entry['limit']:8} {verdict}"


def _subsets(report: dict[str, Any]) -> Iterator[str]:
    names = "  ".join(f"{name[:10]:>10}" for name in CLASSES)
    yield f"{'subset':20} {'mAP':>6} {'2 m':>6} {'view':>6}  {names}    ECE  score  right  siren F1"
    for subset, entry in report["subsets"].items():
        cells = "  ".join(f"{_number(entry['ap'].get(name), 10)}" for name in CLASSES)
        siren = "-" if entry["siren_f1"] is None else f"{entry['siren_f1']:.2f}"
        yield (
            f"{subset:20} {_number(entry['map'], 6)} {_number(entry['map_2m'], 6)} "
            f"{_number(entry['map_camera_view'], 6)}  {cells}  {_number(entry['ece'])}  "
            f"{_number(entry['mean_score'])}  {_number(entry['precision'])}  {siren}"
        )
    for name, found in report["subsets"]["camera+lidar+audio"]["bearing"].items():
        yield (
            f"bearing of {name:10} given for {found['given']:.0%} of those heard, error "
            f"p50 {found['median_deg']:.1f} degrees, {found['within_20_deg']:.0%} within 20"
        )


def _conditions(report: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "                             mAP                mAP, same scenes by clear day"
    yield "condition   frames   fused   LiDAR  camera     fused   LiDAR  camera   points lost"
    for name, entry in report["conditions"].items():
        cells = [
            "   ".join(_number(maps[subset]) for subset in CONDITION_SUBSETS)
            for maps in (entry, entry[CLEAR_DAY])
        ]
        yield f"{name:10} {entry['frames']:7}   {'     '.join(cells)}   {_lost(entry)}"


def _lost(entry: dict[str, Any]) -> str:
    known = entry.get("lost_points_90")
    between = f" ({known[0]:.1f} to {known[1]:.1f})" if known else ""
    return f"{entry['lost_points']:5.1f}{between}"


def _lenses(table: dict[str, Any]) -> Iterator[str]:
    if not table:
        return
    yield ""
    yield f"lens, {table['frames']:4} frames   camera+lidar  in view   camera  in view"
    for name, entry in table.items():
        if isinstance(entry, dict):
            yield f"{name:20} {'  '.join(f'{_number(value, 8)}' for value in entry.values())}"


def _rigs(report: dict[str, Any]) -> Iterator[str]:
    if not report["rigs"]:
        return
    frames = next(iter(report["rigs"].values()))["frames"]
    yield ""
    names = "  ".join(f"{trial:>22}" for trial in TRIALS)
    yield f"{f'rig, {frames} frames':20} {names}  at feature level"
    for rig, entry in report["rigs"].items():
        cells = []
        for trial in TRIALS:
            share = entry["share"].get(trial)
            left = "" if share is None else f" ({share:.0%})"
            cells.append(f"{_number(entry['map'][trial]).strip() + left:>22}")
        yield f"{rig:20} {'  '.join(cells)}  {entry['at_feature_level']:.0%}"


def _number(value: float | None, width: int = 5) -> str:
    text = "-" if value is None or math.isnan(value) else f"{value:.3f}"
    return f"{text:>{width}}"
