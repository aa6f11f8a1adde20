"""Rules and dashboards: made of the list, as shipped, and as Prometheus's own tool runs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from edge_perception.cli import metrics as command
from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.observe.metrics.catalogue import METRICS
from edge_perception.observe.metrics.dashboards import dashboards
from edge_perception.observe.metrics.metric import Kind
from edge_perception.observe.metrics.rules import (
    BURNS,
    alert_rules,
    limit,
    recording_rules,
    rule_file,
)
from edge_perception.observe.metrics.writing import files, table
from edge_perception.releases.slo import DEFAULT_OBJECTIVES, Objective, Slo

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "config" / "observing"
SERIES = {
    name: metric
    for metric in METRICS
    for name in (
        [metric.series + end for end in ("_bucket", "_sum", "_count")]
        if metric.kind is Kind.HISTOGRAM
        else [metric.series]
    )
}


def promtool(*words: str | Path) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def all_rules(slo: Slo) -> list[dict]:
    groups = recording_rules()["groups"] + alert_rules(slo)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_what_is_shipped_is_what_is_written():
    for name, text in files(Slo()).items():
        assert (SHIPPED / name).read_text() == text, (
            "edge-perception metrics --write config/observing"
        )
    page = (ROOT / "docs" / "observing.md").read_text()
    assert table() in page, "edge-perception metrics --list"


def queries_of(dashboard):
    """PromQL of all panels and variables, with variables as any value."""
    found = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    return [q.replace("$instance", ".*").replace("$source", ".*") for q in found]


def test_every_query_asks_what_there_is():
    recorded = {rule["record"] for rule in all_rules(Slo()) if "record" in rule}
    queries = [rule["expr"] for rule in all_rules(Slo())]
    queries += [query for board in dashboards().values() for query in queries_of(board)]
    for query in queries:
        for name in re.findall(r"\bedge_perception[:_][\w:]+", query):
            assert name in SERIES or name in recorded, query
        # Values of labels that are closed are those of the list.
        for name, chosen in re.findall(r"(edge_perception_\w+)\{([^}]*)\}", query):
            labels = {label.name: label for label in SERIES[name].labels} if name in SERIES else {}
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', chosen):
                if label in labels and labels[label].values and values != ".*":
                    assert set(values.split("|")) <= set(labels[label].values), query


def test_every_metric_that_people_watch_is_on_a_dashboard():
    text = json.dumps([dashboards(), all_rules(Slo())])
    seen = {m.name for m in METRICS if m.series in text or f":{m.name}:" in text}
    # Said in another form: silence of a source as its age, these two as shares of what they are of.
    unseen = {m.name for m in METRICS} - seen
    assert unseen == {
        "fused_valid", "fused_cycles", "source_silence_seconds", "metrics_bad_messages"
    }  # fmt: skip


def test_promtool_reads_rules_queries_and_configuration(tmp_path):
    rules = [
        {"record": f"q:{index}", "expr": query}
        for index, query in enumerate(
            q for board in dashboards().values() for q in queries_of(board)
        )
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
    promtool("check", "config", SHIPPED / "prometheus.yaml")


def test_every_objective_can_burn_and_a_target_of_all_burns_at_once():
    assert limit(Objective(name="x", indicator="deadline", target=0.9), 14.4) == 0.9, "not 1.44"
    assert limit(Objective(name="x", indicator="valid", target=0.95), 6.0) == 0.3
    assert limit(Objective(name="x", indicator="valid", target=1.0), 14.4) == 0.0
    alerts = [rule for rule in all_rules(Slo()) if "BudgetBurns" in rule.get("alert", "")]
    events = [item for item in DEFAULT_OBJECTIVES if item.indicator not in ("drift", "memory")]
    assert len(alerts) == len(BURNS) * len(events)
    assert alert_rules(Slo(objectives=()))["groups"][1:] == []


def alert_cases(tmp_path: Path, slo: Slo, cases: list[dict]) -> None:
    """Let promtool run the rules over planted series."""
    (tmp_path / "rules.yaml").write_text(rule_file(recording_rules()))
    (tmp_path / "alerts.yaml").write_text(rule_file(alert_rules(slo)))
    text = {
        "rule_files": ["rules.yaml", "alerts.yaml"],
        "evaluation_interval": "15s",
        "tests": cases,
    }
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(text))
    assert "SUCCESS" in promtool("test", "rules", file)


def names_case(series: dict[str, str], interval: str, at: dict[str, list[str]]) -> dict:
    """Return a case: which alerts fire when; those that are not named must not."""
    return {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "eval_time": when,
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)
                ],
            }
            for when, firing in at.items()
        ],
    }


EVENT = "edge_perception_model_events_total"
BASE = 'job="edge_perception",instance="a"'


def test_a_pulled_lidar_fires_and_its_return_resolves(tmp_path):
    series = {
        f'{STATES}{{{BASE},source="lidar",state="OK"}}': "1x8 0x16 1x16",
        f'{STATES}{{{BASE},source="lidar",state="STALE"}}': "0x8 1x4 0x28",
        f'{STATES}{{{BASE},source="lidar",state="MISSING"}}': "0x12 1x12 0x16",
        f'{STATES}{{{BASE},source="camera",state="OK"}}': "1x40",
        f'{STATES}{{{BASE},source="camera",state="INVALID"}}': "0x40",
        f"edge_perception_fused_silence_seconds{{{BASE}}}": "0.1x40",
        f'up{{{BASE}}}': "1x40",
    }  # fmt: skip
    lost = ["EdgePerceptionSourceLost"]
    at = {"2m": [], "3m": lost, "3m30s": lost, "5m": lost, "7m": []}
    alert_cases(tmp_path, Slo(), [names_case(series, "15s", at)])


STATES = "edge_perception_source_state"
WRONG = {
    "Unreachable": {f"up{{{BASE}}}": "0x20"},
    "Silent": {f"edge_perception_fused_silence_seconds{{{BASE}}}": "0+15x20"},
    "SafeStop": {
        f"edge_perception_safe_stop{{{BASE}}}": "1x20",
        f'edge_perception_fused_views_total{{{BASE},mode="FULL",valid="true"}}': "9x20",
    },
    "SourceDoubtful": {f'edge_perception_source_doubtful{{{BASE},source="camera"}}': "1x20"},
    "Drift": {f'edge_perception_drifted_quantities{{{BASE},source="camera"}}': "2x20"},
    "NodeFails": {f'edge_perception_node_level{{{BASE},node="fusion",level="STALE"}}': "1x20"},
    "ModelRolledBack": {f'{EVENT}{{{BASE},event="rolled_back",error="true"}}': "0x10 1x10"},
    "ChangeFailed": {f'{EVENT}{{{BASE},event="aborted",error="true"}}': "0x10 1x10"},
    "FramesDropped": {
        f'edge_perception_source_drops_total{{{BASE},source="lidar",reason="late"}}': "0+9x20",
        f'edge_perception_source_features_total{{{BASE},source="lidar"}}': "0+30x20",
    },
    "LoadShed": {f'edge_perception_load_step{{{BASE},source="camera"}}': "2x20"},
    "Throttled": {f"edge_perception_throttled{{{BASE}}}": "1x20"},
    "DiskNearlyFull": {
        f"edge_perception_machine_disk_free_bytes{{{BASE}}}": "40x20",
        f"edge_perception_machine_disk_bytes{{{BASE}}}": "1000x20",
    },
    "MemoryNearlyFull": {
        f"edge_perception_machine_memory_available_bytes{{{BASE}}}": "40x20",
        f"edge_perception_machine_memory_bytes{{{BASE}}}": "1000x20",
    },
    "BatteryNearlyEmpty": {
        f'edge_perception_battery_left_seconds{{{BASE},battery="vehicle"}}': "600x20"
    },
    "MetricsIncomplete": {f"edge_perception_metrics_missed_views_total{{{BASE}}}": "0+9x20"},
}


def test_what_is_wrong_fires_alone(tmp_path):
    at = {name: {"4m45s": [f"EdgePerception{name}"]} for name in WRONG}
    cases = [names_case(series, "15s", at[name]) for name, series in WRONG.items()]
    alert_cases(tmp_path, Slo(), cases)
    tried = {*WRONG, "SourceLost"}  # it has a test of its own
    named = {
        rule["alert"].removeprefix("EdgePerception") for rule in all_rules(Slo()) if "alert" in rule
    }
    of_objectives = {"ObjectiveBroken", "MemoryGrows"}
    assert {name for name in named if "BudgetBurns" not in name} == tried | of_objectives


def test_an_objective_against_the_time_before_a_change_fires_when_the_manager_says_so(tmp_path):
    burns = f'edge_perception_slo_burns_total{{{BASE},objective="%s"}}'
    series = {burns % "drift": "0x10 1x60", burns % "memory": "0x70", burns % "errors": "0x10 1x60"}
    at = {"2m": [], "4m": ["EdgePerceptionObjectiveBroken"], "16m": []}
    case = names_case(series, "15s", at)
    firing = 'ALERTS{alertstate="firing",objective="drift",severity="page",on_burn="roll_back"}'
    case["promql_expr_test"].append(
        {"eval_time": "4m", "expr": f"count({firing})",
         "exp_samples": [{"labels": "{}", "value": 1}]}
    )  # fmt: skip
    alert_cases(tmp_path, Slo(), [case])


def test_memory_that_grows_fires_against_an_hour_ago_and_a_young_node_does_not(tmp_path):
    memory = f'edge_perception_node_memory_bytes{{{BASE},node="%s"}}'
    series = {
        memory % "camera_encoder": "200x130 310x40",  # MB, a minute each
        memory % "lidar_encoder": "200x130 290x40",
        memory % "fusion": "_x140 900x30",
    }
    at = {"2h5m": [], "2h30m": ["EdgePerceptionMemoryGrows"]}
    alert_cases(tmp_path, Slo(), [names_case(series, "1m", at)])


def test_a_start_without_a_valid_view_yet_is_no_safe_stop(tmp_path):
    series = {
        f"edge_perception_safe_stop{{{BASE}}}": "1x20",
        f'edge_perception_fused_views_total{{{BASE},mode="NONE",valid="false"}}': "0+9x20",
        f'edge_perception_fused_views_total{{{BASE},mode="FULL",valid="true"}}': "0x10 1x10",
    }
    at = {"2m": [], "4m": ["EdgePerceptionSafeStop"]}
    alert_cases(tmp_path, Slo(), [names_case(series, "15s", at)])


def test_nothing_fires_where_nothing_is_wrong(tmp_path):
    series = {
        f"up{{{BASE}}}": "1x20",
        f"edge_perception_fused_silence_seconds{{{BASE}}}": "0.1x20",
        f"edge_perception_safe_stop{{{BASE}}}": "0x20",
        f'edge_perception_node_level{{{BASE},node="fusion",level="ERROR"}}': "0x20",
        f'edge_perception_node_level{{{BASE},node="fusion",level="OK"}}': "1x20",
        f'edge_perception_model_events_total{{{BASE},event="done",error="false"}}': "0+1x20",
        f'edge_perception_source_drops_total{{{BASE},source="lidar",reason="late"}}': "0+1x20",
        f'edge_perception_source_features_total{{{BASE},source="lidar"}}': "0+30x20",
        f'edge_perception_slo_events_total{{{BASE},objective="deadlines"}}': "0+100x20",
        f'edge_perception_slo_good_events_total{{{BASE},objective="deadlines"}}': "0+99x20",
    }
    alert_cases(tmp_path, Slo(), [names_case(series, "15s", {"4m45s": []})])


def test_a_budget_that_burns_fires_by_its_speed(tmp_path):
    slo = Slo(objectives=(Objective(name="errors", indicator="errors", target=0.98),))
    chosen = f'{BASE},objective="errors"'
    cases = []
    for bad, fires in (  # of 100 views a minute; the budget is 2
        (60, ["Creeping", "Fast", "Slow"]),
        (20, ["Creeping", "Slow"]),
        (5, ["Creeping"]),
        (1, []),
    ):
        series = {
            f"edge_perception_slo_events_total{{{chosen}}}": "0+100x90",
            f"edge_perception_slo_good_events_total{{{chosen}}}": f"0+{100 - bad}x90",
        }
        at = {"90m": [f"EdgePerceptionBudgetBurns{name}" for name in fires]}
        cases.append(names_case(series, "1m", at))
    alert_cases(tmp_path, slo, cases)


def test_the_bad_views_of_a_start_are_no_burn(tmp_path):
    slo = Slo(objectives=(Objective(name="errors", indicator="errors", target=0.98),))
    chosen = f'{BASE},objective="errors"'
    series = {  # 20 bad views of the first 20, at 10 Hz
        f"edge_perception_slo_events_total{{{chosen}}}": "20+150x2",
        f"edge_perception_slo_good_events_total{{{chosen}}}": "0+150x2",
    }
    alert_cases(tmp_path, slo, [names_case(series, "15s", {"30s": []})])


def test_a_burn_that_is_over_ends_with_its_short_window(tmp_path):
    slo = Slo(objectives=(Objective(name="errors", indicator="errors", target=0.98),))
    chosen = f'{BASE},objective="errors"'
    series = {
        f"edge_perception_slo_events_total{{{chosen}}}": "0+100x120",
        f"edge_perception_slo_good_events_total{{{chosen}}}": "0+0x60 100+100x60",
    }
    case = names_case(series, "1m", {})
    fast = 'ALERTS{alertname="EdgePerceptionBudgetBurnsFast",alertstate="firing"}'
    case["promql_expr_test"] = [
        {
            "eval_time": "60m",
            "expr": f"count({fast})",
            "exp_samples": [{"labels": "{}", "value": 1}],
        },
        {"eval_time": "67m", "expr": f"count({fast})", "exp_samples": []},
    ]
    alert_cases(tmp_path, slo, [case])


def test_names_of_an_operator_cannot_break_the_rules(tmp_path):
    slo = Slo(objectives=(Objective(name='late "{{ $value }}" \\ x', indicator="valid"),))
    file = tmp_path / "alerts.yaml"
    file.write_text(rule_file(alert_rules(slo)))
    promtool("check", "rules", file)


def test_the_command_writes_with_the_limits_of_a_file(tmp_path, capsys):
    slo = tmp_path / "slo.yaml"
    slo.write_text(
        "schema: edge_perception/slo/1\n"
        "objectives:\n  - {name: ours, indicator: valid, target: 0.5}\n"
    )
    assert main(["metrics", "--write", str(tmp_path / "out"), "--slo", str(slo)]) == 0
    assert "recording_rules.yaml" in capsys.readouterr().out
    alerts = (tmp_path / "out" / "alert_rules.yaml").read_text()
    assert '{objective="ours"} > 0.5' in alerts
    assert "deadlines" not in alerts
    slo.write_text(
        "schema: edge_perception/slo/1\nobjectives:\n  - {name: ours, indicator: vaild}\n"
    )
    assert main(["metrics", "--write", str(tmp_path / "out"), "--slo", str(slo)]) == 2
    assert f"{slo}:3: " in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="expected an SLO file"):
        command.run(_arguments("--write", str(tmp_path), "--slo", str(tmp_path / "none.yaml")))


def _arguments(*words: str):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)
