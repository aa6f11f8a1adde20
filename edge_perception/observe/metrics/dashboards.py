"""Dashboards for Grafana as JSON, from the list of metrics and the recording rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edge_perception.observe.metrics.catalogue import BY_NAME
from edge_perception.observe.metrics.metric import Metric
from edge_perception.observe.metrics.rules import JOB, bad_share, series

_WIDTH, _HEIGHT = 12, 8  # of a panel; Grafana has 24 columns
_UNITS = {
    "seconds": "s",
    "hertz": "hertz",
    "ratio": "percentunit",
    "meters_per_second": "velocityms",
    "bytes": "bytes",
    "celsius": "celsius",
    "watts": "watt",
    "joules": "joule",
    "": "short",
}
_HERE = 'job="edge_perception",instance=~"$instance"'
_SOURCE = f'{_HERE},source=~"$source"'
_DATA = {"type": "prometheus", "uid": "${datasource}"}

Query = tuple[str, str]  # PromQL and legend


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by name of their file."""
    return {
        "overview": _dashboard("overview", "Perception: overview", _overview()),
        "source": _dashboard("source", "Perception: one source", _source(), by_source=True),
        "drift": _dashboard("drift", "Perception: drift and conditions", _drift()),
        "model_change": _dashboard(
            "model-change", "Perception: models and their changes", _model_change()
        ),
        "resources": _dashboard("resources", "Perception: resources and power", _resources()),
        "fleet": _dashboard("fleet", "Perception: all vehicles", _fleet()),
    }


def dashboard_text(dashboard: dict[str, Any]) -> str:
    """Return a dashboard as the text of a file."""
    return json.dumps(dashboard, indent=1) + "\n"


def _overview() -> list[dict[str, Any]]:
    views = series("fused_views")
    return [
        _gauges("mode", f"{series('mode')}{{{_HERE}}} == 1", "{{mode}}"),
        _panel(
            BY_NAME["source_state"],
            "State of the sources (1: so it is)",
            [(f"{series('source_state')}{{{_HERE}}} == 1", "{{source}} {{state}}")],
        ),
        _panel(
            BY_NAME["end_to_end_seconds"],
            "End to end",
            [(_recorded("end_to_end_seconds", p, _HERE), f"p{p}") for p in (50, 95, 99)],
        ),
        _panel(
            BY_NAME["fused_views"],
            "Fused views a second",
            [(f"sum by (valid) (rate({views}{{{_HERE}}}[1m]))", "valid: {{valid}}")],
        ),
        _panel(
            BY_NAME["fusion_stage_seconds"],
            "Stages of fusion, p95",
            [(_recorded("fusion_stage_seconds", 95, _HERE), "{{stage}}")],
        ),
        _panel(
            BY_NAME["deadline_misses"],
            "Deadlines missed a second",
            [(f"rate({series('deadline_misses')}{{{_HERE}}}[1m])", "{{instance}}")],
        ),
        _gauges("confidence_ratio", f"{series('confidence_ratio')}{{{_HERE}}}", "{{instance}}"),
        _panel(
            BY_NAME["source_drops"],
            "Frames not used, a second",
            [
                (
                    f"sum by (source, reason) (rate({series('source_drops')}{{{_HERE}}}[1m]))",
                    "{{source}} {{reason}}",
                )
            ],
        ),
        _panel(
            BY_NAME["slo_events"],
            "Share of bad views over an hour, by objective",
            [(f"{bad_share('1h')}{{{_HERE}}}", "{{objective}}")],
            unit="percentunit",
        ),
        _gauges("node_level", f"{series('node_level')}{{{_HERE}}} == 1", "{{node}} {{level}}"),
        _gauges("safe_stop", f"{series('safe_stop')}{{{_HERE}}}", "{{instance}}"),
        _gauges(
            "fused_silence_seconds", f"{series('fused_silence_seconds')}{{{_HERE}}}", "silence"
        ),
    ]


def _source() -> list[dict[str, Any]]:
    return [
        _gauges("source_state", f"{series('source_state')}{{{_SOURCE}}} == 1", "{{state}}"),
        _gauges("source_rate_hertz", f"{series('source_rate_hertz')}{{{_SOURCE}}}", "{{source}}"),
        _panel(
            BY_NAME["stage_seconds"],
            "Where the time goes, p50",
            [(_recorded("stage_seconds", 50, _SOURCE), "{{stage}}")],
        ),
        _panel(
            BY_NAME["stage_seconds"],
            "Where the time goes, p99",
            [(_recorded("stage_seconds", 99, _SOURCE), "{{stage}}")],
        ),
        _gauges("source_age_seconds", f"{series('source_age_seconds')}{{{_SOURCE}}}", "age"),
        _panel(
            BY_NAME["source_drops"],
            "Frames not used, a second",
            [(f"rate({series('source_drops')}{{{_SOURCE}}}[1m])", "{{reason}}")],
        ),
        _gauges(
            "source_clock_offset_seconds",
            f"{series('source_clock_offset_seconds')}{{{_SOURCE}}}",
            "{{source}}",
        ),
        _panel(
            BY_NAME["source_contributed_views"],
            "Share of fused views with its evidence",
            [
                (
                    f"rate({series('source_contributed_views')}{{{_SOURCE}}}[1m]) / on (job, "
                    f"instance) group_left sum by (job, instance) (rate({series('fused_views')}"
                    f"{{{_HERE}}}[1m]))",
                    "{{source}}",
                )
            ],
            unit="percentunit",
        ),
        _gauges("source_doubtful", f"{series('source_doubtful')}{{{_SOURCE}}}", "{{source}}"),
    ]


def _drift() -> list[dict[str, Any]]:
    psi = f"{series('drift_psi')}{{{_HERE}}}"
    return [
        _panel(
            BY_NAME["condition_confidence_ratio"],
            "Conditions that hold",
            [(f"{series('condition_confidence_ratio')}{{{_HERE}}} > 0", "{{condition}}")],
        ),
        _gauges(
            "speed_advice_meters_per_second",
            f"{series('speed_advice_meters_per_second')}{{{_HERE}}}",
            "{{instance}}",
        ),
        _gauges("drift_known", f"{series('drift_known')}{{{_HERE}}}", "{{source}}"),
        _gauges("drifted_quantities", f"{series('drifted_quantities')}{{{_HERE}}}", "{{source}}"),
        _panel(
            BY_NAME["drift_psi"],
            "Population stability index, the five highest",
            [(f"topk(5, {psi})", "{{source}} {{quantity}}")],
        ),
        _panel(
            BY_NAME["drift_psi"],
            "Population stability index, highest of each source",
            [(f"max by (instance, source) ({psi})", "{{source}}")],
        ),
    ]


def _model_change() -> list[dict[str, Any]]:
    return [
        _panel(
            BY_NAME["model"],
            "Models that serve",
            [(f"{series('model')}{{{_HERE}}}", "{{role}}: {{model}} {{version}} {{sha256}}")],
        ),
        _panel(
            BY_NAME["model_events"],
            "Steps of changes",
            [
                (
                    f"sum by (event, error) (increase({series('model_events')}{{{_HERE}}}[1m]))"
                    " > 0",
                    "{{event}}, error: {{error}}",
                )
            ],
        ),
        _panel(
            BY_NAME["model_event_timestamp_seconds"],
            "Newest event of each kind, ago",
            [(f"time() - {series('model_event_timestamp_seconds')}{{{_HERE}}}", "{{event}}")],
        ),
        _panel(
            BY_NAME["stage_seconds"],
            "Inference, p99",
            [(_recorded("stage_seconds", 99, f'{_HERE},stage="inference"'), "{{source}}")],
        ),
        _panel(
            BY_NAME["slo_events"],
            "Share of bad views over 5 minutes, by objective",
            [(f"{bad_share('5m')}{{{_HERE}}}", "{{objective}}")],
            unit="percentunit",
        ),
        _gauges("objects", f"{series('objects')}{{{_HERE}}}", "{{instance}}"),
        _panel(
            BY_NAME["fused_level_views"],
            "Fused views a second, by level",
            [(f"rate({series('fused_level_views')}{{{_HERE}}}[1m])", "{{level}}")],
        ),
    ]


def _resources() -> list[dict[str, Any]]:
    def gauge(name: str, legend: str) -> dict[str, Any]:
        return _gauges(name, f"{series(name)}{{{_HERE}}}", legend)

    def rates(name: str, title: str, legend: str) -> dict[str, Any]:
        query = f"rate({series(name)}{{{_HERE}}}[1m])"
        return _panel(BY_NAME[name], title, [(query, legend)], unit="Bps")

    return [
        gauge("machine_cpu_ratio", "{{instance}}"),
        gauge("node_cpu_cores", "{{node}}"),
        gauge("node_memory_bytes", "{{node}}"),
        _panel(
            BY_NAME["machine_memory_bytes"],
            "Share of memory and disk that is left",
            [
                (
                    f"{series(f'machine_{left}_bytes')}{{{_HERE}}} / "
                    f"{series(f'machine_{whole}_bytes')}{{{_HERE}}}",
                    whole,
                )
                for left, whole in (("memory_available", "memory"), ("disk_free", "disk"))
            ],
            unit="percentunit",
        ),
        gauge("temperature_celsius", "{{sensor}}"),
        gauge("throttled", "{{instance}}"),
        gauge("machine_frequency_ratio", "{{instance}}"),
        _panel(
            BY_NAME["power_watts"],
            "Watts",
            [
                (f"{series('power_watts')}{{{_HERE}}}", "{{rail}}"),
                (f"{series('power_total_watts')}{{{_HERE}}}", "total"),
                (f"{series('battery_draw_watts')}{{{_HERE}}}", "battery {{battery}}"),
            ],
        ),
        gauge("inference_energy_joules", "{{model}}"),
        gauge("battery_charge_ratio", "{{battery}}"),
        gauge("battery_left_seconds", "{{battery}}"),
        gauge("gpu_use_ratio", "{{gpu}}"),
        gauge("gpu_memory_used_bytes", "{{gpu}}"),
        gauge("load_step", "{{source}}"),
        _panel(
            BY_NAME["load_frames"],
            "Frames skipped or reused, a second",
            [(f"rate({series('load_frames')}{{{_HERE}}}[1m])", "{{source}} {{way}}")],
        ),
        gauge("model_cache_hit_ratio", "{{source}}"),
        gauge("session_users", "{{source}}"),
        gauge("batch_frames_mean", "{{source}}"),
        rates("machine_disk_traffic_bytes", "Disk, bytes a second", "{{direction}}"),
        rates("machine_network_bytes", "Network, bytes a second", "{{direction}}"),
    ]


def _fleet() -> list[dict[str, Any]]:
    up = f"up{{{_HERE}}}"
    lost = f'{series("source_state")}{{{_HERE},state=~"STALE|MISSING|INVALID"}} == 1'
    return [
        _panel(BY_NAME["fused_silence_seconds"], "Vehicles that answer", [(up, "{{instance}}")]),
        _panel(
            BY_NAME["mode"],
            "Vehicles by mode",
            [(f"sum by (mode) ({series('mode')}{{{_HERE}}})", "{{mode}}")],
        ),
        _panel(
            BY_NAME["end_to_end_seconds"],
            "End to end, p99",
            [(_recorded("end_to_end_seconds", 99, _HERE), "{{instance}}")],
        ),
        _panel(
            BY_NAME["slo_events"],
            "Worst share of bad views over an hour",
            [(f"max by (instance) ({bad_share('1h')}{{{_HERE}}})", "{{instance}}")],
            unit="percentunit",
        ),
        _panel(
            BY_NAME["source_state"],
            "Sources lost",
            [(f"count by (instance) ({lost})", "{{instance}}")],
        ),
        _panel(
            BY_NAME["drifted_quantities"],
            "Quantities that have drifted",
            [
                (
                    f"sum by (instance) ({series('drifted_quantities')}{{{_HERE}}})",
                    "{{instance}}",
                )
            ],
        ),
        _panel(
            BY_NAME["model"],
            "Vehicles by release",
            [
                (
                    f"count by (role, model, version) ({series('model')}{{{_HERE}}})",
                    "{{role}}: {{model}} {{version}}",
                )
            ],
        ),
        _panel(
            BY_NAME["power_total_watts"],
            "Watts",
            [(f"{series('power_total_watts')}{{{_HERE}}}", "{{instance}}")],
        ),
        _panel(
            BY_NAME["safe_stop"],
            "Safe stops asked for",
            [(f"{series('safe_stop')}{{{_HERE}}} == 1", "{{instance}}")],
        ),
    ]


def _recorded(name: str, percent: int, chosen: str) -> str:
    assert name in BY_NAME
    return f"{JOB}:{name}:p{percent}_1m{{{chosen}}}"


def _gauges(name: str, query: str, legend: str) -> dict[str, Any]:
    metric = BY_NAME[name]
    return _panel(metric, metric.name.replace("_", " ").capitalize(), [(query, legend)])


def _panel(
    metric: Metric, title: str, queries: Sequence[Query], *, unit: str = ""
) -> dict[str, Any]:
    # What is the case now is a lane each: as curves all of them would lie at 1.
    lanes = all(query.endswith("== 1") for query, _ in queries)
    return {
        "type": "state-timeline" if lanes else "timeseries",
        "title": title,
        "description": metric.text,
        "datasource": _DATA,
        "fieldConfig": {
            "defaults": {
                "unit": unit or _UNITS[metric.unit],
                "custom": {"fillOpacity": 10, "spanNulls": False},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(queries)
        ],
    }


def _dashboard(
    uid: str, title: str, panels: Sequence[dict[str, Any]], *, by_source: bool = False
) -> dict[str, Any]:
    for index, panel in enumerate(panels):
        panel["id"] = index + 1
        panel["gridPos"] = {
            "x": index % 2 * _WIDTH, "y": index // 2 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT,
        }  # fmt: skip
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus"},
        _variable("instance", f"label_values({series('fused_silence_seconds')}, instance)"),
    ]
    if by_source:
        variables.append(_variable("source", f"label_values({series('source_features')}, source)"))
    return {
        "uid": f"edge-perception-{uid}",
        "title": title,
        "tags": ["edge_perception"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": variables},
        "annotations": {"list": [_alerts()]},
        "panels": list(panels),
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _DATA,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": name == "instance",
        "multi": name == "instance",
    }


def _alerts() -> dict[str, Any]:
    """Return the marks of alerts that fire, on every panel."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": _DATA,
        "expr": 'ALERTS{alertstate="firing",alertname=~"EdgePerception.*"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{source}} {{node}} {{objective}}",
    }
