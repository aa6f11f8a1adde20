"""Fusion over seconds of virtual time: rates, losses, dead sensors, clocks."""

import itertools
from collections import Counter

import pytest
from fusion_rig import MS, Rig, gaps_ms, make_config, make_feature, times

from edge_perception.core.types import ClosedBy, Mode, SourceState
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import CycleConfig, SourceConfig
from edge_perception.fusion.policy import Action, DegradationPolicy, ModePolicy

DEADLINE_MS = CycleConfig().deadline_s * 1e3
SENSORS = ("camera", "lidar", "audio")


def _steady_rig(*, cut=(), cut_ms=(3000, 6000), end_ms=9000, phase_ms=50, **cycle):
    """Camera, LiDAR and audio at 10 Hz; some of them silent for a while."""
    rig = Rig(make_config(*SENSORS, **cycle))
    plans = {"camera": (0, 100), "lidar": (phase_ms, 100), "audio": (20, 100)}
    for source, (start, period) in plans.items():
        moments = times(start, period, end_ms)
        if source in cut:
            moments = [t for t in moments if not cut_ms[0] <= t < cut_ms[1]]
        rig.driver(source, moments, latency_ms=20)
    rig.run(end_ms)
    return rig


@pytest.mark.parametrize("phase_ms", [0, 5, 20, 50, 80, 95])
def test_two_sensors_give_one_full_view_a_period(phase_ms):
    rig = _steady_rig(phase_ms=phase_ms)
    later = [output for output in rig.outputs if 1500 < output.at_ms <= 8900]
    assert len(later) == pytest.approx(74, abs=1)
    assert all(output.view.mode is Mode.FULL for output in later)
    assert all(output.view.closed_by is ClosedBy.COMPLETE for output in later)
    assert all({"camera", "lidar"} <= output.contributors for output in later)
    spreads = {(output.view.stamp_ns - output.view.oldest_stamp_ns) / MS for output in later}
    assert spreads == {float(min(phase_ms, 100 - phase_ms))}


@pytest.mark.parametrize("phase_ms", [0, 5, 20, 50, 80, 95])
@pytest.mark.parametrize("source", ["camera", "lidar"])
def test_dead_source_is_named_at_once_and_output_goes_on(source, phase_ms):
    rig = _steady_rig(cut=[source], phase_ms=phase_ms)
    cut = [output for output in rig.outputs if 3000 <= output.at_ms < 6000]
    without = [output for output in cut if source not in output.contributors]
    assert without[0].at_ms <= 3000 + 300
    for output in without:
        assert output.view.mode is Mode.DEGRADED
        assert output.state(source) is not SourceState.OK
        assert output.view.reason.startswith(f"{source}: ")
    assert max(gaps_ms(rig.outputs, 1000, 9000)) <= DEADLINE_MS
    after = [output for output in rig.outputs if output.at_ms > 6000]
    full = [output.at_ms for output in after if output.view.mode is Mode.FULL]
    assert full[0] <= 6000 + 350, "three good frames and a cycle"
    assert all(output.view.mode is Mode.FULL for output in after if output.at_ms >= full[0])
    assert all(output.state(source) is SourceState.OK for output in after if output.at_ms > 6500)


@pytest.mark.parametrize("phase_ms", [0, 5, 20, 50, 80, 95])
@pytest.mark.parametrize("source", ["camera", "lidar"])
@pytest.mark.parametrize("shift_ms", [-5, 0, 5])
def test_one_lost_frame_changes_neither_mode_nor_state(source, phase_ms, shift_ms):
    rig = Rig(make_config("camera", "lidar"))
    for name, start in (("camera", 0), ("lidar", phase_ms)):
        moments = times(start, 100, 4000)
        if name == source:
            del moments[20]
            moments[20] += shift_ms  # jitter makes the silence even longer
        rig.driver(name, moments, latency_ms=20)
    outputs = [output for output in rig.run(4000) if output.at_ms > 1000]
    assert {output.view.mode for output in outputs} == {Mode.FULL}
    assert {output.state(name) for output in outputs for name in ("camera", "lidar")} == {
        SourceState.OK
    }
    assert all(output.contributors == {"camera", "lidar"} for output in outputs)
    assert max(gaps_ms(outputs, 1000, 4000)) <= DEADLINE_MS


@pytest.mark.parametrize(
    "dead", [set(c) for n in range(4) for c in itertools.combinations(SENSORS, n)]
)
def test_every_subset_of_dead_sensors(dead):
    rig = _steady_rig(cut=dead)
    cut = [output for output in rig.outputs if 3325 <= output.at_ms < 6000]
    alive = set(SENSORS) - dead
    expected = Mode.FULL if not dead else Mode.DEGRADED
    if not alive & {"camera", "lidar"}:
        expected = Mode.MINIMAL if alive else Mode.NONE
    assert {output.view.mode for output in cut} == {expected}
    assert all(output.view.valid is (expected >= Mode.DEGRADED) for output in cut)
    for output in cut:
        for source in dead:
            assert f"{source}: {output.state(source).name}" in output.view.reason
    assert max(gaps_ms(rig.outputs, 1000, 9000)) <= DEADLINE_MS
    back = [output for output in rig.outputs if output.at_ms >= 6350]
    assert {output.view.mode for output in back} == {Mode.FULL}


def test_no_wait_for_the_dead():
    rig = _steady_rig(cut=["lidar"])
    cut = [output for output in rig.outputs if 3700 <= output.at_ms < 6000]
    assert max(output.view.wait_s for output in cut) == 0.0
    assert len(cut) == 23


def test_fast_camera_waits_for_the_lidar():
    rig = Rig(make_config(SourceConfig(source="camera", modality="camera", rate_hz=20.0), "lidar"))
    rig.driver("camera", times(0, 50, 5000))
    rig.driver("lidar", times(30, 100, 5000))
    outputs = [output for output in rig.run(5000) if output.at_ms > 500]
    assert len(outputs) == 45
    assert {frozenset(output.contributors) for output in outputs} == {
        frozenset({"camera", "lidar"})
    }
    assert max(output.view.stamp_ns - output.view.oldest_stamp_ns for output in outputs) <= 30 * MS
    assert rig.fusion.counters.superseded["camera"] >= 44


def test_slow_encoder_is_matched_by_stamp_not_by_arrival():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 3000), latency_ms=150)
    rig.driver("lidar", times(0, 100, 3000), latency_ms=30)
    outputs = [output for output in rig.run(3000) if output.at_ms > 500]
    assert {output.view.stamp_ns - output.view.oldest_stamp_ns for output in outputs} == {0}
    assert len(outputs) == 25


@pytest.mark.parametrize("phase_ms", [5, 30, 40, 60, 65, 70, 95])
@pytest.mark.parametrize("latencies", [(20, 30), (60, 5), (5, 60)])
@pytest.mark.parametrize("lost", ["camera", "lidar"])
def test_after_a_lost_frame_each_view_pairs_the_nearest_stamps(phase_ms, latencies, lost):
    rig = Rig(make_config("camera", "lidar"))
    plans = {"camera": (0, latencies[0]), "lidar": (phase_ms, latencies[1])}
    for name, (start, latency_ms) in plans.items():
        moments = times(start, 100, 4000)
        if name == lost:
            del moments[20]
        rig.driver(name, moments, latency_ms=latency_ms)
    outputs = rig.run(4000)
    nearest_ms = min(phase_ms, 100 - phase_ms)
    for since_ms, until_ms in ((1000, 2000), (2700, 4000)):
        spreads = {
            (output.view.stamp_ns - output.view.oldest_stamp_ns) / MS
            for output in outputs
            if since_ms < output.at_ms < until_ms
        }
        assert spreads == {float(nearest_ms)}


def test_the_mode_sets_the_deadline():
    modes = (
        ModePolicy(mode=Mode.FULL, all_of=("lidar",), any_of=("locating",)),
        ModePolicy(mode=Mode.DEGRADED, any_of=("locating",), deadline_s=0.06),
        ModePolicy(mode=Mode.NONE, action=Action.INVALID),
    )
    policy = DegradationPolicy(schema_version=1, modes=modes)
    rig = Rig(make_config("camera", "camera_rear", "lidar"), policy=policy)
    rig.driver("camera", times(0, 100, 6000))
    rig.driver("camera_rear", times(80, 100, 6000))
    rig.driver("lidar", times(0, 100, 3000))
    outputs = rig.run(6000)
    for since_ms, until_ms, deadline_s in ((1000, 3000, 0.25), (3500, 6000, 0.06)):
        views = [output.view for output in outputs if since_ms < output.at_ms < until_ms]
        assert {view.deadline_s for view in views} == {deadline_s}
        assert max(view.wait_s for view in views) <= deadline_s


def test_bad_phase_locks_into_the_good_one():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 2000))
    rig.driver("lidar", times(90, 100, 2000))
    outputs = rig.run(2000)
    spreads = [output.view.stamp_ns - output.view.oldest_stamp_ns for output in outputs]
    # The first output has the camera alone: nothing is known of the LiDAR yet.
    assert spreads[0] == 0
    assert set(spreads[1:]) == {10 * MS}


def test_jitter_raises_nothing():
    rig = Rig(make_config("camera", "lidar"))
    for name, start in (("camera", 0), ("lidar", 50)):
        jitter = itertools.cycle([0, 5, -5, 3, -4, 1, -2, 5])
        rig.driver(name, [t + next(jitter) for t in times(start + 5, 100, 60000)], latency_ms=10)
    outputs = [output for output in rig.run(60000) if output.at_ms > 1000]
    assert {output.view.mode for output in outputs} == {Mode.FULL}
    assert {output.state("lidar") for output in outputs} == {SourceState.OK}
    closed = Counter(output.view.closed_by for output in rig.outputs)
    assert closed[ClosedBy.COMPLETE] >= 598
    assert ClosedBy.DEADLINE not in closed


def test_late_joiner_brings_full_mode_once_it_is_ok():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 4000))
    rig.driver("lidar", times(2050, 100, 4000))
    outputs = rig.run(4000)
    before = [output for output in outputs if output.at_ms < 2050]
    assert {output.view.mode for output in before} == {Mode.DEGRADED}
    assert before[5].view.reason == "lidar: MISSING, nothing received for 0.50 s"
    after = [output for output in outputs if output.at_ms >= 2050]
    assert {output.view.mode for output in after[:2]} == {Mode.DEGRADED}
    assert {output.view.mode for output in after[2:]} == {Mode.FULL}
    assert after[0].state("lidar") is SourceState.LATE
    assert after[0].status("lidar").reason == "recovering, 1 of 3 good frames"
    assert after[2].state("lidar") is SourceState.OK


def test_slow_sources_are_waited_for_within_the_deadline_only():
    rig = Rig(make_config("camera", SourceConfig(source="lidar", modality="lidar", rate_hz=1.0)))
    rig.driver("camera", times(0, 100, 8000))
    rig.driver("lidar", times(30, 1000, 8000))
    outputs = [output for output in rig.run(8000) if output.at_ms > 3000]
    assert {output.view.mode for output in outputs} == {Mode.FULL}
    assert max(gaps_ms(outputs, 3000, 8000)) <= DEADLINE_MS
    assert sum("lidar" in output.contributors for output in outputs) == 5


def test_sources_slower_than_the_deadline_still_meet():
    configs = (
        SourceConfig(source=name, modality=name, rate_hz=3.0) for name in ("camera", "lidar")
    )
    rig = Rig(make_config(*configs))
    rig.driver("camera", times(0, 333, 6000))
    rig.driver("lidar", times(60, 333, 6000))
    outputs = [output for output in rig.run(6000) if output.at_ms > 700]
    assert {frozenset(output.contributors) for output in outputs} == {
        frozenset({"camera", "lidar"})
    }
    assert len(outputs) == 16


def test_stamps_too_far_apart_close_at_the_deadline_and_count_late():
    rig = Rig(make_config("camera", "lidar", alignment_window_s=0.05))
    rig.driver("camera", times(0, 100, 2000))
    rig.driver("lidar", times(0, 100, 2000), latency_ms=180)
    outputs = [output for output in rig.run(2000) if output.at_ms > 500]
    for output in outputs:
        assert output.view.stamp_ns - output.view.oldest_stamp_ns <= 50 * MS
    assert max(gaps_ms(outputs, 500, 2000)) <= DEADLINE_MS


def test_late_feature_is_counted_and_joins_the_next_cycle():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 2000))
    lidar = times(10, 100, 2000)
    rig.driver("lidar", lidar[:10] + lidar[14:])
    # One sweep takes 300 ms: its cycle is gone by then.
    rig.driver("lidar", [lidar[10]], latency_ms=300)
    outputs = rig.run(2000)
    assert outputs[-1].status("lidar").late == 1
    assert outputs[-1].view.mode is Mode.FULL


def test_required_source_makes_the_view_invalid():
    lidar = SourceConfig(source="lidar", modality="lidar", required=True)
    rig = Rig(make_config("camera", lidar))
    rig.driver("camera", times(0, 100, 3000))
    rig.driver("lidar", times(50, 100, 1000))
    outputs = rig.run(3000)
    for output in outputs:
        assert output.view.valid is ("lidar" in output.contributors)
    assert outputs[-1].view.reason.startswith("required source missing (lidar): lidar: MISSING")


def test_sound_is_told_once_however_often_it_is_reused():
    rig = Rig(make_config(*SENSORS))
    rig.driver("camera", times(0, 100, 3000))
    rig.driver("lidar", times(50, 100, 3000))
    rig.at(1010, lambda: rig.hear("siren"))
    rig.at(1020, lambda: rig.hear("car_horn"))  # before the siren was published
    outputs = rig.run(3000)
    told = [(o.at_ms, e.class_name, e.source) for o in outputs for e in o.view.sound_events]
    assert told == [(1100.0, "siren", "audio"), (1100.0, "car_horn", "audio")]
    using = [output.at_ms for output in outputs if "audio" in output.contributors]
    assert using == [1100.0, 1200.0]  # then it is LATE
    # Windows of sound neither widen the spread nor move the stamp.
    assert outputs[11].view.stamp_ns - outputs[11].view.oldest_stamp_ns == 50 * MS


def test_slow_sound_alone_is_minimal_without_a_break():
    rig = Rig(make_config("camera", SourceConfig(**source_defaults("audio", rate_hz=2.0))))
    rig.driver("camera", times(0, 100, 2000))
    rig.driver("audio", times(40, 500, 6000), latency_ms=20)
    outputs = [output for output in rig.run(6000) if output.at_ms > 2200]
    assert {output.view.mode for output in outputs} == {Mode.MINIMAL}
    assert not any(output.view.valid for output in outputs)
    assert max(gaps_ms(outputs, 2200, 6000)) <= DEADLINE_MS


def test_fixed_rate_publishes_on_the_timer_with_the_freshest():
    rig = Rig(make_config("camera", "lidar", policy="fixed_rate", rate_hz=20.0))
    rig.driver("camera", times(0, 100, 2000))
    rig.driver("lidar", times(30, 100, 2000))
    outputs = rig.run(4000)
    moments = [output.at_ms for output in outputs]
    assert {round(b - a, 6) for a, b in itertools.pairwise(moments)} == {50.0}
    assert {output.view.closed_by for output in outputs} == {ClosedBy.TIMER}
    assert {output.view.mode for output in outputs if 300 < output.at_ms <= 2150} == {Mode.FULL}
    assert {output.view.mode for output in outputs if output.at_ms > 2260} == {Mode.NONE}


def test_nothing_ever_arrives():
    rig = Rig(make_config(*SENSORS))
    outputs = rig.run(2000)
    assert [output.at_ms for output in outputs] == times(200, 200, 2000)
    assert {output.view.mode for output in outputs} == {Mode.NONE}
    assert not any(output.view.valid for output in outputs)
    for source in SENSORS:
        assert f"{source}: MISSING, nothing received for 2.00 s" in outputs[-1].view.reason


def test_unknown_source_is_counted_and_ignored():
    rig = Rig(make_config("camera"))
    rig.driver("radar", times(0, 100, 1000))
    rig.run(1000)
    assert (rig.fusion.counters.unknown, rig.fusion.counters.last_unknown) == (
        11,
        "radar",
    )


def test_reconfiguring_keeps_what_is_known():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 4000))
    rig.driver("lidar", times(50, 100, 4000))
    rig.at(1000, lambda: rig.fusion.configure(make_config("camera", "lidar", "audio")))
    rig.at(2000, lambda: rig.fusion.configure(make_config("camera", alignment_window_s=0.2)))
    rig.at(3000, lambda: rig.fusion.configure(make_config("camera", policy="fixed_rate")))
    outputs = rig.run(4000)
    third = [output for output in outputs if 1000 < output.at_ms < 2000]
    assert {output.view.mode for output in third} == {Mode.DEGRADED}  # no sound yet
    alone = [output for output in outputs if 2000 < output.at_ms < 3000]
    assert {output.view.mode for output in alone} == {Mode.FULL}
    assert alone[0].status("camera").received >= 20
    assert outputs[-1].view.closed_by is ClosedBy.TIMER
    assert outputs[-1].status("camera").received >= 39
    assert max(gaps_ms(outputs, 500, 4000)) <= DEADLINE_MS


def test_two_cameras_and_a_lidar():
    rig = Rig(make_config("camera_front", "camera_rear", "lidar"))
    rig.driver("camera_front", times(0, 100, 3000))
    rig.driver("camera_rear", [t for t in times(33, 100, 3000) if t < 1500])
    rig.driver("lidar", times(66, 100, 3000))
    outputs = rig.run(3000)
    full = [output for output in outputs if 500 < output.at_ms < 1500]
    assert {len(output.contributors) for output in full} == {3}
    rest = [output for output in outputs if output.at_ms > 1800]
    assert {frozenset(output.contributors) for output in rest} == {
        frozenset({"camera_front", "lidar"})
    }
    assert all(output.view.reason.startswith("camera_rear: ") for output in rest)


def test_time_offset_moves_stamps_before_alignment():
    lidar = SourceConfig(source="lidar", modality="lidar", time_offset_s=-0.05)
    rig = Rig(make_config("camera", lidar))
    rig.driver("camera", times(0, 100, 1000))
    rig.driver("lidar", times(50, 100, 1000))
    output = rig.run(1000)[-1]
    assert output.view.stamp_ns == output.view.oldest_stamp_ns
    assert output.status("lidar").stamp_ns == output.view.stamp_ns + 50 * MS


def test_feature_waits_no_longer_than_its_age_limit():
    camera = SourceConfig(source="camera", modality="camera", max_age_s=0.05)
    rig = Rig(make_config(camera, "lidar"))
    rig.driver("camera", times(0, 100, 1000), latency_ms=80)
    rig.driver("lidar", times(0, 100, 1000))
    outputs = [output for output in rig.run(1000) if output.at_ms > 300]
    assert {frozenset(output.contributors) for output in outputs} == {frozenset({"lidar"})}
    assert outputs[-1].status("camera").reason.endswith("s > 0.05 s")
    assert outputs[-1].state("camera") is SourceState.STALE
    assert outputs[-1].status("camera").late >= 9


def test_features_carry_over_when_the_stamp_order_of_a_source_restarts():
    rig = Rig(make_config("camera", "lidar"))
    now_ns = rig.clock.now().node_ns
    rig.driver("lidar", times(0, 100, 500))
    for index, stamp_ms in enumerate((0, 100, -400, -300, -200)):
        rig.at(
            index * 100 + 10,
            lambda s=stamp_ms: rig.offer(make_feature("camera", now_ns + s * MS)),
        )
    outputs = rig.run(500)
    refused = [o for o in outputs if o.state("camera") is SourceState.INVALID]
    assert refused[0].status("camera").reason == "stamp went back 0.500 s"
    assert refused[-1].status("camera").refused == 1
