"""A rig from above before a sensor is pulled and while each is: what is covered, and by whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Wedge

from edge_perception.core.picture_style import CUT, DPI, EVIDENCE, INK, MUTED, WIDTH_PX, evidence
from edge_perception.core.picture_tracks import draw_track
from edge_perception.core.types import DetectedObject
from edge_perception.samples.matching import MATCH_M
from edge_perception.samples.truth import LabelledBox, MountedCamera, footprint, matrix_of

_X_M, _Y_M = (-16.0, 36.0), (-25.0, 25.0)
_POINT, _LIT, _DARK = "#a9b4c0", "#fdf3d8", "#f4d7da"
_LEAST_POINTS = 5  # returns that make a labelled road user one that can be seen
_SHOWN_M = 15.0  # radius of a camera's field of view in the picture


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One moment."""

    title: str
    points_m: NDArray[np.float32]  # LiDAR returns, (N, 3), base frame; none: it is pulled
    objects: Sequence[DetectedObject]
    boxes: Sequence[LabelledBox]
    cameras: Sequence[tuple[MountedCamera, bool]]  # and whether its image is in the view
    level: str  # of the fused message, with the reason where there is one


@dataclass(frozen=True, kw_only=True)
class Found:
    """Labelled road users near enough to be drawn, and which of them the view has."""

    labelled: tuple[int, ...]
    found: tuple[int, ...]


def found_of(panel: Panel) -> Found:
    """Return which labelled road users have a fused object of any class within 2 m."""
    labelled = tuple(
        index
        for index, box in enumerate(panel.boxes)
        if box.class_name != "other" and box.points >= _LEAST_POINTS and _inside(box)
    )
    found = tuple(
        index
        for index in labelled
        if any(
            math.dist(item.center_m[:2], panel.boxes[index].center_m[:2]) < MATCH_M
            for item in panel.objects
        )
    )
    return Found(labelled=labelled, found=found)


def _inside(box: LabelledBox) -> bool:
    x, y, _ = box.center_m
    return _X_M[0] < x < _X_M[1] and _Y_M[0] < y < _Y_M[1]


def _half_width(camera: MountedCamera) -> float:
    return 0.5 * camera.image_size[0] / camera.intrinsics[0][0]


def rig_picture(path: Path, *, panels: Sequence[Panel], title: str) -> None:
    """Write the picture, one panel a moment."""
    figure, all_axes = pyplot.subplots(
        1, len(panels), figsize=(WIDTH_PX / DPI, 7.4), dpi=DPI, sharey=True, squeeze=False
    )
    try:
        for axes, panel in zip(all_axes[0], panels, strict=True):
            _draw(axes, panel)
        all_axes[0][0].set_ylabel("ahead, m", fontsize=12, color=INK)
        figure.suptitle(title, x=0.02, y=0.975, ha="left", fontsize=17, color=INK, weight="bold")
        _legend(figure)
        figure.subplots_adjust(left=0.045, right=0.99, top=0.84, bottom=0.17, wspace=0.05)
        figure.savefig(path)
    finally:
        pyplot.close(figure)


def _draw(axes: Axes, panel: Panel) -> None:
    """Draw with the vehicle looking up: left of the base frame is left of the picture."""
    for camera, there in panel.cameras:
        T = matrix_of(camera.T_base_camera)
        looks = math.degrees(math.atan2(T[0, 2], -T[1, 2]))  # of the picture: x is -y of the base
        half = math.degrees(math.atan(_half_width(camera)))
        axes.add_patch(
            Wedge((-T[1, 3], T[0, 3]), _SHOWN_M, looks - half, looks + half, alpha=0.7, zorder=0,
                  color=_LIT if there else _DARK, lw=0)
        )  # fmt: skip
    points = panel.points_m
    near = points[(np.abs(points[:, :2]) < 40.0).all(axis=1)]
    axes.scatter(-near[:, 1], near[:, 0], s=0.6, c=_POINT, linewidths=0, zorder=1)
    axes.add_patch(Polygon([(0, 2.4), (0.95, -2.0), (-0.95, -2.0)], color=INK, zorder=5))
    found = found_of(panel)
    count = f"{len(found.found)} of {len(found.labelled)} road users found"
    for index in found.labelled:
        missed = index not in found.found
        axes.add_patch(
            Polygon(_outline(panel.boxes[index]), fill=False, zorder=4,
                    edgecolor=CUT if missed else INK, lw=2.0 if missed else 1.2)
        )  # fmt: skip
    for item in panel.objects:
        color = EVIDENCE[evidence(item.sources)]
        axes.add_patch(Polygon(_outline(item), facecolor=color, alpha=0.75, lw=0, zorder=3))
    axes.set(xlim=(-_Y_M[1], -_Y_M[0]), ylim=_X_M, aspect="equal")
    for item in panel.objects:
        (x, y), (vx, vy) = item.center_m[:2], item.velocity_mps[:2]
        draw_track(
            axes, (-y, x), (-vy, vx), track_id=item.track_id,
            is_emergency=bool(item.emergency_evidence), font_size=7.0,
        )  # fmt: skip
    axes.set_xlabel("left and right, m", fontsize=12, color=INK)
    title = f"{panel.title}\n{count}\n{panel.level}"
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _outline(box: LabelledBox | DetectedObject) -> NDArray[np.float64]:
    corners = footprint(box.center_m, box.size_m, box.yaw_rad)
    return np.stack([-corners[:, 1], corners[:, 0]], axis=1)


def _legend(figure: Figure) -> None:
    handles: list[Artist] = [
        Patch(color=color, alpha=0.75, label=f"seen by {kind}")
        for kind, color in EVIDENCE.items()
        if kind != "other"
    ]
    handles += [
        Patch(facecolor="none", edgecolor=INK, label="labelled, found"),
        Patch(facecolor="none", edgecolor=CUT, lw=2, label="labelled, not found"),
        Patch(color=_LIT, label="view of a camera"),
        Patch(color=_DARK, label="camera without an image"),
        Line2D([], [], color=INK, marker="^", label="a second later; #: its track"),
    ]
    legend = figure.legend(handles=handles, loc="lower center", ncol=4, fontsize=11, frameon=False)
    for text in legend.get_texts():
        text.set_color(MUTED)
