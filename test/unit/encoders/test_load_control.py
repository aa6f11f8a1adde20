"""Load control in virtual time: sources that share a machine, and what their frames take."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders.load_control import NS, LoadControl, LoadOptions, ladder

PERIOD_S = 0.1
COST = {"": 1.0, "small": 0.5, "tiny": 0.2}  # of a model, of what the whole one takes


def options(**changes):
    return LoadOptions(**{"budget_ms": 50.0, "variants": ("small", "tiny"), **changes})


class Source:
    """A 10 Hz source whose frames take what the machine's load makes of its model."""

    def __init__(self, **changes):
        self.control = LoadControl(options(**changes))
        self.events, self.times, self.number = [], [], 0

    def share(self):
        """Of the work that it would be without load control."""
        step = self.control.step
        return COST[step.variant] / (step.skipped + 1)

    def frame(self, at_s, seconds):
        step = self.control.step
        self.number += 1
        if self.number % (step.skipped + 1):
            return
        self.times.append((at_s, seconds * COST[step.variant]))
        event = self.control.took(self.times[-1][1], round(at_s * NS))
        if event is not None:
            self.events.append((at_s, event))

    def late_share(self, after_s):
        late = [seconds > 0.05 for at_s, seconds in self.times if at_s >= after_s]
        return float(np.mean(late))


def drive(source, seconds_of, until_s, start_s=0.0):
    for number in range(round((until_s - start_s) / PERIOD_S)):
        at_s = start_s + number * PERIOD_S
        source.frame(at_s, seconds_of(at_s))


def test_within_the_budget_nothing_happens():
    source = Source()
    drive(source, lambda at_s: 0.2 if at_s % 1 < 0.09 else 0.045, 60)  # one frame of ten is late
    assert source.events == []


def test_five_fold_overload_is_answered_by_plan_and_taken_back_after_it():
    source = Source(most_skipped=1)
    drive(source, lambda at_s: 0.2 if 10 <= at_s < 40 else 0.03, 120)
    down = [(at_s, event) for at_s, event in source.events if not event.back]
    assert [str(event.step) for _, event in down] == ["variant small", "variant tiny"]
    assert down[-1][0] < 13  # over_s a step, and frames to see it by
    late = [s > 0.05 for at_s, s in source.times if 13 <= at_s < 40]
    assert not any(late)
    back = [event for _, event in source.events if event.back]
    assert [event.number for event in back] == [1, 0]
    assert source.control.number == 0


def test_beyond_the_ladder_is_said():
    source = Source(most_skipped=2)
    drive(source, lambda _: 1.0, 30)
    assert source.control.number == 4
    assert source.control.exhausted
    assert str(source.control.step) == "variant tiny, 2 of 3 frames skipped"


@pytest.mark.parametrize("period_s", [0.7, 2, 5, 10, 20, 40])
def test_a_saw_tooth_load_makes_no_oscillation(period_s):
    source = Source()
    drive(source, lambda at_s: 0.02 + 0.08 * (at_s % period_s) / period_s, 900)
    changes = [at_s for at_s, _ in source.events]
    assert 1 <= len(changes) <= 24
    last = [at_s for at_s in changes if at_s > 300]
    assert len(last) <= 12  # it has learnt: at most one try in a hundred seconds
    assert source.late_share(300) < 0.1


def test_a_constant_load_never_swings():
    for load_s in np.arange(0.02, 0.4, 0.02):
        source = Source()
        drive(source, lambda _, load_s=load_s: float(load_s), 200)
        # Down to where it fits; tries back are few, and only where they were not foreseen to fail.
        assert sum(event.back for _, event in source.events) <= 3


def test_the_less_important_source_gives_up_first():
    front, rear = Source(importance=4, most_skipped=1), Source(importance=0, most_skipped=1)
    sources = (front, rear)
    for number in range(600):
        at_s = number * PERIOD_S
        demand = sum(source.share() for source in sources)  # two whole ones are too much
        for source in sources:
            source.frame(at_s, 0.03 * max(demand, 0.1))
    assert rear.control.number > 0
    assert not front.events, "it never moved, not even for a while"
    tries = sum(event.back for _, event in rear.events)
    late = sum(seconds > 0.05 for at_s, seconds in front.times if at_s >= 5)
    assert late <= 11 * tries, "only while the other tries to go back, for one wait"
    assert tries <= 2


def test_the_more_important_one_moves_once_the_other_has_nothing_left():
    front, rear = Source(importance=4, most_skipped=1), Source(importance=0, most_skipped=1)
    for number in range(300):
        at_s = number * PERIOD_S
        for source in (front, rear):
            source.frame(at_s, 0.4)
    assert rear.control.exhausted
    assert front.events[0][0] > rear.events[-1][0]


def test_after_a_long_good_time_too_the_others_have_their_turn_first():
    front, rear = Source(importance=4, most_skipped=2), Source(importance=0, most_skipped=2)
    for number in range(900):
        for source in (front, rear):
            source.frame(number * PERIOD_S, 0.02 if number < 600 else 0.3)
    assert len(rear.events) == 4
    assert front.events
    assert front.events[0][0] > rear.events[-1][0], "both were hit by the same overload at once"
    assert front.events[0][0] < 60.0 + 6.0


def test_overload_half_of_the_time_moves_an_important_source_and_a_tenth_never_does():
    half, tenth = Source(importance=4), Source(importance=4)
    drive(half, lambda at_s: 0.09 if at_s % 4.0 < 2.0 else 0.02, 60.0)
    drive(tenth, lambda at_s: 0.09 if at_s % 10.0 < 1.0 else 0.02, 600.0)
    assert half.events
    assert not tenth.events


def test_a_variant_that_cannot_serve_is_left_out():
    source = Source()
    drive(source, lambda _: 0.09, 1.2)
    assert source.control.step.variant == "small"
    event = source.control.leave_out("small", "does not fit", 2 * NS)
    assert event is not None
    assert event.step.variant == "tiny"
    assert source.control.unusable == ("small: does not fit",)
    drive(source, lambda _: 0.01, 60, start_s=3)
    assert source.control.number == 0
    assert all(event.step.variant != "small" for _, event in source.events[1:])


def test_frames_are_skipped_beside_the_cheapest_variant_that_can_serve():
    """A step that names one that cannot would have it loaded again for every frame."""
    source = Source(most_skipped=2)
    drive(source, lambda _: 0.4, 3.0)
    assert source.control.step.variant == "tiny"
    source.control.leave_out("tiny", "is not there", 4 * NS)
    drive(source, lambda _: 0.9, 20, start_s=5)
    assert (source.control.step.variant, source.control.step.skipped) == ("small", 2)
    assert all(event.step.variant == "small" for _, event in source.events[2:])
    source.control.leave_out("small", "is not there", 21 * NS)
    assert (source.control.step.variant, source.control.step.skipped) == ("", 2)
    source.control.use_all()
    assert source.control.step.variant == "tiny"


def test_switched_off_it_gives_everything_back():
    source = Source()
    drive(source, lambda _: 0.4, 10)
    assert source.control.number == 2
    source.control.options = options(budget_ms=0.0)
    assert str(source.control.step) == "nothing given up"
    source.frame(11.0, 0.4)
    assert source.control.number == 0


def test_a_budget_without_anything_to_give_up_is_refused():
    with pytest.raises(ConfigurationError, match=r"load\.most_skipped"):
        ladder(LoadOptions(budget_ms=50.0))
    assert len(ladder(LoadOptions())) == 1


class NewestWins:
    """A source behind a mailbox for one frame, in virtual time; most frames are overwritten."""

    def __init__(self, **changes):
        self.control = LoadControl(options(**{"most_skipped": 9, "variants": (), **changes}))
        self.events, self.overwritten, self.served = [], [], []  # at, and of the frames when
        self._free_s = self._passed = 0
        self._waiting = None  # arrival of the frame in the mailbox
        self._lost = 0  # since the last frame that was told

    def comes(self, at_s, work_s):
        self._work_off(at_s, work_s)
        if self._passed < self.control.step.skipped:
            self._passed += 1
            return
        self._passed = 0
        if self._waiting is not None:
            self.overwritten.append(at_s)
            self._lost += 1
        self._waiting = at_s
        self._work_off(at_s, work_s)

    def _work_off(self, at_s, work_s):
        if self._waiting is None or self._free_s > at_s:
            return
        began_s, came_s, self._waiting = max(self._free_s, self._waiting), self._waiting, None
        self._free_s = began_s + work_s
        self.served.append(self._free_s - came_s)
        event = self.control.took(
            self._free_s - came_s,
            round(self._free_s * NS),
            worked_s=work_s,
            overwritten=self._lost,
        )
        self._lost = 0
        if event is not None:
            self.events.append((at_s, event))

    def share_overwritten(self, came, after_s):
        return sum(at_s >= after_s for at_s in self.overwritten) / sum(t >= after_s for t in came)


@pytest.mark.parametrize("times", [1.6, 2.0, 3.0, 5.0])
def test_frames_that_a_source_does_not_get_to_are_overload_though_those_it_does_are_fast(times):
    """The newest one waits for at most one frame: all are within the budget, and most are lost."""
    source, work_s = NewestWins(), 0.02
    came = np.arange(0.0, 60.0, work_s / times)
    for at_s in came:
        source.comes(at_s, work_s)
    assert max(source.served) < 0.05
    assert 0 < source.control.number < times + 1, "no more is skipped than is too much"
    assert "of the frames overwritten > 20%" in source.events[0][1].reason
    assert source.share_overwritten(came, 15.0) < 0.1
    for at_s in np.arange(60.0, 240.0, 0.05):  # the load is gone
        source.comes(at_s, work_s)
    assert source.control.number == 0
    assert len(source.events) < 60


def test_a_load_that_nearly_fits_moves_nothing():
    source = NewestWins()
    for at_s in np.arange(0.0, 60.0, 0.02 / 1.15):  # every eighth frame is lost
        source.comes(at_s, 0.02)
    assert source.overwritten
    assert not source.events


def test_a_driver_that_sends_in_bursts_is_no_overload():
    """Nine of ten are overwritten, while the source rests for most of the time."""
    source = NewestWins()
    for second in range(60):
        for number in range(10):
            source.comes(second + 0.001 * number, 0.02)
    assert len(source.overwritten) > 400
    assert not source.events


@pytest.mark.parametrize("period_s", [2, 7, 20])
def test_a_rate_that_rises_like_a_saw_makes_no_oscillation(period_s):
    source, at_s, came = NewestWins(), 0.0, []
    while at_s < 900.0:
        came.append(at_s)
        source.comes(at_s, 0.02)
        at_s += 0.02 / (0.5 + 3.0 * (at_s % period_s) / period_s)
    last = [at for at, _ in source.events if at > 300]
    assert len(last) <= 16
    assert source.share_overwritten(came, 300.0) < 0.25


def hot_drive(control, hot, until_s):
    """Return the steps of a source whose frames always fit, on a machine that is hot at times."""
    events = []
    for number in range(round(until_s / PERIOD_S)):
        at_s = number * PERIOD_S
        heat = "cpu 95 °C > 90 °C" if hot(at_s) else ""
        event = control.took(0.01, round(at_s * NS), heat)
        if event is not None:
            events.append((at_s, event))
    return events


@pytest.mark.parametrize("budget_ms", [0.0, 50.0], ids=["heat alone", "with a budget"])
def test_heat_is_overload_too_and_nothing_is_taken_back_before_it_is_cool(budget_ms):
    control = LoadControl(options(budget_ms=budget_ms, hottest_c=90.0))
    events = hot_drive(control, lambda at_s: 10 <= at_s < 40, 120)
    down = [(at_s, event) for at_s, event in events if not event.back]
    assert [str(event.step) for _, event in down] == ["variant small", "variant tiny"]
    assert down[0][0] == pytest.approx(11.0, abs=0.2), "over_s, not at once"
    assert "95 °C > 90 °C" in down[0][1].reason
    back = [(at_s, event.number) for at_s, event in events if event.back]
    assert [number for _, number in back] == [1, 0]
    assert back[0][0] >= 45.0, "back_s after it is cool"


def test_heat_that_comes_again_after_each_step_back_does_not_swing():
    control = LoadControl(options(budget_ms=0.0, throttling=True, variants=("small",)))
    # Throttles 2 s after it runs the whole model, and is cool 2 s after it does not.
    state = {"since_s": 0.0, "number": 0}

    def hot(at_s):
        if control.number != state["number"]:
            state.update(since_s=at_s, number=control.number)
        return (control.number == 0) == (at_s - state["since_s"] >= 2.0)

    events = hot_drive(control, hot, 600)
    assert len(events) < 24, "each relapse doubles the wait"
    assert len([event for at_s, event in events if at_s > 300]) < 8


def test_load_control_is_off_unless_a_budget_or_heat_is_asked_for():
    assert not LoadOptions(variants=("small",)).on
    control = LoadControl(LoadOptions(variants=("small",)))
    assert control.took(9.0, NS, "hot") is None
    with pytest.raises(ConfigurationError, match="nothing to give up for it"):
        ladder(LoadOptions(hottest_c=80.0))
