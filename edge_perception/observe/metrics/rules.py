"""Recording and alert rules for Prometheus, from the list of metrics and the operator's SLO file.

An objective's error budget is the share of bad views that its target leaves. A burn rate is how
many times faster than allowed the budget goes. As in chapter 5 of Google's SRE workbook an alert
needs a long window, so that it means something, and a short one, so that it ends soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from edge_perception.observe.metrics.catalogue import BY_NAME, STALE_S
from edge_perception.releases.slo import EVENTS as EVENT_INDICATORS
from edge_perception.releases.slo import MEMORY, ROLL_BACK, STATES, Objective, Slo

JOB = "edge_perception"
PAGE, TICKET = "page", "ticket"
_MOST_BAD = 0.9  # a burn rate may ask for more than all views; then this share is enough
_LEAST_VIEWS = 600  # a minute at 10 Hz: the bad views of a start are no burn
_HEAD = "# Written by `edge-perception metrics --write`; the SLO file gives the limits.\n"


@dataclass(frozen=True, kw_only=True)
class Burn:
    """One pair of windows, for a budget of 30 days."""

    name: str
    factor: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(name="Fast", factor=14.4, long="1h", short="5m", severity=PAGE),  # 2 % of it in an hour
    Burn(name="Slow", factor=6.0, long="6h", short="30m", severity=PAGE),  # 5 % in six hours
    Burn(name="Creeping", factor=1.0, long="3d", short="6h", severity=TICKET),  # 10 % in three days
)


def series(name: str) -> str:
    """Return the name of a metric in queries; one that is not in the list is a KeyError."""
    return BY_NAME[name].series


def limit(objective: Objective, factor: float) -> float:
    """Return the share of bad views above which a burn is an alert."""
    return min(round(factor * (1.0 - objective.target), 6), _MOST_BAD)


def bad_share(window: str) -> str:
    """Return the recorded series of the share of bad views in a window."""
    return f"{JOB}:slo_bad:ratio_rate{window}"


def recording_rules() -> dict[str, Any]:
    """Return what dashboards and alerts ask again and again."""
    good, events = series("slo_good_events"), series("slo_events")
    windows = sorted({window for burn in BURNS for window in (burn.long, burn.short)})
    rules = [
        {
            "record": bad_share(window),
            "expr": f"1 - rate({good}[{window}]) / rate({events}[{window}])",
        }
        for window in windows
    ]
    for percent in (50, 95, 99):
        for name, by in (
            ("end_to_end_seconds", ""),
            ("fusion_stage_seconds", ", stage"),
            ("stage_seconds", ", source, stage"),
        ):
            rules.append(
                {
                    "record": f"{JOB}:{name}:p{percent}_1m",
                    "expr": f"histogram_quantile({percent / 100:g}, sum by (job, instance{by}, le) "
                    f"(rate({series(name)}_bucket[1m])))",
                }
            )
    return {"groups": [{"name": f"{JOB}_recording", "interval": "15s", "rules": rules}]}


def alert_rules(slo: Slo) -> dict[str, Any]:
    """Return the alerts: what is wrong now, and the objectives that burn."""
    objectives = [item for item in slo.objectives if item.indicator in EVENT_INDICATORS]
    groups = [{"name": f"{JOB}_now", "rules": list(_now())}]
    rules = [_burn(objective, burn) for objective in objectives for burn in BURNS]
    for objective in slo.objectives:
        if objective.indicator in STATES:
            rules.append(_broken(objective))
        if objective.indicator == MEMORY:
            rules.append(_grown(objective))
    if rules:
        groups.append({"name": f"{JOB}_objectives", "rules": rules})
    return {"groups": groups}


def rule_file(rules: dict[str, Any]) -> str:
    """Return rules as the text of a file."""
    return _HEAD + yaml.safe_dump(rules, sort_keys=False, width=100, allow_unicode=True)


def _burn(objective: Objective, burn: Burn) -> dict[str, Any]:
    at_most = limit(objective, burn.factor)
    chosen = f'{{objective="{_quoted(objective.name)}"}}'
    expression = " and ".join(
        f"{bad_share(window)}{chosen} > {at_most:g}" for window in (burn.long, burn.short)
    )
    events = f"increase({series('slo_events')}{chosen}[{burn.long}])"
    expression += f" and {events} > {_LEAST_VIEWS}"
    allowed = f"{1.0 - objective.target:.3g}"
    return {
        "alert": f"EdgePerceptionBudgetBurns{burn.name}",
        "expr": expression,
        "labels": {
            "severity": burn.severity,
            "objective": _plain(objective.name),
            "on_burn": objective.on_burn,
        },
        "annotations": {
            "summary": f"Objective {_plain(objective.name)} burns on {{{{ $labels.instance }}}}",
            "description": f"{{{{ $value | humanizePercentage }}}} of the fused views are bad over "
            f"{burn.long} and over {burn.short}, allowed are {allowed}; alert above {at_most:g}.",
        },
    }


def _broken(objective: Objective) -> dict[str, Any]:
    """Alert of what the manager found after a change: it alone knows the time before it."""
    chosen = f'{{objective="{_quoted(objective.name)}"}}'
    rolls_back = objective.on_burn == ROLL_BACK
    return {
        "alert": "EdgePerceptionObjectiveBroken",
        "expr": f"increase({series('slo_burns')}{chosen}[10m]) > 0",
        "labels": {
            "severity": PAGE if rolls_back else TICKET,
            "objective": _plain(objective.name),
            "on_burn": objective.on_burn,
        },
        "annotations": {
            "summary": f"Objective {_plain(objective.name)} does not hold after a change on "
            "{{ $labels.instance }}",
            "description": f"{objective.indicator} beyond {objective.at_most:g} against the time "
            "before the change; model_events of the vehicle say the value.",
        },
    }


def _grown(objective: Objective) -> dict[str, Any]:
    """Alert of memory that grows without a change: the same ratio, against an hour ago."""
    memory = series("node_memory_bytes")
    before = f"quantile_over_time(0.5, {memory}[1h] offset 1h)"
    return {
        "alert": "EdgePerceptionMemoryGrows",
        "expr": f"min_over_time({memory}[10m]) > {objective.at_most:g} * {before}",
        "labels": {
            "severity": TICKET,
            "objective": _plain(objective.name),
            "on_burn": objective.on_burn,
        },
        "annotations": {
            "summary": "{{ $labels.node }} takes more memory on {{ $labels.instance }}",
            "description": "{{ $value | humanize1024 }}B for ten minutes, more than "
            f"{objective.at_most:g} times the median of an hour, an hour ago.",
        },
    }


def _now() -> Iterator[dict[str, Any]]:
    yield _alert(
        "Unreachable",
        f'up{{job="{JOB}"}} == 0',
        "10s",
        PAGE,
        "No metrics from {{ $labels.instance }}: nothing is known of its perception.",
    )
    yield _alert(
        "Silent",
        f"{series('fused_silence_seconds')} > {STALE_S:g}",
        "5s",
        PAGE,
        "No fused view for {{ $value | humanizeDuration }} on {{ $labels.instance }}.",
    )
    yield _alert(
        "SafeStop",
        # Before the first valid view of a start there is nothing to stop for.
        f"{series('safe_stop')} == 1 and on (job, instance) "
        f'sum by (job, instance) ({series("fused_views")}{{valid="true"}}) > 0',
        "0s",
        PAGE,
        "The degradation policy asks for a safe stop on {{ $labels.instance }}.",
    )
    yield _alert(
        "SourceLost",
        # One alert for a source, whichever of the states it goes through.
        f"max by (job, instance, source) ({series('source_state')}"
        '{state=~"STALE|MISSING|INVALID"}) == 1',
        "5s",
        PAGE,
        "{{ $labels.source }} is stale, missing or invalid on {{ $labels.instance }}.",
    )
    yield _alert(
        "SourceDoubtful",
        f"{series('source_doubtful')} == 1",
        "1m",
        TICKET,
        "The content of {{ $labels.source }} is doubtful on {{ $labels.instance }}; its warning is "
        "in diagnostics.",
    )
    yield _alert(
        "Drift",
        f"{series('drifted_quantities')} > 0",
        "0s",  # the encoder has damped it
        TICKET,
        "What {{ $labels.source }} sees, or what its model makes of it, has drifted on "
        "{{ $labels.instance }}; diagnostics say what, from what to what, since when.",
    )
    yield _alert(
        "NodeFails",
        f'max by (job, instance, node) ({series("node_level")}{{level=~"ERROR|STALE"}}) == 1',
        "5s",
        PAGE,
        "{{ $labels.node }} reports an error, or nothing any more, on {{ $labels.instance }}.",
    )
    yield _alert(
        "ModelRolledBack",
        f'increase({series("model_events")}{{event="rolled_back"}}[10m]) > 0',
        "0s",
        PAGE,
        "A model change was rolled back on {{ $labels.instance }}.",
    )
    yield _alert(
        "ChangeFailed",
        f"sum by (job, instance) (increase({series('model_events')}"
        '{event=~"aborted|not_rolled_back|watch_failed|late",error="true"}[10m])) > 0',
        "0s",
        TICKET,
        "A model change was stopped or did not reach every node on {{ $labels.instance }}.",
    )
    yield _alert(
        "FramesDropped",
        f"sum by (job, instance, source) (rate({series('source_drops')}[5m])) > 0.2 * "
        f"sum by (job, instance, source) (rate({series('source_features')}[5m]))",
        "2m",
        TICKET,
        "{{ $labels.source }} loses more than a fifth of its frames on {{ $labels.instance }}.",
    )
    yield from _of_machine()
    yield _alert(
        "MetricsIncomplete",
        f"increase({series('metrics_missed_views')}[10m]) > 10 or "
        f"increase({series('metrics_refused_values')}[10m]) > 0",
        "0s",
        TICKET,
        "The metrics of {{ $labels.instance }} lack views or labels: see docs/observing.md.",
    )


def _of_machine() -> Iterator[dict[str, Any]]:
    yield _alert(
        "LoadShed",
        f"{series('load_step')} > 0",
        "1m",
        TICKET,
        "{{ $labels.source }} gives up work under load on {{ $labels.instance }}: step "
        "{{ $value }} of load control.",
    )
    yield _alert(
        "Throttled",
        f"{series('throttled')} == 1",
        "10s",
        TICKET,
        "Heat or a power limit holds {{ $labels.instance }} back.",
    )
    yield _alert(
        "DiskNearlyFull",
        f"{series('machine_disk_free_bytes')} / {series('machine_disk_bytes')} < 0.05",
        "1m",
        TICKET,
        "Less than a twentieth of the disk is free on {{ $labels.instance }}.",
    )
    yield _alert(
        "MemoryNearlyFull",
        f"{series('machine_memory_available_bytes')} / {series('machine_memory_bytes')} < 0.05",
        "1m",
        PAGE,
        "Less than a twentieth of the memory is left on {{ $labels.instance }}.",
    )
    yield _alert(
        "BatteryNearlyEmpty",
        f"{series('battery_left_seconds')} < 900",
        "1m",
        PAGE,
        "Battery {{ $labels.battery }} of {{ $labels.instance }} lasts for "
        "{{ $value | humanizeDuration }} at the present draw.",
    )


def _alert(name: str, expression: str, lasting: str, severity: str, text: str) -> dict[str, Any]:
    return {
        "alert": f"EdgePerception{name}",
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": text},
    }


def _quoted(text: str) -> str:
    """Return a text for a string of PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(text: str) -> str:
    """Return a text that is the same after Prometheus took it for a template."""
    return text.replace("{{", '{{"{{"}}')
