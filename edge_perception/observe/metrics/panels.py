"""A dashboard as a page, drawn from what Prometheus recorded: for where there is no Grafana."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from edge_perception.core.picture_style import INK, MODE, MUTED, STATE
from edge_perception.core.types import SourceState
from edge_perception.observe.metrics.servers import Line
from edge_perception.observe.pages import COLORS, svg, text, write_page

Ask = Callable[[str], Sequence[Line]]
_LARGE = 1e5
_MOST_LINES, _MOST_LANES = 8, 16  # of curves there are no more colours
_STATE_COLORS = {state.name: color for state, color in (*MODE.items(), *STATE.items())} | {
    "WARN": STATE[SourceState.LATE],
    "ERROR": STATE[SourceState.MISSING],
}
_UNITS = {"s": "s", "hertz": "Hz", "percentunit": "share", "velocityms": "m/s", "short": ""}


def write_dashboard(
    path: Path, dashboard: Mapping[str, Any], ask: Ask, *, start_s: float, note: str = ""
) -> None:
    """Draw the panels of a dashboard of `dashboards.py`.

    Args:
        path: of the page.
        dashboard: as Grafana has it.
        ask: returns the series of a query over the time that is drawn.
        start_s: where the time axis has its 0, s since the epoch.
        note: what the page says of the data.
    """
    drawn = [f"<div>{_panel(panel, ask, start_s)}</div>" for panel in dashboard["panels"]]
    parts = [f"<p>{text(note)}</p>", "<div class=grid>", *drawn, "</div>"]
    write_page(path, dashboard["title"], parts)


def _panel(panel: Mapping[str, Any], ask: Ask, start_s: float) -> str:
    figure = Figure(figsize=(4.8, 2.2))
    axes: Any = figure.add_subplot()
    axes.tick_params(labelsize=7)
    lines = [
        (_legend(target["legendFormat"], line.labels)[:48], line)
        for target in panel["targets"]
        for line in ask(_any(target["expr"]))
    ]
    lanes = panel["type"] == "state-timeline"
    most = _MOST_LANES if lanes else _MOST_LINES
    (_draw_lanes if lanes else _draw_curves)(axes, lines[:most], start_s)
    more = f" ({len(lines) - most} more)" if len(lines) > most else ""
    axes.set_title(f"{panel['title']}{more}", loc="left", color=INK, fontsize=9)
    axes.set_ylabel(_UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ""), fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if not lines:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=MUTED)
    return svg(figure)


def _draw_curves(axes: Any, lines: Sequence[tuple[str, Line]], start_s: float) -> None:
    for color, (name, line) in zip(COLORS, lines, strict=False):
        times, values = zip(*((at - start_s, value) for at, value in line.points), strict=True)
        axes.plot(times, values, ".-", ms=2.5, lw=1.0, color=color, label=name)
    if lines:
        axes.margins(y=0.15)
        if any(abs(value) >= _LARGE for _, line in lines for _, value in line.points):
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))  # 240M, where 2.4 and 1e8 stood
        axes.legend(
            fontsize=6, ncols=2, loc="upper left", bbox_to_anchor=(0.0, -0.14), frameon=False
        )


def _draw_lanes(axes: Any, lines: Sequence[tuple[str, Line]], start_s: float) -> None:
    """Draw a lane each, filled where the query had a value."""
    for row, (name, line) in enumerate(lines):
        color = next((c for word, c in _STATE_COLORS.items() if word in name.split()), COLORS[0])
        spans = [(at - start_s - 0.5, 1.0) for at, _ in line.points]
        axes.broken_barh(spans, (row - 0.4, 0.8), color=color, lw=0)
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=6)
    axes.set_ylim(len(lines) - 0.4, -0.6)


def _any(query: str) -> str:
    return query.replace("$instance", ".*").replace("$source", ".*")


def _legend(form: str, labels: Mapping[str, str]) -> str:
    """Return a legend with its labels filled in, as Grafana does."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), form)
