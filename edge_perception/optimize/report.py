"""One HTML page for a model: steps, Pareto picture, layers, slices, warnings, commands."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from typing import Any

from edge_perception.optimize.candidate_table import TITLE as CANDIDATES
from edge_perception.optimize.candidate_table import readable
from edge_perception.optimize.drawing import png
from edge_perception.optimize.findings import ERROR, NOTE, WARNING
from edge_perception.optimize.graph_page import STYLE

_LEVELS = (ERROR, WARNING, NOTE)
_BARS = {  # tables whose rows are layers: what a bar is, and what it says
    "layers": ("sqnr_db", "signal to difference, dB, in the graph's order (higher is better)"),
    "sensitivity": ("noise", "what rounding one layer alone adds (lower is better)"),
}
_LABEL_PX = (110.0, 12.0)  # room that a name takes in the picture
_BAR, _PALE = "#3b6ea5", "#c3d3e6"


def points(outcomes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the candidates of all steps that have a time and a score, the quickest first."""
    found: list[dict[str, Any]] = []
    for outcome in outcomes:
        base = outcome["figures"].get("base") or {}
        if base.get("score_points") is not None and not any(p["name"] == "fp32" for p in found):
            found.append({
                "name": "fp32", "step": "before", "ratio": 1.0, "score": base["score_points"],
                "bytes": base.get("bytes"), "within": True,
            })  # fmt: skip
        for row in outcome["tables"].get("candidates", ()):
            if row.get("ratio") is not None and row.get("score_points") is not None:
                found.append({
                    "name": row["candidate"], "step": outcome["step"], "ratio": row["ratio"],
                    "score": row["score_points"], "bytes": row["bytes"],
                    "within": row.get("within_gate", True),
                })  # fmt: skip
    return sorted(found, key=lambda p: p["ratio"])


def front(found: Sequence[dict[str, Any]]) -> set[str]:
    """Return the names that nothing quicker is as good as: the Pareto front."""
    best, names = -math.inf, set()
    for point in found:  # the quickest first
        if point["score"] > best:
            best = point["score"]
            names.add(point["name"])
    return names


def report_page(outcomes: Sequence[dict[str, Any]]) -> str:
    """Return the page of outcomes as `Outcome.as_json` gives them."""
    subject = outcomes[0]["subject"]
    passed = all(outcome["passed"] for outcome in outcomes)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{_text(subject)}</title><style>{STYLE}</style>",
        f"<h1>{_text(subject)}: {_verdict(passed)}</h1>",
        _summary(outcomes),
    ]
    found = points(outcomes)
    if found:
        picture = base64.b64encode(_picture(found)).decode("ascii")
        parts.append("<h2>Time against accuracy</h2>")
        parts.append(f"<img alt='time against accuracy' src='data:image/png;base64,{picture}'>")
    parts += [_section(outcome) for outcome in outcomes]
    return "\n".join(parts) + "</html>\n"


def _summary(outcomes: Sequence[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><a href='#{_text(o['step'])}'>{_text(o['step'])}</a></td>"
        f"<td>{_text(o['subject'])}</td><td>{_verdict(o['passed'])}</td>"
        + "".join(
            f"<td class={level}>{sum(f['level'] == level for f in o['findings'])}</td>"
            for level in _LEVELS
        )
        + "</tr>"
        for o in outcomes
    )
    return (
        "<table><tr><th>step</th><th>of</th><th></th><th>errors</th><th>warnings</th>"
        f"<th>notes</th></tr>{rows}</table>"
    )


def _section(outcome: dict[str, Any]) -> str:
    findings = sorted(outcome["findings"], key=lambda f: _LEVELS.index(f["level"]))
    items = "".join(
        f"<li class={_text(f['level'])}>{_text(f['level'])}: {_text(f['text'])}"
        + (f"<br>change: <code>{_text(f['change'])}</code>" if f["change"] else "")
        + "</li>"
        for f in findings
    )
    tables = "".join(
        f"<h3>{_text(title)}</h3>{_bars(title, rows)}"
        f"{_table(readable(rows) if title == CANDIDATES else rows)}"
        for title, rows in outcome["tables"].items()
        if rows
    )
    figures = _table([
        {"figure": name, "value": value}
        for name, value in outcome["figures"].items()
        if not isinstance(value, (dict, list))
    ])  # fmt: skip
    return (
        f"<h2 id='{_text(outcome['step'])}'>{_text(outcome['step'])}: "
        f"{_verdict(outcome['passed'])}</h2><p><code>{_text(outcome['command'])}</code></p>"
        f"<ul>{items}</ul>{figures}{tables}"
    )


def _bars(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """Draw what differs by layer: one bar each, and what its height says."""
    if title not in _BARS:
        return ""
    key, says = _BARS[title]
    values = [_height(row, key) for row in rows]
    finite = [v for v in values if math.isfinite(v)]
    if len(finite) < 3:
        return ""
    top = max(finite) or 1.0
    width = 900 / len(values)
    bars = "".join(
        f"<rect x='{i * width:.1f}' y='{100 - h:.1f}' width='{max(width - 1, 1):.1f}' "
        f"height='{h:.1f}' fill='{_BAR if math.isfinite(v) else _PALE}'>"
        f"<title>{_text(str(row.get('layer', '')))}: {v:.4g}</title></rect>"
        for i, (row, v) in enumerate(zip(rows, values, strict=True))
        if not math.isnan(v)
        for h in (min(max(0.0, 100 * v / top), 100.0),)
    )
    equal = "; pale: no difference at all" if math.inf in values else ""
    caption = f"{says}; the tallest bar is {top:.4g}{equal}"
    return f"<svg viewBox='0 0 900 100' height='100'>{bars}</svg><p>{_text(caption)}</p>"


def _height(row: dict[str, Any], key: str) -> float:
    """Return a layer's figure; JSON has no infinity, so that a ratio to nothing is not in it."""
    value = row.get(key)
    if value is None:
        return math.inf if row.get("max_absolute") == 0 else math.nan
    return float(value)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _picture(found: Sequence[dict[str, Any]]) -> bytes:
    """Time of the model before over points, the front joined, what missed the gate hollow."""
    best = front(found)

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        line = [p for p in found if p["name"] in best]
        axes.plot([p["ratio"] for p in line], [p["score"] for p in line], color="#9aa5b1", lw=1)
        for point in found:
            face = "#3b6ea5" if point["within"] else "none"
            axes.scatter(point["ratio"], point["score"], s=40, facecolors=face, ec="#3b6ea5")
        _label(axes, found)
        axes.set(xlabel="time, of the model before", ylabel="accuracy, points")
        axes.set_title("joined: nothing quicker is as good; hollow: missed the gate", fontsize=9)

    return png(draw, size_in=(9, 4.5))


def _label(axes: Any, found: Sequence[dict[str, Any]]) -> None:
    """Write the names beside the points, each below another that it would cover."""
    taken: list[tuple[float, float]] = []
    for point in found:
        x, y = axes.transData.transform((point["ratio"], point["score"]))
        below = 0.0
        while any(
            abs(x - a) < _LABEL_PX[0] and abs(y - below - b) < _LABEL_PX[1] for a, b in taken
        ):
            below += _LABEL_PX[1]
        taken.append((x, y - below))
        axes.annotate(
            point["name"], (point["ratio"], point["score"]), fontsize=8,
            xytext=(5, 4 - 0.72 * below), textcoords="offset points",
        )  # fmt: skip


def _verdict(passed: bool) -> str:
    word = "passed" if passed else "failed"
    return f"<span class={'passed' if passed else 'error'}>{word}</span>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _text(f"{value:.4g}" if isinstance(value, float) else str(value))


def _text(value: str) -> str:
    return html.escape(value, quote=True)
