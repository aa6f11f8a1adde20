"""The figures as pictures: degradation, precision over recall, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot

from edge_perception.core.picture_style import EVIDENCE, GRID, INK, MUTED
from edge_perception.evaluation.confidence import published, reliability
from edge_perception.evaluation.matching import CLASSES, COUNTED_AT, curve
from edge_perception.evaluation.report import joined
from edge_perception.evaluation.rig import SUBSETS, ModelSet, shipped_thresholds
from edge_perception.evaluation.trials import EVERYTHING, Result

_ALL, _VIEW = EVIDENCE["camera + lidar"], EVIDENCE["lidar"]
_SUBSET_COLOR = {
    "camera+lidar+audio": EVIDENCE["camera + lidar"],
    "lidar": EVIDENCE["lidar"],
    "camera": EVIDENCE["camera"],
}


def draw_all(
    folder: Path, report: dict[str, Any], results: Sequence[Result], models: ModelSet
) -> list[Path]:
    """Write the three pictures and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in ("degradation", "precision_recall", "reliability")]
    degradation(paths[0], report)
    precision_recall(paths[1], results)
    reliability_diagram(paths[2], results, models)
    return paths


def degradation(path: Path, report: dict[str, Any]) -> None:
    """Draw what is left of the mAP when sensors are lost, late or turned."""
    figure, (lost, late, turned) = pyplot.subplots(
        1, 3, figsize=(15, 5), dpi=100, width_ratios=(2, 1, 1), sharey=True
    )
    at = np.arange(len(SUBSETS))
    everything = [report["subsets"][name]["map"] for name in SUBSETS]
    view = [report["subsets"][name]["map_camera_view"] for name in SUBSETS]
    lost.bar(at - 0.2, everything, 0.38, color=_ALL, label="all objects around the vehicle")
    lost.bar(at + 0.2, view, 0.38, color=_VIEW, label="in view of the camera, to 40 m")
    for x, value in [*zip(at - 0.2, everything, strict=True), *zip(at + 0.2, view, strict=True)]:
        lost.text(x, value + 0.01, f"{value:.2f}", ha="center", fontsize=9, color=INK)
    lost.set_xticks(at, [name.replace("+", "\n+ ") for name in SUBSETS], fontsize=10)
    lost.set_ylabel("mAP (centre distance, nuScenes)", color=INK)
    lost.set_title("sensors that are there", loc="left", color=INK)
    lost.legend(frameon=False, fontsize=10)
    for axes, key, title in (
        (late, "stamp_offset_ms", "image older than the sweep, ms"),
        (turned, "calibration_error_deg", "camera turned, degrees"),
    ):
        entries = report[key]
        x = [float(name) for name in entries]
        for field, color in (("map", _ALL), ("map_camera_view", _VIEW)):
            axes.plot(x, [entry[field] for entry in entries.values()], "o-", color=color)
        axes.set_title("camera + LiDAR", loc="left", color=INK)
        axes.set_xlabel(title, color=INK)
    frames = report.get("frames", 0)
    figure.suptitle(f"bev_lite on {frames} held-out simulated frames", x=0.01, ha="left", color=INK)
    _finish(figure, path)


def precision_recall(path: Path, results: Sequence[Result]) -> None:
    """Draw the curves of every class, matched within 2 m."""
    figure, panels = pyplot.subplots(1, len(CLASSES), figsize=(16, 3.6), dpi=100, sharey=True)
    for label, (axes, name) in enumerate(zip(panels, CLASSES, strict=True)):
        for subset, color in _SUBSET_COLOR.items():
            found = curve(joined(results, "feature", subset, EVERYTHING), label, COUNTED_AT)
            axes.plot(found.recall, found.precision, color=color, label=subset)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall")
        axes.set_title(f"{name} ({found.wanted})", loc="left", color=INK)
    panels[0].set_ylabel("precision within 2 m")
    panels[-1].legend(frameon=False, fontsize=9)
    _finish(figure, path)


def reliability_diagram(path: Path, results: Sequence[Result], models: ModelSet) -> None:
    """Draw how often a published score is right."""
    figure, axes = pyplot.subplots(figsize=(5.6, 5.2), dpi=100)
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1)
    for subset, color in _SUBSET_COLOR.items():
        judged = joined(results, "feature", subset, EVERYTHING)
        found = reliability(judged, published(judged, shipped_thresholds(models.fusion, subset)))
        axes.plot(found.score, found.precision, "o-", color=color,
                  label=f"{subset}, ECE {found.ece:.3f}")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="published score", ylabel="share within 2 m")
    axes.legend(frameon=False, fontsize=9)
    _finish(figure, path)


def recorded_reliability(path: Path, report: dict[str, Any]) -> None:
    """Draw how often a published score is right on labelled recordings, with how many there are."""
    figure, axes = pyplot.subplots(figsize=(5.6, 5.2), dpi=100)
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1)
    colors = {**_SUBSET_COLOR, "camera+lidar": _ALL}
    for subset, entry in report["feature"].items():
        rows = entry["reliability"]
        if not rows:
            continue
        promised, found = ([row[key] for row in rows] for key in ("promised", "found"))
        axes.plot(promised, found, "o-", color=colors[subset],
                  label=f"{subset}, ECE {entry['ece']:.3f}")  # fmt: skip
        for x, y, row in zip(promised, found, rows, strict=True):
            axes.annotate(str(row["count"]), (x, y), (4, -9), textcoords="offset points",
                          fontsize=7, color=colors[subset])  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="published score", ylabel="share within 2 m")
    axes.set_title(f"{report['frames']} labelled frames", loc="left", color=INK, fontsize=10)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    _finish(figure, path)


def _finish(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        axes.grid(color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
