"""The report as one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.whole_file import write_whole
from edge_perception.validation import plots
from edge_perception.validation.metrics import RunFigures
from edge_perception.validation.result import BagResult
from edge_perception.validation.scene import Scene

MOST_PICTURED = 12  # recordings of a report; drawing takes longer than replaying a short one
_WITHOUT_PICTURES = (
    f"Pictures of {MOST_PICTURED} recordings, those that failed first. "
    "For pictures of another, validate it alone."
)
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:20px;color:#1f2937}
h1{font-size:22px}h2{font-size:18px;margin-top:36px;border-top:1px solid #d7dce2;padding-top:18px}
table{border-collapse:collapse;margin:8px 0}td,th{padding:3px 12px 3px 0;text-align:left;
vertical-align:top}th{color:#5b6573;font-weight:500}.passed{color:#1f7a44}.failed{color:#b42318}
svg,img{width:100%;height:auto}.sweep svg{max-width:720px}
.numbers td:nth-child(n+3){text-align:right;font-variant-numeric:tabular-nums}
.row{display:flex;flex-wrap:wrap;gap:14px}
.row>*{flex:1 1 340px;min-width:0}code{font-size:12px;overflow-wrap:anywhere}
"""


def write_page(
    results: Sequence[BagResult], path: Path, points: Sequence[Mapping[str, str]] | None
) -> None:
    """Write index.html; it appears whole or not at all."""
    passed = all(result.passed for result in results)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>Validation</title><style>{_STYLE}</style>",
        f"<h1>Validation: {_verdict(passed)}</h1>",
    ]
    if len(results) > 1:
        parts.append(summary_table(results, points))
    pictured = pictured_runs(results)
    if len(pictured) < len(results):
        parts.append(f"<p>{_WITHOUT_PICTURES}</p>")
    parts += [_section(result, pictures=result.name in pictured) for result in results]
    write_whole(path, ("\n".join(parts) + "\n").encode())


def pictured_runs(results: Sequence[BagResult]) -> set[str]:
    """Return the recordings whose pictures are drawn: those that failed first."""
    ranked = sorted(results, key=lambda result: result.passed)  # stable: else in their order
    return {result.name for result in ranked[:MOST_PICTURED]}


def _verdict(passed: bool) -> str:
    return (
        f"<span class={'passed' if passed else 'failed'}>{'passed' if passed else 'failed'}</span>"
    )


def summary_rows(results: Sequence[BagResult]) -> list[dict[str, Any]]:
    """Return one row a run for the table of several recordings or of a sweep."""
    rows = []
    for result in results:
        row: dict[str, Any] = {
            "run": result.name,
            "verdict": "passed" if result.passed else "failed",
        }
        if result.failure:
            row["verdict"] = f"failed: {result.failure.splitlines()[0]}"
        elif result.figures is not None:
            metrics = result.figures.metrics()
            row |= {
                "full": metrics["full_share"],
                "recall": metrics.get("recall"),
                "precision": metrics.get("precision"),
                "AP": metrics.get("average_precision"),
                "objects": metrics["objects"],
                "events": metrics["sound_events"],
                "missed": metrics["deadline_missed_share"],
                "e2e p95, ms": metrics["end_to_end_ms"].get("p95"),
            }
        rows.append(row)
    return rows


def summary_table(results: Sequence[BagResult], points: Sequence[Mapping[str, str]] | None) -> str:
    """Return the table of all runs, and the curve over a sweep of one axis."""
    rows = summary_rows(results)
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    curve = plots.sweep(rows, points) if points and len(points[0]) == 1 else ""
    return f"<table><tr>{head}</tr>{body}</table><div class=sweep>{curve}</div>"


def _cell(value: Any) -> str:
    return (
        ""
        if value is None
        else html.escape(f"{value:g}" if isinstance(value, float) else str(value))
    )


def _section(result: BagResult, *, pictures: bool) -> str:
    title = f"<h2 id='{html.escape(result.name)}'>{html.escape(result.name)}: "
    if result.failure or result.figures is None:
        return f"{title}{_verdict(False)}</h2><p>{html.escape(result.failure)}</p>"
    facts = _facts(result)
    parts = [
        f"{title}{_verdict(result.passed)}</h2>",
        "<table>",
        *(f"<tr><th>{html.escape(k)}</th><td>{v}</td></tr>" for k, v in facts),
        "</table>",
        _findings(result),
        _topics(result),
        _latencies(result),
    ]
    if pictures:
        parts += [_curves(result, result.figures), _worst(result)]
    return "\n".join(parts)


def _curves(result: BagResult, figures: RunFigures) -> str:
    findings = result.comparison.findings if result.comparison else ()
    duration_s = result.account["recording"]["duration_s"]
    parts = [
        plots.timeline(figures, result.modes_then, findings, duration_s),
        "<div class=row>",
        plots.stages(result.account["stages"]),
        plots.precision_recall(figures),
        plots.scores(figures),
        "</div>",
    ]
    return "\n".join(parts)


def _latencies(result: BagResult) -> str:
    """Show percentiles by stage: measured here, and on virtual time."""
    figures = result.figures
    assert figures is not None
    rows = plots.stage_rows(result.account["stages"])
    for name, percentiles in (
        ("wait for the cycle", figures.wait),
        ("end to end", figures.end_to_end),
    ):
        found = percentiles.ms(50, 95, 99)
        if found:
            rows.append(("virtual time", name, *(f"{value:.2f}" for value in found.values())))
    head = "<tr><th>source</th><th>stage</th><th>p50, ms</th><th>p95, ms</th><th>p99, ms</th></tr>"
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h3>Latency by stage</h3><table class=numbers>{head}{body}</table>"


def _facts(result: BagResult) -> list[tuple[str, str]]:
    account, figures = result.account, result.figures
    assert figures is not None
    metrics = figures.metrics()
    ratio = result.throughput_ratio
    facts = [
        (
            "recording",
            f"{html.escape(result.settings.bag)}, {account['recording']['duration_s']:.1f} s",
        ),
        ("SHA-256", f"<code>{account['sha256']}</code>"),
        ("modes", ", ".join(f"{k} {v}" for k, v in metrics["modes"].items())),
        (
            "end to end, virtual",
            ", ".join(f"{k} {v:g} ms" for k, v in metrics["end_to_end_ms"].items()),
        ),
        (
            "replay",
            f"{account['wall_s']:.1f} s, {ratio or 0:.2f} of the models in a loop, "
            f"peak {account['peak_mb']:.0f} MB",
        ),
        (
            "models",
            ", ".join(
                html.escape(f"{name}: {model['name']} {model['version']}")
                for name, model in account["models"].items()
            ),
        ),
    ]
    if result.baseline is not None:
        head = result.baseline.head
        facts.append(("baseline", html.escape(f"{head.name}, commit {head.commit}, {head.device}")))
    if "recall" in metrics:
        facts.append(
            ("cars", f"{metrics['correct']} of {metrics['labelled']} labelled, "
                     f"{metrics['false']} false")
        )  # fmt: skip
    for note in account["notes"]:
        facts.append(("note", html.escape(note)))
    return facts


def _topics(result: BagResult) -> str:
    """Show what the recording holds and what of it was replayed."""
    head = "".join(f"<th>{name}</th>" for name in ("topic", "is", "held", "replayed", "unusable"))
    rows = "".join(
        f"<tr><td>{html.escape(row['topic'])}</td><td>{html.escape(row['role'])}</td>"
        f"<td>{row['held']}</td><td>{row['replayed']}</td><td>{row['unusable'] or ''}</td></tr>"
        for row in result.account["topics"]
    )
    return f"<h3>Messages</h3><table class=numbers><tr>{head}</tr>{rows}</table>"


def _findings(result: BagResult) -> str:
    if not result.findings:
        return "<p>No difference from the baseline.</p>" if result.baseline else ""
    rows = "".join(
        f"<tr><td class={'failed' if f.failed else 'passed'}>{'failed' if f.failed else 'noted'}"
        f"</td><td>{html.escape(f.line())}</td></tr>"
        for f in sorted(result.findings, key=lambda f: not f.failed)[:200]
    )
    return f"<table>{rows}</table>"


def _worst(result: BagResult) -> str:
    """Show the frames that differ most: from the baseline, or else from the labels."""
    assert result.figures is not None
    comparison = result.comparison
    frames: list[tuple[float, Any, Any]] = []
    if comparison is not None:
        frames = [(w.time_s, w.current, w.baseline) for w in comparison.worst]
    what = "from the baseline (dashed)" if frames else "from the labels (black)"
    frames = frames or [(time_s, record, None) for time_s, record in result.figures.worst()]
    if not frames:
        return ""
    scene = Scene(result.settings)
    parts = [f"<h3>Frames that differ most {what}</h3>"]
    for time_s, now, then in frames:
        record = now or then
        labels = result.figures.labels
        frame = labels.frame_of(record) if labels is not None else None
        title = f"{time_s:.2f} s: " + "; ".join(
            f"{name} {told['mode']}, {len(told['objects'])} objects"
            for name, told in (("this run", now), ("baseline", then))
            if told is not None
        )
        parts += [
            "<div class=row>",
            plots.above(
                now,
                then,
                points_m=scene.points(record),
                labels=labels.boxes(frame) if labels is not None and frame is not None else (),
                title=title,
            ),
            scene.photo(record, now, then),
            "</div>",
        ]
    return "\n".join(parts)
