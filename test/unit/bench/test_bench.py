"""The benchmarks' own arithmetic, and that each can be asked for."""

from __future__ import annotations

import argparse
import json
import os

import pytest

pytest.importorskip("rclpy")

import numpy as np

from edge_perception.bench import _fleet_cost, conditions, observe, pipeline, soak, transport
from edge_perception.bench._condition_drives import Told
from edge_perception.bench._report import deliver, median, quantiles
from edge_perception.bench._role import Role, RoleError
from edge_perception.bench._timing import allocated, compare, ratio
from edge_perception.cli.bench import discover_benchmarks


def test_every_benchmark_is_found_and_has_its_options():
    found = discover_benchmarks()
    for name in (
        "transport",
        "pipeline",
        "ingest",
        "preprocess",
        "fusion",
        "scale",
        "replay",
        "observe",
        "conditions",
    ):
        module = found[name]
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        args = parser.parse_args(["--quick", "--json", "-"])
        assert args.quick
        assert args.json == "-"
        assert parser.parse_args(["--json"]).json == "-"


def test_conditions_are_right_at_the_end_and_false_at_any_time():
    made = [
        Told(name="day rain", holds=frozenset({"day", "rain"}), end=frozenset({"day", "rain"}),
             ever=frozenset({"day", "rain"})),
        Told(name="day rain", holds=frozenset({"day", "rain"}), end=frozenset({"day"}),
             ever=frozenset({"day", "fog"})),
        Told(name="wet_20", holds=frozenset({"day", "dirty_lens"}), end=frozenset({"day"}),
             ever=frozenset({"day"})),
    ]  # fmt: skip
    summary = conditions.summarise(made)
    assert summary["told"] == {"day": "3 of 3", "dirty_lens": "0 of 1", "rain": "1 of 2"}
    assert summary["right"] == {"day rain": "1 of 2", "wet_20": "0 of 1"}
    assert summary["false"] == {"fog": 1}


def heard(setup, ages, *, sent=4, cpu_ms=4.0, **more):
    return {"load": "720p", "setup": setup, "ages_ms": ages, "sent": sent,
            "received": len(ages), "cpu_ms": cpu_ms, **more}  # fmt: skip


def test_the_transport_ratios_are_ours_to_the_reliable_defaults():
    rounds = [
        heard(transport.OURS, [1.0] * 4, cpu_ms=4.0),
        heard(transport.RELIABLE, [10.0] * 4, cpu_ms=20.0),
        heard(transport.BEST_EFFORT, [5.0], cpu_ms=20.0),
    ]
    summary = transport.summarise(rounds, "720p")
    assert summary["received_share"] == 1.0
    assert summary["p50_ratio"] == 0.1
    assert summary["cpu_ratio"] == 0.2
    assert summary["defaults_best_effort_received_share"] == 0.25


def test_observing_tells_the_latest_find_and_a_shift_that_was_not_found_is_no_success():
    costs = [{"idle": 0.004, "full": 0.009}, {"idle": 0.005, "full": 0.011}]
    found = {"score": [300, 500], "latency": [200, None]}
    drift = {"hours": 10.0, "false_alarms": 0, "found_after_frames": found}
    summary = observe.summarise(costs, drift)
    assert summary["cpu_share"] == 0.01
    assert summary["found_after_frames"] == {"score": 500, "latency": None}
    assert not observe.met(summary)
    drift["found_after_frames"]["latency"] = [200]
    assert observe.met(observe.summarise(costs, drift))
    assert not observe.met({**observe.summarise(costs, drift), "false_alarms": 1})


def test_the_pipeline_figures_compare_with_the_bare_models_and_the_usual_node():
    def found(setup, ages, rate_hz):
        return {"setup": setup, "ages_ms": ages, "rate_hz": rate_hz, "sent": 4, "fused": len(ages)}

    rounds = [
        found(pipeline.BARE, [10.0] * 4, 50.0),
        found(pipeline.BARE_PROCESSING, [12.0] * 4, 60.0),
        found(pipeline.COMPOSED, [12.5] * 4, 48.0),
        found(pipeline.USUAL, [50.0] * 3, 20.0),
        found(pipeline.PLANNED, [8.0] * 4, 72.0),
    ]
    summary = pipeline.summarise(rounds)
    assert summary["plan_gain"] == 1.5
    assert summary["planned_overhead_p50_ms"] == -2.0
    assert summary["throughput_ratio"] == 0.96
    assert summary["throughput_ratio_with_processing"] == 0.8
    assert summary["overhead_p50_ms"] == 2.5
    assert summary["overhead_p50_ms_with_processing"] == 0.5
    assert summary["overhead_p99_ms"] == 2.5
    assert summary["usual_p50_ratio"] == 0.25
    assert summary["fused_share"] == 1.0
    assert summary["usual_reliable_fused_share"] == 0.75


def test_overload_tells_what_was_planned_from_chance():
    shed = {
        "camera": {"overwritten": 3, "skipped": 120},
        "lidar": {"overwritten": 0, "skipped": 30},
    }
    heard = {"sent": 100, "heard": 40, "deadline_missed": 2, "given_up": 40, "shed": shed}
    heard |= {"speed": 5.0, "setup": pipeline.CONTROLLED, "ages_ms": [30.0]}
    summary = pipeline._overload_summary([heard, {**heard, "setup": pipeline.COMPOSED, "shed": {}}])
    assert summary["overload_5_controlled_overwritten_share"] == 0.01
    assert summary["overload_5_controlled_skipped_share"] == 0.5
    assert summary["overload_5_controlled_deadline_missed_share"] == 0.05
    assert summary["overload_5_controlled_given_up_told_share"] == 1.0
    assert summary["overload_5_skipped_share"] == 0.0


def test_the_result_is_json_on_the_standard_output(capsys):
    args = argparse.Namespace(json="-")
    deliver({"summary": {"ratio": 0.5}}, args)
    assert json.loads(capsys.readouterr().out)["summary"] == {"ratio": 0.5}


def test_quantiles_of_nothing_are_nan_and_the_median_skips_them():
    assert quantiles(())["p99"] != quantiles(())["p99"]
    assert median([float("nan"), 1.0, 3.0]) == 2.0


def test_allocations_are_those_of_one_call():
    kept = bytearray(1_000_000)
    assert allocated(lambda: bytes(500_000)) >= 500_000
    assert allocated(lambda: len(kept)) < 10_000


def test_two_ways_take_turns():
    found = compare({"one": lambda: None, "other": lambda: sum(range(2000))}, rounds=3, calls=5)
    assert len(found["one"]["round_us"]) == 3
    assert ratio(found, "one", "other") < 1.0


def test_a_process_that_ends_is_named():
    role = Role("json.tool", ("--no-such-option",), dict(os.environ))
    with role, pytest.raises(RoleError, match="tool"):
        role.answer(20.0)


def test_memory_that_grows_with_every_frame_is_told_from_buffers_that_fill_at_first():
    def grown(bytes_a_frame):
        return soak.summarise(
            [
                {"frames": n, "resident_mb": 300 + bytes_a_frame * n / 2**20, "views": n}
                for n in range(500, 50_001, 500)
            ]
        )

    flat, leaking = grown(0), grown(1024)
    assert flat["memory_ratio"] == 1.0
    assert leaking["memory_ratio"] > 1.1
    assert 900 < leaking["bytes_a_frame"] < 1150


def fleet_turns(extra, *, seed=1):
    """Frames of 20 ms, at another pace of the core in each turn; `extra` is what telling adds."""
    rng = np.random.default_rng(seed)
    for number in range(32):
        told, pace = number % 4 in (1, 2), rng.uniform(0.7, 1.4)
        own = pace * 0.02 * (1.0 + rng.exponential(0.01, 40))
        if told:
            own = own + pace * extra(rng)
        yield _fleet_cost.Turn(
            told=told,
            own_s=list(own),
            wall_s=list(own),
            beside_s=list(pace * 0.001 * rng.normal(1.0, 0.005, 40)),
        )


def test_what_telemetry_costs_frames_is_found_on_a_core_that_changes_its_pace():
    free = _fleet_cost.compared(list(fleet_turns(lambda _: 0.0)))
    low, high = free["p99_ratio_interval"]
    assert 0.98 < low <= free["p99_ratio"] <= high < 1.02
    assert not 0.98 < free["wall_p99_ratio"] < 1.02
    stalls = _fleet_cost.compared(list(fleet_turns(lambda rng: 0.002 * (rng.random(40) < 0.04))))
    assert stalls["p99_ratio_interval"][0] > 1.02
    assert stalls["p50_ratio"] < 1.01
    few = _fleet_cost.compared(list(fleet_turns(lambda _: 0.0))[:18])
    assert few["p99_ratio"] is None
