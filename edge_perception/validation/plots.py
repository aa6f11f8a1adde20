"""Plots of a result as inline SVG, pictures as data URLs: a report needs no other file."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from edge_perception.core.picture_tracks import draw_track
from edge_perception.validation.findings import Finding
from edge_perception.validation.labels import BINS
from edge_perception.validation.metrics import MODES, RunFigures, Series

_INK, _NOW, _THEN, _LABEL, _FAILED = "#1f2937", "#1d6fb8", "#d97706", "#111827", "#b42318"
_COLORS = ("#1d6fb8", "#2f9e5b", "#b8487a", "#7a5ad6", "#d97706", "#0f9aa8")
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "edge_perception",
    "svg.fonttype": "none",
    "font.size": 9,
}


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element; the same figure gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL).strip()


def _axes(title: str, x: str, y: str, size: tuple[float, float] = (6.0, 2.6)) -> tuple[Figure, Any]:
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=_INK)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def timeline(
    figures: RunFigures, then: Series, findings: Sequence[Finding], duration_s: float
) -> str:
    """Draw mode and ages of the sources over time, and where the baseline differs.

    Args:
        figures: of this run.
        then: modes of the baseline; empty: there is none.
        findings: differences, drawn where they have a time.
        duration_s: of the recording; cycles close for a second after it.
    """
    spans = [f for f in findings if f.first_s is not None and f.failed]
    kinds = list(dict.fromkeys(f.kind for f in spans))
    heights = (1.0, 1.8, 0.22 * len(kinds)) if kinds else (1.0, 1.8)
    figure = Figure(figsize=(12.4, 1.4 * sum(heights)))
    all_axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    upper, lower = all_axes[:2]
    _steps(upper, figures.mode_line, color=_NOW, label="this run")
    if then.points:
        _steps(upper, then, color=_THEN, ls="--", lw=1.2, label="baseline")
        upper.legend(loc="lower center", ncols=2, fontsize=8)
    upper.set_yticks(range(len(MODES)), MODES)
    upper.set_ylim(-0.3, len(MODES) - 0.7)
    upper.set_title("Mode and age of the sources", loc="left", color=_INK)
    for color, (name, series) in zip(_COLORS * 3, sorted(figures.ages.items()), strict=False):
        ages = np.array(series.points).reshape(-1, 2)
        lower.plot(ages[:, 0], ages[:, 1] * 1e3, color=color, label=name, lw=1.2)
    lower.set_ylabel("age, ms")
    if figures.ages:
        lower.legend(loc="upper center", ncols=4, fontsize=8)
    for axes in all_axes:
        axes.axvline(duration_s, color=_INK, ls=":", lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    if kinds:
        _differences(all_axes[2], spans, kinds)
    all_axes[-1].set_xlabel("time of the recording, s; dotted: its end")
    return svg(figure)


def _steps(axes: Any, series: Series, **style: Any) -> None:
    points = np.array(series.points).reshape(-1, 2)
    axes.step(points[:, 0], points[:, 1], where="post", **style)


def _differences(axes: Any, spans: Sequence[Finding], kinds: Sequence[str]) -> None:
    """Draw a lane a kind of difference, with a bar from its first to its last message."""
    for finding in spans:
        assert finding.first_s is not None
        length_s = max((finding.last_s or finding.first_s) - finding.first_s, 0.05)
        axes.broken_barh(
            [(finding.first_s, length_s)], (kinds.index(finding.kind) - 0.35, 0.7),
            color=_FAILED, alpha=0.35, lw=0,
        )  # fmt: skip
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.4, -0.6)
    axes.set_title("Differences from the baseline", loc="left", color=_INK, fontsize=9)


def stages(rows: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Draw p50 and p95 of the measured stages of every source on this machine."""
    figure, axes = _axes("Stages on this machine: median, and p95 of all", "ms", "")
    names = [name for name in rows if rows[name]]
    for row, name in enumerate(names):
        values = np.array(rows[name]) * 1e3
        left = 0.0
        for column, stage in enumerate(STAGES):
            width = float(np.median(values[:, column]))
            axes.barh(
                row, width, left=left, color=_COLORS[column], label=stage if row == 0 else None
            )
            left += width
        high = float(np.percentile(values.sum(axis=1), 95))
        axes.plot([high], [row], "|", color=_INK, ms=14, label="p95 of all" if row == 0 else None)
    axes.set_yticks(range(len(names)), names)
    axes.legend(fontsize=8)
    return svg(figure)


STAGES = ("preprocess", "inference", "postprocess")


def stage_rows(rows: Mapping[str, Sequence[Sequence[float]]]) -> list[tuple[str, ...]]:
    """Return source, stage, p50, p95 and p99, ms, of the measured stages and of their sums."""
    table: list[tuple[str, ...]] = []
    for name, values in rows.items():
        times = np.array(values).reshape(-1, len(STAGES)) * 1e3
        columns = [(stage, times[:, i]) for i, stage in enumerate(STAGES) if times[:, i].any()]
        if len(columns) > 1:
            columns.append(("all", times.sum(axis=1)))
        for stage, column in columns:
            found = np.percentile(column, (50, 95, 99))
            table.append((name, stage, *(f"{value:.2f}" for value in found)))
    return table


def precision_recall(figures: RunFigures) -> str:
    """Draw the curve; empty where the recording has no labels."""
    if figures.labels is None or not figures.labels.score.labelled:
        return ""
    figure, axes = _axes("Precision and recall of cars", "recall", "precision")
    curve = figures.labels.curve()
    axes.plot(curve[:, 0], curve[:, 1], ".-", color=_NOW)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.text(0.03, 0.06, f"average precision {figures.labels.average_precision():.3f}")
    return svg(figure)


def scores(figures: RunFigures) -> str:
    """Draw the histogram of object scores, and of correct and false ones where labels are."""
    figure, axes = _axes("Scores of objects", "score", "objects")
    centers = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centers, figures.scores, width=1 / BINS, color="#c3cad3", label="all objects")
    if figures.labels is not None:
        for counts, color, label in (
            (figures.labels.correct, "#2f9e5b", "correct cars"),
            (figures.labels.false, "#c2410c", "false cars"),
        ):
            axes.step(centers, counts, where="mid", color=color, label=label)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return svg(figure)


def above(
    now: Mapping[str, Any] | None,
    then: Mapping[str, Any] | None,
    *,
    points_m: NDArray[np.float32] | None,
    labels: Sequence[Any],
    title: str,
) -> str:
    """Draw a message from above: this run solid, the baseline dashed, labels black, as JPEG."""
    figure = Figure(figsize=(6.4, 4.5), dpi=130)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=_INK)
    if points_m is not None:
        shown = points_m[:: max(1, len(points_m) // 8000)]
        axes.plot(shown[:, 0], shown[:, 1], ",", color="#a9b4c0")
    for box in labels:
        _box(axes, box.center_m, box.size_m, box.yaw_rad, color=_LABEL, lw=0.8, ls="-")
    for record, color, style in ((then, _THEN, "--"), (now, _NOW, "-")):
        for item in (record or {}).get("objects", ()):
            _box(axes, item["center_m"], item["size_m"], item["yaw_rad"], color=color, ls=style)
    axes.set_xlim(-8, 62)
    axes.set_ylim(-22, 22)
    for item in (now or then or {}).get("objects", ()):
        draw_track(
            axes, item["center_m"], item.get("velocity_mps") or (None, None),
            track_id=item.get("track_id") or 0,
            is_emergency=bool(item.get("emergency_evidence")), font_size=6.0,
        )  # fmt: skip
    marks = [("this run", _NOW, "-"), ("baseline", _THEN, "--"), ("labels", _LABEL, "-")]
    shown_marks = [bool(now), bool(then), bool(labels)]
    for (label, color, style), there in zip(marks, shown_marks, strict=True):
        if there:
            axes.plot([], [], color=color, ls=style, label=label)
    axes.plot([], [], color=_INK, marker=">", ms=4, label="a second later; #: track")
    axes.legend(loc="lower right", fontsize=7, ncols=4)
    axes.set_aspect("equal")
    axes.set_xlabel("ahead, m")
    axes.set_ylabel("left, m")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpg", bbox_inches="tight")
    return _image(buffer.getvalue(), "jpeg")


def _box(axes: Any, center: Any, size: Any, yaw: float, **style: Any) -> None:
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * np.asarray(size)[:2] / 2
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = corners @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(center)[:2]
    axes.add_patch(Polygon(turned, fill=False, **style))


def photo(
    bgr: NDArray[np.uint8],
    now: NDArray[np.float64],
    then: NDArray[np.float64],
    width: int = 900,
) -> str:
    """Return a camera image with the outlines of boxes, (N, 4) px each, as an inline picture.

    Those of this run are drawn over those of the baseline: what differs shows two colours.
    """
    scale = width / bgr.shape[1]
    height = max(1, round(bgr.shape[0] * scale))
    small = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    for rectangles, color, thickness in ((then, _THEN, 4), (now, _NOW, 2)):
        blue_green_red = tuple(int(color[i : i + 2], 16) for i in (5, 3, 1))
        for x0, y0, x1, y1 in np.rint(rectangles * scale).astype(int):
            cv2.rectangle(small, (x0, y0), (x1, y1), blue_green_red, thickness, cv2.LINE_AA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return _image(np.asarray(data).tobytes(), "jpeg")


def _image(data: bytes, kind: str) -> str:
    text = base64.b64encode(data).decode()
    return f'<img alt="" src="data:image/{kind};base64,{text}">'


def sweep(rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, str]]) -> str:
    """Draw what a swept value does to recall, precision and the share of FULL messages."""
    name = next(iter(points[0]))
    figure, axes = _axes(f"Degradation over {name}", name, "", size=(8.0, 3.0))
    labels = [point[name] for point in points]
    for color, key in zip(_COLORS, ("recall", "precision", "AP", "full"), strict=False):
        values = [row.get(key) for row in rows[: len(labels)]]
        if any(value is not None for value in values):
            known = [np.nan if value is None else value for value in values]
            axes.plot(range(len(known)), known, "o-", color=color, label=key)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return svg(figure)
