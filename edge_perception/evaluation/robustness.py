"""What another sensor, mounting or road costs.

Car AP of altered sweeps against the same ones as they are, LiDAR alone through the fusion model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.types import Geometry, PointCloud
from edge_perception.evaluation.alterations import HALF_VIEW_RAD, KINDS
from edge_perception.evaluation.frames import LEAST_HITS, Truth
from edge_perception.evaluation.matching import (
    CLASSES,
    MATCH_M,
    Judged,
    average_precision,
    class_asked_for,
    curve,
    judge_frame,
)
from edge_perception.evaluation.resampling import interval
from edge_perception.evaluation.rig import Rig
from edge_perception.samples.pandaset import has_pandaset, load_pandaset

UNCHANGED = "unchanged"
_CAR = CLASSES.index("car")
_NARROW = "view"  # kind of which only what stays in view is asked for
_WIDE = 34  # characters of a column
_TRAINED_ON = "001"  # sequence that training has seen

Row = Mapping[tuple[str, str], Judged]  # of one frame, by kind and alteration


@dataclass(frozen=True, kw_only=True)
class LabelledSweep:
    """One real sweep with its labels."""

    name: str
    cloud: PointCloud
    pose: Geometry
    truth: Truth


def altered_frame(rig: Rig, cloud: PointCloud, pose: Geometry, truth: Truth, seed: int) -> Row:
    """Return what is found in a sweep and in all alterations of it, judged."""
    found: dict[tuple[str, str], Judged] = {}
    found[UNCHANGED, ""] = _judged(rig, cloud, pose, truth)
    found[_NARROW, UNCHANGED] = _judged(rig, cloud, pose, truth, narrow=True)
    for kind, group in KINDS.items():
        for number, (name, alter) in enumerate(group.alterations.items()):
            rng = np.random.default_rng([seed, number])
            changed, told = alter(cloud, pose, rng)
            found[kind, name] = _judged(rig, changed, told, truth, narrow=kind == _NARROW)
    return found


def robustness_table(rows: Sequence[Row], *, few: bool = False) -> dict[str, Any]:
    """Return car AP of the unchanged sweeps and, by kind and alteration, what is lost of it.

    Args:
        rows: frames.
        few: also give the interval in which nine of ten such sets of frames would lie.
    """
    kinds: dict[str, Any] = {}
    for kind, group in KINDS.items():
        before = (_NARROW, UNCHANGED) if kind == _NARROW else (UNCHANGED, "")
        entries: dict[str, dict[str, Any]] = {}
        for name in group.alterations:
            points = _difference(rows, before, (kind, name))
            bound = group.bound_points
            entries[name] = {
                "points": points,
                "bound": bound,
                "reached": None if bound is None else bool(points >= -bound),
            }
            if few:
                entries[name]["interval"] = interval(
                    rows,
                    lambda some, before=before, after=(kind, name): _difference(  # type: ignore[misc]
                        some, before, after
                    ),
                )
        kinds[kind] = entries
    return {"frames": len(rows), "car_ap": car_ap(rows, (UNCHANGED, "")), "kinds": kinds}


def real_sweeps(data: Path | None) -> list[LabelledSweep]:
    """Return the labelled sweeps of a data folder; none where it has none."""
    if data is None or not has_pandaset(data):
        return []
    found = []
    for frame in (frame for frames in load_pandaset(data).sequences for frame in frames):
        boxes = frame.boxes
        found.append(
            LabelledSweep(
                name=frame.name,
                cloud=PointCloud(
                    stamp_ns=1,
                    frame_id="lidar",
                    xyz_m=np.ascontiguousarray(frame.xyz_m, np.float32),
                    intensity=frame.intensity.astype(np.float32) / np.float32(255),
                ),
                pose=Geometry(T_base_sensor=np.eye(4), pose_source="parameter"),
                truth=Truth(
                    class_name=np.array([class_asked_for(box) for box in boxes], "U16"),
                    center_m=np.array([box.center_m for box in boxes], np.float32).reshape(-1, 3),
                    in_lidar=np.array([box.points >= LEAST_HITS for box in boxes], bool),
                    in_camera=np.zeros(len(boxes), bool),
                ),
            )
        )
    return found


def real_tables(rig: Rig, sweeps: Sequence[LabelledSweep]) -> dict[str, Any]:
    """Return a table of the real sweeps that training has not seen, and one of those it has."""
    tables = {}
    for name, seen in (("real", False), ("real, in training", True)):
        some = [item for item in sweeps if item.name.startswith(_TRAINED_ON) == seen]
        rows = [
            altered_frame(rig, item.cloud, item.pose, item.truth, seed)
            for seed, item in enumerate(some)
        ]
        if rows:
            tables[name] = robustness_table(rows, few=True)
    return tables


def car_ap(rows: Iterable[Row], key: tuple[str, str]) -> float:
    """Return AP of cars of one alteration, NaN where there are none."""
    judged = Judged.joined([row[key] for row in rows])
    values = [average_precision(curve(judged, _CAR, column)) for column in range(len(MATCH_M))]
    return float(np.mean(values))


def lines(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the printed table; `simulated` and `real` beside each other."""
    sets = {name: entry for name, entry in table.items() if entry.get("kinds")}
    if not sets:
        return
    yield ""
    heads = "  ".join(
        f"{name + ', ' + str(e['frames']) + ' frames':>24}" for name, e in sets.items()
    )
    yield f"{'car AP of the LiDAR alone, points lost or won':50} {'bound':>6}  {heads}"
    unchanged = "  ".join(f"{e['car_ap']:<{_WIDE}.3f}" for e in sets.values())
    yield f"{'unchanged':50} {'':>6}  {unchanged}"
    for kind, group in KINDS.items():
        for name in group.alterations:
            cells = "  ".join(_cell(entry["kinds"][kind][name]) for entry in sets.values())
            bound = "-" if group.bound_points is None else f"{-group.bound_points:g}"
            yield f"{kind + ', ' + name:50} {bound:>6}  {cells}"
    for name, entry in table.items():
        if not entry.get("kinds"):
            yield f"{name}: {entry['why_not']}"


def _cell(entry: Mapping[str, Any]) -> str:
    said = {None: "", True: "reached", False: "NOT REACHED"}[entry["reached"]]
    between = entry.get("interval")
    sure = "" if between is None else f"[{between[0]:+.1f}, {between[1]:+.1f}]"
    text = f"{entry['points']:+.1f} {sure:14} {said}"
    return f"{text:<{_WIDE}}"


def _difference(rows: Sequence[Row], before: tuple[str, str], after: tuple[str, str]) -> float:
    return 100.0 * (car_ap(rows, after) - car_ap(rows, before))


def _judged(
    rig: Rig, cloud: PointCloud, pose: Geometry, truth: Truth, *, narrow: bool = False
) -> Judged:
    objects = rig.fuse({"lidar": rig.feature("lidar", cloud, pose)}).objects
    region = detected = None
    if narrow:
        centers = np.array([item.center_m for item in objects], np.float32).reshape(-1, 3)
        region, detected = (_in_view(points, pose) for points in (truth.center_m, centers))
    return judge_frame(objects, truth, wanted=truth.in_lidar, region=region, detected_in=detected)


def _in_view(centers_m: np.ndarray, pose: Geometry) -> np.ndarray:
    gap = centers_m[:, :2] - pose.T_base_sensor[:2, 3].astype(np.float32)
    return np.asarray(np.abs(np.arctan2(gap[:, 1], gap[:, 0])) < HALF_VIEW_RAD)
