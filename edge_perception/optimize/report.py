"""One HTML page for a model: steps, Pareto picture, layers, slices, warnings, commands."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from typing import Any

from edge_perception.optimize.candidate_table import TITLE as CANDIDATES
from edge_perception.optimize.candidate_table import readable
from edge_perception.optimize.findings import ERROR, NOTE, WARNING
from edge_perception.optimize.graph_page import STYLE

_LEVELS = (ERROR, WARNING, NOTE)


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
    """Draw what differs by layer, where the rows are layers: one bar each, in the graph's order."""
    key = "sqnr_db" if "sqnr_db" in rows[0] else "noise" if title == "sensitivity" else ""
    values = [row.get(key) for row in rows] if key else []
    finite = [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
    if len(finite) < 3:
        return ""
    top = max(finite) or 1.0
    width = 900 / len(values)
    bars = "".join(
        f"<rect x='{i * width:.1f}' y='{100 - h:.1f}' width='{max(width - 1, 1):.1f}' "
        f"height='{h:.1f}' fill='#3b6ea5'><title>{_text(str(row.get('layer', '')))}: {v:.4g}"
        "</title></rect>"
        for i, (row, v) in enumerate(zip(rows, values, strict=True))
        if isinstance(v, (int, float))
        for h in (max(0.0, 100 * v / top),)
    )
    return f"<svg viewBox='0 0 900 100' height='100'>{bars}</svg>"


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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best = front(found)
    figure, axes = pyplot.subplots(figsize=(9, 4.5), dpi=100)
    try:
        line = [p for p in found if p["name"] in best]
        axes.plot([p["ratio"] for p in line], [p["score"] for p in line], color="#9aa5b1", lw=1)
        for point in found:
            face = "#3b6ea5" if point["within"] else "none"
            axes.scatter(point["ratio"], point["score"], s=40, facecolors=face, ec="#3b6ea5")
            axes.annotate(
                point["name"], (point["ratio"], point["score"]), fontsize=8,
                xytext=(4, 4), textcoords="offset points",
            )  # fmt: skip
        axes.set(xlabel="time, of the model before", ylabel="accuracy, points")
        axes.set_title("joined: nothing quicker is as good; hollow: missed the gate", fontsize=9)
        buffer = io.BytesIO()
        figure.tight_layout()
        figure.savefig(buffer, format="png")
    finally:
        pyplot.close(figure)
    return buffer.getvalue()


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
