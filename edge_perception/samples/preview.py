"""What a simulated drive looks like: image, sweep from above, loudness over time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from edge_perception.core.picture_style import INK, MUTED, OTHER_SOUND, SOUND
from edge_perception.samples.images import decoded
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.samples.truth import footprint

_CLASS_COLOR = {
    "car": "#2b6cb0",
    "truck": "#7d53a8",
    "bus": "#7d53a8",
    "pedestrian": "#d1495b",
    "cyclist": "#dd6b20",
}
_MAX_POINTS = 40_000
_LOUDNESS_S = 0.05


def preview(path: Path, scene: Scene, *, title: str) -> None:
    """Write a PNG with the frame in the middle of the drive and the whole sound."""
    frames = scene.sequences[0]
    frame = frames[len(frames) // 2]
    figure = pyplot.figure(figsize=(15, 8.6), dpi=100)
    try:
        grid = figure.add_gridspec(2, 2, height_ratios=(4, 1), width_ratios=(1.25, 1))
        image = figure.add_subplot(grid[0, 0])
        bgr = decoded(frame.jpeg, frame.name)
        image.imshow(bgr[..., ::-1])
        image.set_axis_off()
        _from_above(figure.add_subplot(grid[0, 1]), scene, frame)
        _sound(figure.add_subplot(grid[1, :]), scene)
        figure.suptitle(title, x=0.02, ha="left", color=INK, weight="bold")
        figure.tight_layout()
        figure.savefig(path)
    finally:
        pyplot.close(figure)


def _from_above(axes: Axes, scene: Scene, frame: SceneFrame) -> None:
    T = scene.T_base_lidar
    points = frame.xyz_m @ T[:3, :3].T + T[:3, 3]
    points = points[:: max(1, len(points) // _MAX_POINTS)]
    axes.scatter(points[:, 1], points[:, 0], s=0.4, c="#a9b4c0", linewidths=0)
    for box in frame.boxes:
        corners = footprint(box.center_m, box.size_m, box.yaw_rad)[:, ::-1]
        color = _CLASS_COLOR.get(box.class_name, MUTED)
        axes.add_patch(Polygon(corners, facecolor=color, alpha=0.6, edgecolor=color))
    axes.plot(0, 0, "^", color=INK)
    axes.set(xlim=(30, -30), ylim=(-25, 55), aspect="equal", xlabel="left, m", ylabel="ahead, m")
    for name, color in _CLASS_COLOR.items():
        count = sum(box.class_name == name for box in frame.boxes)
        axes.plot([], [], "s", color=color, label=f"{name}: {count}")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _sound(axes: Axes, scene: Scene) -> None:
    size = round(_LOUDNESS_S * scene.sample_rate_hz)
    count = len(scene.clip) // size
    blocks = scene.clip[: count * size, 0].reshape(count, size).astype(np.float64) / 32767
    loudness = 10 * np.log10(np.mean(blocks**2, axis=1) + 1e-9)
    axes.plot(np.arange(count) * _LOUDNESS_S, loudness, color=INK, lw=1)
    for sound in scene.sounds:
        color = SOUND.get(sound.class_name, OTHER_SOUND)
        axes.axvspan(sound.start_s, sound.end_s, color=color, alpha=0.25, lw=0)
    for name in sorted({sound.class_name for sound in scene.sounds}):
        axes.plot([], [], lw=6, alpha=0.4, color=SOUND.get(name, OTHER_SOUND), label=name)
    if scene.sounds:
        axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set(xlabel="s", ylabel="level, dB", xlim=(0, max(count * _LOUDNESS_S, _LOUDNESS_S)))
