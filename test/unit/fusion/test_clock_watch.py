import pytest

from edge_perception.core.types import Instant
from edge_perception.fusion.clock_watch import ClockWatch

S = 1_000_000_000


def _moment(node_s, steady_s):
    return Instant(node_ns=round(node_s * S), steady_ns=round(steady_s * S))


@pytest.mark.parametrize(
    ("node_step_s", "steady_step_s", "jumped"),
    [
        (0.1, 0.1, False),
        (0.0, 10.0, False),  # pause
        (-0.05, 0.01, False),  # moments taken out of order
        (-0.2, 0.01, True),
        (-60.0, 0.1, True),
        (0.4, 0.01, False),
        (0.6, 0.01, True),
        (1.0, 0.1, False),  # replay at ten times real time
        (60.0, 0.1, True),
        (5.0, 5.0, False),  # nothing arrived for a while
    ],
)
def test_jumps(node_step_s, steady_step_s, jumped):
    watch = ClockWatch(_moment(100.0, 1.0))
    assert watch.observe(_moment(100.0 + node_step_s, 1.0 + steady_step_s)) is jumped
    assert watch.jumps == jumped


def test_notes():
    watch = ClockWatch(_moment(100.0, 0.0))
    assert watch.note() == ""
    watch.observe(_moment(100.0, 1.0))
    assert watch.note() == "node clock stands still for 1.0 s: playback paused?"
    watch.observe(_moment(90.0, 1.1))
    assert watch.note() == "node clock jumped -10.10 s, 0.0 s ago"
    watch.observe(_moment(94.0, 5.1))
    assert watch.note() == "node clock jumped -10.10 s, 4.0 s ago"
    watch.observe(_moment(96.0, 7.1))
    assert watch.note() == ""


def test_first_clock_message_is_no_jump():
    watch = ClockWatch(_moment(0.0, 0.0))
    watch.observe(_moment(0.0, 1.0))
    assert watch.note() == "node clock is at zero: use_sim_time without /clock?"
    assert not watch.observe(_moment(1e9, 1.1))
    assert watch.jumps == 0


def test_frames_on_their_way_when_the_clock_jumped_back():
    watch = ClockWatch(_moment(100.0, 0.0))
    watch.observe(_moment(50.0, 0.1))
    slack = S // 5
    assert watch.is_from_before_jump(round(99.9 * S), slack)
    assert not watch.is_from_before_jump(101 * S, slack), "later than the clock ever was"
    assert not watch.is_from_before_jump(60 * S, slack), "long before the jump"
    watch.observe(_moment(51.5, 1.6))
    assert not watch.is_from_before_jump(round(99.9 * S), slack), "too long ago"
