"""The figures of labelled recordings, as data and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_perception.evaluation.boxes import (
    TOLD,
    JudgedFrame,
    ap_r40,
    detection_score,
    error_table,
    overlap_table,
)
from edge_perception.evaluation.confidence import confidence_table, published, reliability
from edge_perception.evaluation.matching import (
    BANDS_M,
    CLASSES,
    COUNTED_AT,
    MATCH_M,
    Judged,
    ap_table,
    average_precision,
    curve,
)
from edge_perception.evaluation.resampling import FEW, intervals

_BANDS = ("all", *(f"{low:g}-{high:g} m" for low, high in BANDS_M))


def subset_table(
    frames: Sequence[JudgedFrame], *, thresholds: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return all figures of one level and subset.

    As `ap_table`; `kitti` (`overlap_table`), `errors` (`error_table`), `nds_without_velocity`, and
    of few frames `intervals`: of `map`, and of AP and KITTI's AP in space of each class.

    Args:
        frames: that differ from each other; a frame that is there twice makes intervals too narrow.
        thresholds: scores by class from which objects are published; where they are given,
            `confidence_table` too, and the intervals of `ece` and `precision`.
    """
    joined = Judged.joined([frame.centers for frame in frames])
    centers = ap_table(joined)
    errors = error_table(frames)
    table = {
        **centers,
        "kitti": overlap_table(Judged.joined([frame.overlaps for frame in frames])),
        "errors": errors,
        "nds_without_velocity": detection_score(centers["ap"], errors),
    }
    if thresholds is not None:
        table |= confidence_table(joined, thresholds)
    if len(frames) < FEW:
        table["intervals"] = intervals(frames, lambda some: _sure(some, thresholds))
    return table


def _sure(
    frames: Sequence[JudgedFrame], thresholds: Mapping[str, float] | None
) -> dict[str, float]:
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
    if thresholds is not None:
        mask = published(centers, thresholds)
        right = centers.hit[mask, COUNTED_AT]
        figures["ece"] = reliability(centers, mask).ece
        figures["precision"] = float(right.mean()) if len(right) else float("nan")
    return {**figures, "map": float(np.mean(means)) if means else float("nan")}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the printed report."""
    levels = [name for name in ("feature", "decision") if name in report]
    subsets = list(report[levels[0]])
    again = f", {report['repeated']} shown again and taken once" if report.get("repeated") else ""
    yield f"{report['frames']} labelled frames, {len(report['left_out'])} left out{again}"
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
    yield from _scores(report)
    yield from _aims(report)


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
    yield (
        "as nuScenes: errors of what is found within 2 m; place m / size / heading rad, of it the "
        "axis rad and the share that faces the wrong way (found)"
    )
    yield f"{'':9}{'subset':14}{'distance':9}  " + "  ".join(f"{n[:10]:>39}" for n in names)
    for level in levels:
        for subset in subsets:
            for band in _BANDS:
                cells = "  ".join(
                    _three(report[level][subset]["errors"].get(name, {}).get(band, {}))
                    for name in names
                )
                where = f"{level:9}{subset:14}" if band == "all" else f"{'':23}"
                yield f"{where}{band:9}  {cells}"


def _scores(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether scores keep what they promise, of what is published."""
    told = {s: e for s, e in report.get("feature", {}).items() if e.get("published")}
    if not told:
        return
    yield ""
    yield "what scores promise, of published objects: within 2 m of one of their class"
    yield f"{'subset':14}{'published':>10} {'promised':>9} {'right':>6} {'':10} {'ECE':>6}"
    for subset, entry in told.items():
        sure = entry.get("intervals", {})
        yield (
            f"{subset:14}{entry['published']:>10} {_cell(entry['mean_score'], 9)} "
            f"{_cell(entry['precision'], 6)} {_ends(sure, 'precision')} {_cell(entry['ece'], 6)} "
            f"{_ends(sure, 'ece')}"
        )
    for subset, entry in told.items():
        for row in entry["reliability"]:
            yield (
                f"{subset:14}{row['from']:>5.1f}-{row['to']:<4.1f} {row['promised']:>9.3f} "
                f"{row['found']:>6.3f} of {row['count']}"
            )


def _aims(report: Mapping[str, Any]) -> Iterator[str]:
    cars = {name: entry for name, entry in report.get("cars_ahead", {}).items() if entry["cars"]}
    if not cars:
        return
    yield ""
    yield "AP of cars 0 to 40 m ahead, within 2 m"
    for name, entry in cars.items():
        yield f"{name:26}{entry['ap']:.3f} {_ends(entry, 'interval')} of {entry['cars']} cars"
    yield "aims, set for the sequence of PandaSet that no training has seen"
    for name, entry in report["targets"].items():
        said = "reached" if entry["reached"] else "NOT REACHED"
        yield f"{name:62}{entry['value']:.3f} {entry['limit']:8} {said}"


def _ends(sure: Mapping[str, Any], name: str) -> str:
    return _between(sure[name]) if name in sure else f"{'':10}"


def _four(entry: Mapping[str, Any], band: str) -> str:
    values = [_cell(kind.get(band), 5) for kind in entry.values()] or ["-"]
    pairs = ", ".join("/".join(values[k : k + 2]) for k in range(0, len(values), 2))
    return f"{pairs:>27}"


def _three(entry: Mapping[str, Any]) -> str:
    if not entry.get("found"):
        return f"{'-':>39}"
    values = " / ".join(f"{entry[name]:.2f}" for name in TOLD)
    text = f"{values} ({entry['found']})"
    return f"{text:>39}"


def _between(ends: Sequence[float] | None) -> str:
    text = "-" if ends is None else f"{ends[0]:.2f}-{ends[1]:.2f}"
    return f"{text:>10}"


def _cell(value: float | None, width: int) -> str:
    return f"{'-' if value is None or np.isnan(value) else f'{value:.3f}':>{width}}"
