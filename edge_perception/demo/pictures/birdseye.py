"""The scene from above: points, fused boxes by who saw them, labelled boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Wedge

from edge_perception.core.picture_style import (
    DPI,
    EMERGENCY,
    EVIDENCE,
    INK,
    MUTED,
    WIDTH_PX,
    evidence,
)
from edge_perception.core.picture_tracks import draw_track
from edge_perception.core.types import DetectedObject
from edge_perception.samples.matching import AHEAD_M, CAR, Region, compare
from edge_perception.samples.truth import LabelledBox, footprint

_X_M, _Y_M = (-8.0, 62.0), (-22.0, 22.0)
_POINT = "#a9b4c0"
_LABEL = "#111827"
_MAX_POINTS = 60_000


def birdseye_picture(
    path: Path,
    *,
    points_m: NDArray[np.floating],
    objects: Sequence[DetectedObject],
    boxes: Sequence[LabelledBox],
    region: Region,
    title: str,
) -> None:
    """Write the picture.

    Args:
        path: PNG to write.
        points_m: LiDAR returns, (N, 3), base frame.
        objects: fused boxes, base frame.
        boxes: labelled boxes, base frame.
        region: where cars are counted.
        title: one line that says what is shown.
    """
    figure, axes = pyplot.subplots(figsize=(WIDTH_PX / DPI, 11.4), dpi=DPI)
    try:
        _draw_ground(axes, points_m, region)
        comparison = compare(objects, boxes, region)
        for box in boxes:
            _draw_label(axes, box, counted=box.class_name == CAR and region.contains(box.center_m))
        for item in objects:
            _draw_object(axes, item)
        for found, _ in comparison.pairs:
            axes.plot(*objects[found].center_m[:2], "o", color="white", markersize=4, zorder=6)
        for index in comparison.false:
            axes.plot(*objects[index].center_m[:2], "x", color="white", mew=2, ms=7, zorder=6)
        score = comparison.score
        figure.suptitle(title, x=0.02, y=0.975, ha="left", fontsize=17, color=INK, weight="bold")
        axes.set_title(
            f"cars ahead within {AHEAD_M:g} m and in view of the camera: "
            f"{score.correct} of {score.labelled} labelled found, {score.false} false",
            loc="left", fontsize=13, color=INK, pad=12,
        )  # fmt: skip
        _legend(axes, objects)
        figure.subplots_adjust(left=0.045, right=0.985, top=0.905, bottom=0.14)
        figure.savefig(path)
    finally:
        pyplot.close(figure)


def _draw_ground(axes: Axes, points_m: NDArray[np.floating], region: Region) -> None:
    inside = (
        (points_m[:, 0] > _X_M[0]) & (points_m[:, 0] < _X_M[1])
        & (points_m[:, 1] > _Y_M[0]) & (points_m[:, 1] < _Y_M[1])
    )  # fmt: skip
    shown = points_m[inside][:: max(1, int(inside.sum()) // _MAX_POINTS)]
    axes.scatter(shown[:, 0], shown[:, 1], s=0.9, c=_POINT, linewidths=0, zorder=1)
    x, y = np.linalg.inv(region.T_camera_base)[:2, 3].tolist()
    half_deg = np.degrees(np.arctan2(region.image_size[0] / 2, region.K[0, 0]))
    axes.add_patch(
        Wedge((x, y), 200.0, -half_deg, half_deg, color="#fdf3d8", alpha=0.7, zorder=0, lw=0)
    )
    axes.axvline(AHEAD_M, color=MUTED, lw=1.2, ls=(0, (6, 4)), zorder=2)
    axes.text(AHEAD_M + 0.4, _Y_M[1] - 1.3, f"{AHEAD_M:g} m", color=MUTED, fontsize=12)
    axes.add_patch(Polygon([(2.4, 0), (-2.0, 0.95), (-2.0, -0.95)], color=INK, zorder=5))
    axes.text(-2.0, -2.2, "robot", color=INK, fontsize=12, ha="center")
    axes.set(xlim=_X_M, ylim=_Y_M, aspect="equal")
    axes.set_xlabel("ahead, m", fontsize=12, color=INK)
    axes.set_ylabel("left, m", fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_label(axes: Axes, box: LabelledBox, *, counted: bool) -> None:
    if box.class_name == "other":
        return
    corners = footprint(box.center_m, box.size_m, box.yaw_rad)
    color, width = (_LABEL, 2.2) if counted else (MUTED, 1.0)
    axes.add_patch(Polygon(corners, fill=False, edgecolor=color, lw=width, zorder=4))


def _draw_object(axes: Axes, item: DetectedObject) -> None:
    color = EVIDENCE[evidence(item.sources)]
    corners = footprint(item.center_m, item.size_m, item.yaw_rad)
    axes.add_patch(Polygon(corners, facecolor=color, edgecolor=color, alpha=0.75, lw=1, zorder=3))
    front = corners[:2].mean(axis=0)
    axes.plot(*zip(item.center_m[:2], front, strict=True), color="white", lw=1.5, zorder=5)
    draw_track(
        axes, item.center_m[:2], item.velocity_mps[:2], track_id=item.track_id,
        is_emergency=bool(item.emergency_evidence),
    )  # fmt: skip


def _legend(axes: Axes, objects: Sequence[DetectedObject]) -> None:
    kinds = [evidence(item.sources) for item in objects]
    handles: list[Artist] = [
        Patch(color=color, alpha=0.75, label=f"fused, seen by {kind}")
        for kind, color in EVIDENCE.items()
        if kind != "other" or "other" in kinds
    ]
    handles += [
        Patch(facecolor="none", edgecolor=_LABEL, lw=2.2, label="labelled car that is counted"),
        Patch(facecolor="none", edgecolor=MUTED, lw=1.0, label="other label"),
        Line2D([], [], marker="o", color="#777777", mfc="white", lw=0, label="correct"),
        Line2D([], [], marker="x", color="#777777", mew=2, lw=0, label="false"),
        Patch(color="#fdf3d8", label="field of view of the camera"),
        Line2D([], [], color=INK, marker=">", label="where it is a second later; #: its track"),
    ]
    if any(item.emergency_evidence for item in objects):
        handles.append(
            Line2D([], [], marker="o", ms=12, mfc="none", mec=EMERGENCY, mew=2.5, lw=0,
                   label="the siren that is heard is its")
        )  # fmt: skip
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.065), ncol=4, fontsize=12,
        frameon=False,
    )  # fmt: skip
