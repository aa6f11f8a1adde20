"""What is counted of the messages of a pipeline, and what is not said any more."""

from __future__ import annotations

import math

import pytest
from pipeline_messages import S, event, facts, source, view

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import UNKNOWN, SourceState
from edge_perception.monitoring.source import MonitorOptions, SourceMonitor
from edge_perception.observe.metrics.board import Board
from edge_perception.observe.metrics.catalogue import BY_NAME, METRICS
from edge_perception.observe.metrics.drift_values import DriftValues, drift_values
from edge_perception.observe.metrics.metric import Kind, Label, Metric
from edge_perception.observe.metrics.state import PipelineState, event_kind
from edge_perception.releases.slo import Slo


@pytest.fixture
def state() -> PipelineState:
    return PipelineState(Slo(), facts, started_ns=0, started_stamp_ns=100 * S)


def numbers(state: PipelineState, name: str) -> dict[tuple[str, ...], float]:
    found = {series.metric.name: series for series in state.board.series}[name]
    return {labels: number for labels, number in found.numbers.items() if number}


def counts(state: PipelineState, name: str) -> dict[tuple[str, ...], int]:
    found = {series.metric.name: series for series in state.board.series}[name]
    return {labels: sum(item.counts) for labels, item in found.distributions.items()}


def test_a_view_is_counted_once_and_a_feature_once(state):
    for number in (1, 2):
        state.on_view(view(number), S)
    state.on_view(view(3, sources=[source(stamp=event("", sec=6).stamp)]), S)
    assert numbers(state, "fused_views") == {("FULL", "true"): 3}
    assert counts(state, "end_to_end_seconds") == {(): 3}
    assert counts(state, "stage_seconds")[("camera", "inference")] == 2
    assert numbers(state, "source_contributed_views") == {("camera",): 3}
    state.refresh(S)
    assert numbers(state, "source_drops") == {
        ("camera", "overwritten"): 1,
        ("camera", "refused"): 2,
        ("camera", "late"): 3,
    }


def test_what_is_not_known_has_no_value(state):
    silent = source(
        contributed=False, age_s=UNKNOWN, silence_s=UNKNOWN, state=SourceState.MISSING.value
    )
    state.on_view(view(sources=[silent], end_to_end_s=UNKNOWN), S)
    state.refresh(S)
    assert numbers(state, "source_age_seconds") == {}
    assert numbers(state, "source_state") == {("camera", "MISSING"): 1}
    assert counts(state, "end_to_end_seconds") == counts(state, "stage_seconds") == {}


def test_an_old_view_says_nothing_of_now(state):
    state.on_view(view(), S)
    state.on_status("fusion", 0, S)
    state.refresh(2 * S)
    assert numbers(state, "source_state") == {("camera", "OK"): 1}
    assert numbers(state, "mode") == {("FULL",): 1}
    assert numbers(state, "node_level") == {("fusion", "OK"): 1}
    state.refresh(10 * S)
    gone = ("source_state", "mode", "fused_valid", "source_rate_hertz", "confidence_ratio")
    assert all(numbers(state, name) == {} for name in gone)
    assert numbers(state, "fused_silence_seconds") == {(): 9}
    assert numbers(state, "node_level") == {("fusion", "STALE"): 1}
    assert numbers(state, "fused_views") == {("FULL", "true"): 1}, "counters stay"


def test_conditions_and_drift_are_shown_while_they_are_told_and_never_guessed(state):
    state.on_view(view(speed_advice_mps=8.0), S)
    state.on_drift("camera", DriftValues(known=False, psi={}), S)
    said = {"drift": "score, objects", "drift.score": "psi 1.20 ks 0.50 z 7.0", "drift.x": "?"}
    found = drift_values(said)
    assert found is not None
    state.on_drift("lidar", found, S)
    state.refresh(2 * S)
    shown = {s.metric.name: dict(s.numbers) for s in state.board.series}
    assert shown["condition_confidence_ratio"] == {("day",): 0.9, ("fog",): 0.0}
    assert shown["speed_advice_meters_per_second"] == {(): 8.0}
    assert shown["drift_known"] == {("camera",): 0.0, ("lidar",): 1.0}
    assert shown["drifted_quantities"] == {("lidar",): 2.0}
    assert shown["drift_psi"] == {("lidar", "score"): 1.2}
    state.refresh(20 * S)
    names = ("condition_confidence_ratio", "speed_advice_meters_per_second", "drift_known")
    shown = {s.metric.name: dict(s.numbers) for s in state.board.series}
    assert all(shown[name] == {} for name in (*names, "drifted_quantities", "drift_psi"))


def test_what_a_monitor_says_of_drift_is_read():
    none = SourceMonitor("lidar", None, MonitorOptions(), why_none="no reference").describe()
    assert drift_values(none) == DriftValues(known=False, psi={})
    assert drift_values({}) is None


def test_silence_counts_from_the_start_where_nothing_ever_came(state):
    state.refresh(30 * S)
    assert numbers(state, "fused_silence_seconds") == {(): 30}


def test_objectives_are_counted_view_by_view(state):
    state.on_view(view(1), S)
    state.on_view(view(2, end_to_end_s=0.6, deadline_missed=True), S)
    state.on_view(view(3, valid=False, sources=[source(state=SourceState.INVALID.value)]), S)
    names = ("end_to_end_p99", "deadlines", "availability", "errors")
    assert numbers(state, "slo_events") == {(name,): 3 for name in names}
    assert numbers(state, "slo_good_events") == {(name,): 2 for name in names}


def test_views_that_did_not_arrive_are_told_and_a_restart_is_none(state):
    for sequence in (1, 2, 6, 1, 2, 900_000):
        state.on_view(view(sequence), S)
    assert numbers(state, "metrics_missed_views") == {(): 3}


def test_old_events_are_not_counted_anew(state):
    state.on_event(event("rolled back", sec=99, error=True))
    assert numbers(state, "model_events") == {}
    state.on_event(event("rolled back", sec=101, error=True))
    state.on_event(event("shadow 100%", sec=102))
    state.on_event(event("a step of tomorrow", sec=103))
    assert numbers(state, "model_events") == {
        ("rolled_back", "true"): 1,
        ("shadow", "false"): 1,
        ("other", "false"): 1,
    }
    assert numbers(state, "model_event_timestamp_seconds")[("rolled_back",)] == 101


def test_a_burn_after_a_change_counts_for_the_objective_that_the_manager_names(state):
    def told(kind, reason):
        state.on_event(event(kind, sec=101, error=True, reason=reason))

    told("burnt", "drift: 0.71 > 0.6: objects a view 8.0 -> 1.0")
    told("burns", "memory: 900 MB > 1.5 x 500 MB before the change")
    told("burns", "an objective of another file: 3")
    told("rolled back", "drift: not an event that is a burn")
    assert {key: n for key, n in numbers(state, "slo_burns").items() if n} == {
        ("drift",): 1, ("memory",): 1
    }  # fmt: skip


def test_a_counter_that_is_known_begins_at_zero(state):
    events = next(s for s in state.board.series if s.metric.name == "model_events")
    assert events.numbers[("rolled_back", "true")] == 0.0, "else the first one is no increase"
    objectives = next(s for s in state.board.series if s.metric.name == "slo_good_events")
    assert set(objectives.numbers) == {
        ("end_to_end_p99",), ("deadlines",), ("availability",), ("errors",)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("watch failed", "watch_failed"),
        ("canary 10%", "canary"),
        ("rolled back", "rolled_back"),
        ("", "other"),
    ],
)
def test_steps_have_one_name(said, kind):
    assert event_kind(said) == kind


@pytest.mark.parametrize("changed", [{"mode": 9}, {"level": 9}, {"closed_by": 9}])
def test_a_view_of_another_version_is_refused_whole(state, changed):
    with pytest.raises(ValueError, match="9"):
        state.on_view(view(**changed), S)
    with pytest.raises(ValueError, match="77"):
        state.on_view(view(sources=[source(), source("lidar", state=77)]), S)
    assert numbers(state, "fused_views") == numbers(state, "source_features") == {}


def test_labels_are_bounded_and_what_is_left_out_is_counted(state):
    many = [source(f"camera_{number}") for number in range(200)]
    state.on_view(view(sources=[source("camera_" + "x" * 10_000)]), S)
    state.on_view(view(sources=many), S)
    state.refresh(S)
    assert max(len(labels[0]) for labels in numbers(state, "source_contributed_views")) == 64
    assert len(numbers(state, "source_contributed_views")) == 16
    assert len(numbers(state, "source_features")) == 15
    assert numbers(state, "metrics_refused_values")[("source",)] > 0
    most = max(len(s.numbers) + len(s.distributions) for s in state.board.series)
    assert most <= 16 * 5


def test_models_that_change_do_not_use_up_the_bound(state):
    models = view().models
    for number in range(300):
        models[0].version = f"1.0.{number}"
        state.on_view(view(number, models=models), S)
        state.refresh(S)
    shown = next(s for s in state.board.series if s.metric.name == "model")
    assert list(shown.attributes.values()) == [("bev", "1.0.299", "ab" * 32, "f1")]


def test_buckets_are_cumulative_at_their_bounds_and_no_sum_falls():
    board = Board(METRICS)
    for value in (0.001, 0.0011, -1.0, 99.0, math.inf):
        board.observe("end_to_end_seconds", value=value)
    found = next(s for s in board.series if s.metric.name == "end_to_end_seconds")
    assert found.distributions[()].counts[:2] == [2, 1]
    assert found.distributions[()].counts[-1] == 2
    assert found.distributions[()].sum == pytest.approx(99.0021)


def most_series(metric):
    count = len(metric.buckets) + 3 if metric.kind is Kind.HISTOGRAM else 1
    for label in metric.labels:
        count *= len(label.values) or label.most
    return count


def test_the_list_is_bounded_and_well_named():
    assert len(BY_NAME) == len(METRICS)
    assert all(metric.text.endswith(".") and metric.source for metric in METRICS)
    # An event more is well, a dimension more is not.
    assert sum(map(most_series, METRICS)) < 3300
    board = Board(METRICS)
    with pytest.raises(ValueError, match="no 'MAYBE'"):
        board.put("mode", "MAYBE", value=1.0)


@pytest.mark.parametrize(
    "changed",
    [{"unit": "ms"}, {"unit": "seconds"}, {"buckets": (1.0,)}, {"kind": Kind.HISTOGRAM}],
)
def test_a_badly_named_metric_is_refused(changed):
    with pytest.raises(ConfigurationError, match="age"):
        Metric(**{"name": "age", "kind": Kind.GAUGE, "text": "t.", "source": "s", **changed})
    with pytest.raises(ConfigurationError, match="greatest number"):
        Label(name="any")
