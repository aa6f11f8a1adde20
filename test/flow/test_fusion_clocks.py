"""Jumping, pausing and missing node clocks, against sources that are fine or dead."""

import pytest
from fusion_rig import MS, Rig, gaps_ms, make_config, make_feature, source_defaults, times

from edge_perception.core.clock import FakeClock
from edge_perception.core.types import Mode, SourceState
from edge_perception.fusion.clock_watch import ClockWatch
from edge_perception.fusion.config import SourceConfig


def _rig(end_ms=5000, **more):
    rig = Rig(make_config("camera", "lidar"), **more)
    rig.driver("camera", times(0, 100, end_ms), latency_ms=30)
    rig.driver("lidar", times(50, 100, end_ms), latency_ms=30)
    return rig


@pytest.mark.parametrize("jump_s", [-30.0, -1.0, 1.0, 30.0])
@pytest.mark.parametrize("at_ms", [2005, 2045, 2075])
def test_clock_jump_with_stamps_that_follow_costs_one_message_at_most(jump_s, at_ms):
    rig = _rig()
    rig.at(at_ms, lambda: rig.clock.jump_node_clock(jump_s))
    outputs = rig.run(5000)
    after = [output for output in outputs if output.at_ms >= at_ms]
    # Frames taken before the jump and delivered after it belong to another time.
    assert sum(output.view.mode is not Mode.FULL for output in after) <= 2
    assert {output.view.mode for output in after if output.at_ms > at_ms + 250} == {Mode.FULL}
    assert max(gaps_ms(outputs, 1000, 5000)) <= 250
    for output in after:
        assert output.view.stamp_ns - output.view.oldest_stamp_ns <= 100 * MS
        assert output.state("camera") is not SourceState.INVALID
        if output.contributors and output.at_ms > at_ms:
            node_ns = FakeClock().now().node_ns + round((output.at_ms + jump_s * 1e3) * MS)
            assert 0 <= node_ns - output.view.oldest_stamp_ns <= 300 * MS, "of before the jump"
    assert rig.fusion.counters.clock_jumps == 1


def test_feature_that_waited_through_a_jump_is_not_used():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 4000), latency_ms=30)
    rig.driver("lidar", times(50, 100, 1999), latency_ms=30)  # its last one waits at 1980
    rig.at(2005, lambda: rig.clock.jump_node_clock(-1.0))
    after = [output for output in rig.run(4000) if output.at_ms > 2005]
    assert {frozenset(output.contributors) for output in after} == {frozenset({"camera"})}


def test_bag_loop_is_joined_again_within_one_message():
    """A player jumps back with /clock and stamps; frames of the end are still on their way."""
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", times(0, 100, 4000), latency_ms=40)
    rig.driver("lidar", times(50, 100, 4000), latency_ms=10)
    end_ns = rig.clock.now().node_ns + 1960 * MS
    rig.at(1990, lambda: rig.clock.jump_node_clock(-1.99))
    rig.at(1992, lambda: rig.offer(make_feature("camera", end_ns)))
    outputs = rig.run(3900)
    after = [output for output in outputs if output.at_ms > 1990]
    assert {output.state("camera") for output in after} == {SourceState.OK}
    assert {output.view.mode for output in after} == {Mode.FULL}
    assert all(0 < output.view.stamp_ns < end_ns for output in after)
    assert after[0].at_ms <= 2100


def test_feature_of_the_new_lap_may_overtake_the_clock():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", [t for t in times(0, 100, 4000) if t != 2000])
    rig.driver("lidar", times(50, 100, 4000))
    start_ns = rig.clock.now().node_ns
    rig.at(2000, lambda: rig.offer(make_feature("camera", start_ns)))
    rig.at(2010, lambda: rig.clock.jump_node_clock(-2.0))
    outputs = rig.run(4000)
    refused = [output for output in outputs if output.state("camera") is SourceState.INVALID]
    assert len(refused) <= 1
    assert {output.view.mode for output in outputs if output.at_ms > 2100} == {Mode.FULL}


def test_single_backward_stamp_is_invalid_and_not_used():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", [t for t in times(0, 100, 3000) if t != 1000])
    rig.driver("lidar", times(50, 100, 3000))
    back_ns = rig.clock.now().node_ns + 705 * MS
    rig.at(1000, lambda: rig.offer(make_feature("camera", back_ns)))
    outputs = rig.run(3000)
    assert all(output.status("camera").stamp_ns != back_ns for output in outputs)
    bad = [output for output in outputs if output.state("camera") is SourceState.INVALID]
    assert bad[0].status("camera").reason == "stamp went back 0.195 s"
    assert bad[0].view.mode is Mode.DEGRADED
    assert [output.at_ms for output in bad] == [1000.0, 1050.0, 1150.0, 1250.0]
    assert {output.view.mode for output in bad} == {Mode.DEGRADED}, "recovering is not OK"
    assert outputs[outputs.index(bad[-1]) + 1].view.mode is Mode.FULL


def test_pause_is_not_a_dead_driver():
    rig = Rig(make_config("camera", "lidar"))
    rig.driver("camera", [t for t in times(0, 100, 6000) if not 2000 <= t < 4000])
    rig.driver("lidar", [t for t in times(50, 100, 6000) if not 2000 <= t < 4000])

    def pause(paused):
        rig.node_moves = not paused

    rig.at(2000, lambda: pause(True))
    rig.at(4000, lambda: pause(False))
    outputs = rig.run(6000)
    paused = [output for output in outputs if 2400 < output.at_ms < 4000]
    assert {output.view.mode for output in paused} == {Mode.NONE}
    for output in paused:
        assert "node clock stands still for" in output.status("camera").reason
        assert output.status("camera").age_s == pytest.approx(0.1, abs=0.02)
        assert output.status("camera").silence_s > 0.4
    assert {output.view.mode for output in outputs if output.at_ms > 4260} == {Mode.FULL}


def test_dead_driver_is_not_a_pause():
    rig = Rig(make_config("camera"))
    rig.driver("camera", times(0, 100, 1000))
    output = rig.run(3000)[-1]
    assert output.status("camera").reason.startswith("silence 1.8")
    assert "clock" not in output.view.reason
    assert output.status("camera").age_s == pytest.approx(output.status("camera").silence_s)


def test_stamps_of_another_clock_are_named_with_the_jump():
    """Sensors with a clock of their own do not follow a step of the node clock."""
    rig = Rig(make_config("camera", "lidar"))
    start_ns = rig.clock.now().node_ns
    for source, first_ms in (("camera", 0), ("lidar", 50)):
        for t in times(first_ms, 100, 4000):
            rig.at(t, lambda s=source, t=t: rig.offer(make_feature(s, start_ns + round(t * MS))))
    rig.at(2010, lambda: rig.clock.jump_node_clock(5.0))
    rig.at(3010, lambda: rig.clock.jump_node_clock(-10.0))
    outputs = rig.run(4000)
    ahead = [output for output in outputs if 2200 < output.at_ms < 3000]
    assert {output.view.mode for output in ahead} == {Mode.NONE}
    assert {output.state("lidar") for output in ahead} == {SourceState.STALE}
    assert "s > 0.50 s; node clock jumped +5.00 s" in ahead[3].status("lidar").reason
    behind = [output for output in outputs if output.at_ms > 3100]
    assert max(gaps_ms(outputs, 1000, 4000)) <= 250
    assert {output.view.mode for output in behind} == {Mode.NONE}
    assert {output.state("lidar") for output in behind} == {SourceState.INVALID}
    assert "stamp 5.00 s ahead of the node clock > 0.20 s" in behind[3].view.reason


def test_sim_time_without_clock_is_named():
    rig = Rig(make_config("camera"), clock=FakeClock(node_ns=0))
    rig.node_moves = False
    for t in times(0, 100, 1000):
        rig.at(t, lambda t=t: rig.offer(make_feature("camera", 10**18 + round(t * MS))))
    output = rig.run(1000)[-1]
    assert output.view.mode is Mode.NONE
    assert output.state("camera") is SourceState.INVALID
    assert "node clock is at zero: use_sim_time without /clock?" in output.view.reason


@pytest.mark.parametrize("rate", [0.6, 10.0])
def test_replay_at_another_rate_is_no_jump(rate):
    rig = Rig(make_config("camera", "lidar"))
    for source, first_ms in (("camera", 0), ("lidar", 50)):
        rig.driver(source, times(first_ms / rate, 100 / rate, 3000))
    for t in times(0, 1, 3000):
        rig.at(t, lambda: rig.clock.jump_node_clock((rate - 1.0) * 0.001))
    outputs = rig.run(3000)
    assert rig.fusion.counters.clock_jumps == 0
    assert {output.view.mode for output in outputs if output.at_ms > 500} == {Mode.FULL}
    assert len(outputs) == pytest.approx(30 * rate, abs=2)


def test_moments_taken_out_of_order_are_no_jump():
    rig = _rig()
    rig.run(1000)
    now = rig.clock.now()
    late = type(now)(node_ns=now.node_ns - 3 * MS, steady_ns=now.steady_ns - 3 * MS)
    rig.fusion.offer(make_feature("camera", late.node_ns), late)
    assert rig.fusion.counters.clock_jumps == 0
    assert {output.view.mode for output in rig.run(2000) if output.at_ms > 500} == {Mode.FULL}


def test_a_clock_that_runs_slowly_is_named_where_sources_are_late():
    """A simulation at a fifth of real time: its sensors come five times less often."""
    rig = Rig(make_config("camera", "lidar"))
    for source, first_ms in (("camera", 0), ("lidar", 250)):
        rig.driver(source, times(first_ms, 500, 6000))
    for t in times(0, 1, 6000):
        rig.at(t, lambda: rig.clock.jump_node_clock(-0.8 * 0.001))
    late = [o for o in rig.run(6000) if o.at_ms > 2500 and o.state("lidar") is SourceState.LATE]
    assert late
    for output in late:
        assert "node clock runs at 0.2 of real time" in output.status("lidar").reason
    assert rig.fusion.counters.clock_jumps == 0


def test_a_clock_that_comes_seldom_is_no_jump_and_no_pause():
    """/clock once a second, stamps of the time between."""
    rig = Rig(make_config("camera", "lidar"))
    rig.node_moves = False
    start_ns = rig.clock.now().node_ns
    for t in times(1000, 1000, 8000):
        rig.at(t, lambda: rig.clock.jump_node_clock(1.0))
    for source, first_ms in (("camera", 0), ("lidar", 50)):
        for t in times(first_ms, 100, 8000):
            rig.at(t, lambda s=source, t=t: rig.offer(make_feature(s, start_ns + round(t * MS))))
    outputs = [o for o in rig.run(8000) if o.at_ms > 3100]
    bad = [o for o in outputs if o.state("lidar") is not SourceState.OK]
    assert bad
    assert rig.fusion.counters.clock_jumps == 0
    for output in bad:
        assert "node clock goes in steps of 1 s" in output.status("lidar").reason


def test_a_clock_that_is_looked_at_seldom_goes_in_no_steps():
    """Nothing arrives, so nobody asks for the time but every half second."""
    clock = FakeClock()
    watch = ClockWatch(clock.now())
    for _ in range(20):
        assert not watch.observe(clock.advance(0.5))
        assert watch.note() == ""


def test_a_clock_that_runs_fast_is_named_where_evidence_is_old():
    rig = Rig(make_config("camera"))
    rig.driver("camera", times(0, 100, 3000), latency_ms=0)
    for t in times(0, 1, 3000):
        rig.at(t, lambda: rig.clock.jump_node_clock(9.0 * 0.001))
    stale = [o for o in rig.run(3000) if o.at_ms > 2000 and o.state("camera") is SourceState.STALE]
    for output in stale:
        assert "node clock runs at 10 times real time" in output.status("camera").reason
    assert stale


SINCE_1970_NS = 1_760_000_000 * 10**9


@pytest.mark.parametrize(
    ("node_ns", "stamp_ns", "says"),
    [
        (
            40 * 10**9,
            SINCE_1970_NS,
            "of another clock, of system time, the node clock is a simulation's",
        ),
        (
            SINCE_1970_NS,
            40 * 10**9,
            "are of another clock, they count from a start: a sensor's (let the driver stamp",
        ),
        (SINCE_1970_NS, SINCE_1970_NS + 39 * 10**9, "of another clock; let the driver stamp"),
        (SINCE_1970_NS, SINCE_1970_NS + 37 * 10**9, "clock (TAI, as PTP counts it, is 37 s ahead"),
        (40 * 10**9, 77 * 10**9, "of another clock; let the driver stamp"),
    ],
    ids=[
        "system time in a simulation",
        "a simulation or a start in system time",
        "any",
        "TAI",
        "no TAI in a simulation",
    ],
)
def test_what_stamps_of_another_clock_are(node_ns, stamp_ns, says):
    rig = Rig(make_config("camera"), clock=FakeClock(node_ns=node_ns))
    for t in times(0, 100, 1000):
        rig.at(t, lambda t=t: rig.offer(make_feature("camera", stamp_ns + round(t * MS))))
    assert says in rig.run(1000)[-1].status("camera").reason


@pytest.mark.parametrize(("offset_s", "told"), [(0.17, True), (0.1, False), (-0.17, False)])
def test_stamps_of_a_clock_that_runs_ahead_are_doubtful_before_they_are_refused(offset_s, told):
    """Used and full, their objects would be placed too late without a word."""
    ahead = SourceConfig(**source_defaults("camera"), time_offset_s=offset_s)
    rig = Rig(make_config(ahead, "lidar"))
    rig.driver("camera", times(0, 100, 3000), latency_ms=30)
    rig.driver("lidar", times(50, 100, 3000), latency_ms=30)
    (status,) = (s for s in rig.run(3000)[-1].view.sources if s.source == "camera")
    assert status.state is SourceState.OK
    assert status.warning.startswith("camera: stamps are 0.14 s ahead of the node clock") is told
    assert ("camera.time_offset_s: 0.03 makes up" in status.warning) is told
