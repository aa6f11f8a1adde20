"""The figures of labelled recordings, as data and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_perception.evaluation.boxes import (
    ERRORS,
    JudgedFrame,
    ap_r40,
    detection_score,
    error_table,
    overlap_table,
)
from edge_perception.evaluation.matching import (
    BANDS_M,
    CLASSES,
    MATCH_M,
    Judged,
    ap_table,
    average_precision,
    curve,
)
from edge_perception.evaluation.resampling import FEW, intervals

_BANDS = ("all", *(f"{low:g}-{high:g} m" for low, high in BANDS_M))


def subset_table(frames: Sequence[JudgedFrame]) -> dict[str, Any]:
    """Return all figures of one level and subset.

    As `ap_table`; `kitti` (`overlap_table`), `errors` (`error_table`), `nds_without_velocity`, and
    of few frames `intervals`: of `map`, and of AP and KITTI's AP in space of each class.
    """
    centers = ap_table(Judged.joined([frame.centers for frame in frames]))
    errors = error_table(frames)
    table = {
        **centers,
        "kitti": overlap_table(Judged.joined([frame.overlaps for frame in frames])),
        "errors": errors,
        "nds_without_velocity": detection_score(centers["ap"], errors),
    }
    if len(frames) < FEW:
        table["intervals"] = intervals(frames, _sure)
    return table


def _sure(frames: Sequence[JudgedFrame]) -> dict[str, float]:
    centers = Judged.joined([frame.centers for frame in frames])
    overlaps = Judged.joined([frame.overlaps for frame in frames])
    figures: dict[str, float] = {}
    for label, name in enumerate(CLASSES):
        if (centers.wanted_label == label).any():
            columns = range(len(MATCH_M))
            found = [average_precision(curve(centers, label, column)) for column in columns]
            figures[f"ap.{name}"] = float(np.mean(found))
            figures[f"kitti.{name}.3d"] = ap_r40(curve(overlaps, label, 1))
    means = [value for name, value in figures.items() if name.startswith("ap.")]
    return {**figures, "map": float(np.mean(means)) if means else float("nan")}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the printed report."""
    levels = [name for name in ("feature", "decision") if name in report]
    subsets = list(report[levels[0]])
    yield f"{report['frames']} labelled frames, {len(report['left_out'])} left out"
    for text in report["left_out"][:5]:
        yield f"  {text}"
    if "view" in report["labelled"]:
        yield (
            "labelled is only what the camera shows: nothing else is asked for, or false "
            "(--labelled around: everything is)"
        )
    counts = report[levels[0]][subsets[0]]["objects"]
    names = [name for name, count in counts.items() if count]
    if not names:
        yield "objects: none of a class that is judged, where it is asked for: no figure follows"
        return
    yield "objects: " + ", ".join(f"{counts[name]} {name}" for name in names)
    yield from _centers(report, levels, subsets, names)
    yield from _overlaps(report, levels, subsets, names)
    yield from _errors(report, levels, subsets, names)


def _centers(
    report: Mapping[str, Any], levels: Sequence[str], subsets: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    yield ""
    yield "as nuScenes: AP of centres within 0.5, 1, 2 and 4 m (NDS: without velocity)"
    heads = "  ".join(f"{name[:10]:>10}" for name in names)
    yield f"{'':9}{'subset':14}{'distance':9} {'mAP':>6} {'2 m':>6} {'NDS':>6}  {heads}"
    for level in levels:
        for subset in subsets:
            entry = report[level][subset]
            means = " ".join(
                _cell(entry[key], 6) for key in ("map", "map_2m", "nds_without_velocity")
            )
            cells = "  ".join(_cell(entry["ap"].get(name), 10) for name in names)
            yield f"{level:9}{subset:14}{'all':9} {means}  {cells}"
            sure = entry.get("intervals")
            if sure:
                between = "  ".join(_between(sure.get(f"ap.{name}")) for name in names)
                yield f"{'':9}{'':14}{'9 of 10':9} {_between(sure.get('map')):20}  {between}"
            for band in _BANDS[1:]:
                cells = "  ".join(
                    _cell(entry["ap_by_distance"].get(name, {}).get(band), 10) for name in names
                )
                yield f"{'':9}{'':14}{band:9} {'':20}  {cells}"


def _overlaps(
    report: Mapping[str, Any], levels: Sequence[str], subsets: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    yield ""
    yield (
        "as KITTI: AP over 40 recalls of boxes that overlap by 0.7 (vehicles) or 0.5; "
        "above / space, loose (0.5, 0.25): above / space"
    )
    yield f"{'':9}{'subset':14}{'distance':9}  " + "  ".join(f"{n[:10]:>27}" for n in names)
    for level in levels:
        for subset in subsets:
            entry = report[level][subset]
            for band in _BANDS:
                cells = "  ".join(_four(entry["kitti"].get(name, {}), band) for name in names)
                where = f"{level:9}{subset:14}" if band == "all" else f"{'':23}"
                yield f"{where}{band:9}  {cells}"
            sure = entry.get("intervals")
            if sure:
                cells = "  ".join(
                    f"{'space ' + _between(sure.get(f'kitti.{name}.3d')).strip():>27}"
                    for name in names
                )
                yield f"{'':23}{'9 of 10':9}  {cells}"


def _errors(
    report: Mapping[str, Any], levels: Sequence[str], subsets: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    yield ""
    yield "as nuScenes: errors of what is found within 2 m; place m / size / heading rad (found)"
    yield f"{'':9}{'subset':14}{'distance':9}  " + "  ".join(f"{n[:10]:>25}" for n in names)
    for level in levels:
        for subset in subsets:
            for band in _BANDS:
                cells = "  ".join(
                    _three(report[level][subset]["errors"].get(name, {}).get(band, {}))
                    for name in names
                )
                where = f"{level:9}{subset:14}" if band == "all" else f"{'':23}"
                yield f"{where}{band:9}  {cells}"


def _four(entry: Mapping[str, Any], band: str) -> str:
    values = [_cell(kind.get(band), 5) for kind in entry.values()] or ["-"]
    pairs = ", ".join("/".join(values[k : k + 2]) for k in range(0, len(values), 2))
    return f"{pairs:>27}"


def _three(entry: Mapping[str, Any]) -> str:
    if not entry.get("found"):
        return f"{'-':>25}"
    values = " / ".join(f"{entry[name]:.2f}" for name in ERRORS)
    text = f"{values} ({entry['found']})"
    return f"{text:>25}"


def _between(ends: Sequence[float] | None) -> str:
    text = "-" if ends is None else f"{ends[0]:.2f}-{ends[1]:.2f}"
    return f"{text:>10}"


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None or np.isnan(value) else f'{value:.3f}':>{width}}"
