"""The files for Prometheus and Grafana, and the table for people, of the one list."""

from __future__ import annotations

from pathlib import Path

from edge_perception.observe.metrics.catalogue import METRICS
from edge_perception.observe.metrics.dashboards import dashboard_text, dashboards
from edge_perception.observe.metrics.metric import Metric
from edge_perception.observe.metrics.rules import alert_rules, recording_rules, rule_file
from edge_perception.releases.slo import Slo

RECORDING, ALERTS, DASHBOARDS = "recording_rules.yaml", "alert_rules.yaml", "dashboards"


def files(slo: Slo) -> dict[str, str]:
    """Return the texts by path below a folder."""
    found = {
        RECORDING: rule_file(recording_rules()),
        ALERTS: rule_file(alert_rules(slo)),
    }
    found |= {
        f"{DASHBOARDS}/{name}.json": dashboard_text(board) for name, board in dashboards().items()
    }
    return found


def write(folder: Path, slo: Slo) -> list[Path]:
    """Write the files; return their paths."""
    paths = []
    for name, text in files(slo).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def table() -> str:
    """Return the list as a table of Markdown."""
    lines = ["| metric | type | labels | meaning | made of |", "|---|---|---|---|---|"]
    lines += [
        f"| `{m.series}` | {m.kind.value} | {_labels(m)} | {m.text} | {m.source} |" for m in METRICS
    ]
    return "\n".join(lines) + "\n"


def _labels(metric: Metric) -> str:
    parts = [
        f"`{label.name}`: {', '.join(label.values)}"
        if label.values
        else f"`{label.name}` (at most {label.most})"
        for label in metric.labels
    ]
    return "; ".join([*parts, *(f"`{name}`" for name in metric.attributes)])
