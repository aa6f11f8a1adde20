"""Views after a change against the operator's objectives and the time before."""

from dataclasses import replace

import pytest

from edge_perception.core.errors import StoreError
from edge_perception.releases.breaker import RolledBack, Watched
from edge_perception.releases.past import Past, ViewFacts, drift, past_of
from edge_perception.releases.slo import Objective, Slo, WatchGate
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.watch import SILENT_S, Watch

GOOD = ViewFacts(
    end_to_end_ms=80.0,
    deadline_missed=False,
    valid=True,
    error=False,
    classes=("car", "car", "pedestrian"),
    scores=(0.8, 0.7, 0.6),
)
LATE = replace(GOOD, end_to_end_ms=900.0)
SLO = Slo()


def timed(views, period_s=0.2):
    return [(period_s * index, facts) for index, facts in enumerate(views)]


def watched(views, before=(), *, slo=SLO, memory_mb=0.0):
    watch = Watch(slo, past_of(timed(before), slo, memory_mb=memory_mb))
    for index, facts in enumerate(views):
        watch.add(facts, 0.1 * index)
    return watch


def test_what_holds_does_not_burn_and_the_soak_ends():
    watch = watched([GOOD] * 650, [GOOD] * 100)
    assert watch.burns() == []
    assert watch.over
    assert watch.watched_s == pytest.approx(64.9)


def test_a_time_without_views_is_not_watched():
    watch = Watch(SLO, Past())
    watch.add(GOOD, 0.0)
    watch.add(GOOD, 100.0)
    assert not watch.over
    assert watch.watched_s == 0.0


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        (LATE, "end_to_end_p99"),
        (replace(GOOD, deadline_missed=True), "deadlines"),
        (replace(GOOD, valid=False), "availability"),
        (replace(GOOD, error=True), "errors"),
        (replace(GOOD, classes=(), scores=()), "drift"),
        (replace(GOOD, classes=GOOD.classes * 20, scores=GOOD.scores * 20), "drift"),
        (replace(GOOD, scores=(0.3, 0.2, 0.1)), "drift"),
        (replace(GOOD, classes=("bus", "bus", "bus")), "drift"),
    ],
)
def test_what_became_bad_burns_with_value_and_limit(bad, name):
    (burn,) = watched([bad] * 100, [GOOD] * 100).burns()
    assert burn.objective.name == name
    assert burn.rolls_back
    assert any(sign in burn.text for sign in "<>")


def test_what_burned_before_warns():
    (burn,) = watched([LATE] * 100, [LATE] * 100).burns()
    assert burn.before
    assert not burn.rolls_back
    assert "before the change in 0.0%" in burn.text


def test_a_few_bad_views_are_chance():
    assert watched([GOOD] * 98 + [LATE] * 2, [GOOD] * 100).burns() == []
    assert watched([LATE] * 20, [GOOD] * 100).burns() == []  # fewer than min_events


def test_memory_is_compared_with_the_time_before():
    watch = watched([GOOD] * 5, memory_mb=400.0)
    watch.add_memory(599.0)
    assert watch.burns() == []
    watch.add_memory(601.0)
    (burn,) = watch.burns()
    assert burn.text == "memory: 601 MB > 1.5 x 400 MB before the change"


def test_an_objective_that_only_warns_rolls_nothing_back():
    objective = Objective(name="late", indicator="deadline", target=0.9, on_burn="warn")
    bad = replace(GOOD, deadline_missed=True)
    (burn,) = watched([bad] * 100, [GOOD] * 100, slo=Slo(objectives=(objective,))).burns()
    assert not burn.rolls_back


def test_drift_of_the_same_is_none():
    past = past_of(timed([GOOD] * 50), SLO)
    assert drift(past, past)[0] == 0.0


EMPTY = replace(GOOD, classes=(), scores=())
CHANGING = ([GOOD] * 50 + [EMPTY] * 50) * 3  # 10 s each: a street, a bridge, a street


def test_a_road_that_varied_before_may_vary_after_and_a_blind_set_burns_nevertheless():
    watch = Watch(SLO, past_of(timed(CHANGING), SLO))
    at_s = iter(0.1 * index for index in range(10**6))

    def burns(views):
        found = []
        for facts in views:
            watch.add(facts, next(at_s))
            found += watch.burns()
        return found

    assert burns(([EMPTY] * 100 + [GOOD] * 100) * 3) == []
    past = past_of(timed([GOOD] * 200 + [EMPTY] * 50 + [GOOD] * 50), SLO)
    assert past.varied > 0.7
    watch = Watch(SLO, past)
    (first, *_) = burns([EMPTY] * 400)
    assert first.text.startswith("drift: 1.0")
    assert watch.watched_s == pytest.approx(39.9)
    watch = Watch(SLO, past_of(timed([GOOD] * 300), SLO))
    assert burns([EMPTY] * 50)  # at once where nothing varied


def test_a_silence_of_all_views_breaks_availability():
    watch = watched([GOOD] * 5, [GOOD] * 100)
    for second in range(int(SILENT_S)):
        assert watch.silence(float(second)) is None
    burn = watch.silence(SILENT_S)
    assert burn.text == "availability: no view for 5 s"
    assert burn.rolls_back
    watch.add(GOOD, SILENT_S)
    assert watch.silence(SILENT_S + 1) is None


def test_what_is_no_silence():
    held_up = watched([], [GOOD] * 100)
    assert held_up.silence(0.0) is None
    assert held_up.silence(60.0) is None  # the watcher itself was
    ended = watched([], [GOOD] * 100)
    assert not any(ended.silence(float(second), asked_for=True) for second in range(20))
    silent_before = watched([], [])
    assert not any(silent_before.silence(float(second)) for second in range(20))


def test_the_breaker_opens_stays_open_and_closes_by_a_person(tmp_path):
    gate = WatchGate(breaker_rollbacks=2, breaker_window_s=100.0)
    notes = ReleaseStore(tmp_path / "store").watches

    def rolled_back(at_s):
        return RolledBack(stamp_ns=round(at_s * 1e9), transaction_id="t", reason=f"burn {at_s}")

    assert notes.rolled_back(rolled_back(0), gate).open == ""
    assert notes.rolled_back(rolled_back(500), gate).open == ""  # the first one is long ago
    assert "2 rollbacks within 100 s, the last one: burn 550" in (
        notes.rolled_back(rolled_back(550), gate).open
    )
    again = ReleaseStore(tmp_path / "store").watches
    assert "burn 550" in again.breaker().open
    assert "burn 550" in again.rolled_back(rolled_back(9999), gate).open
    assert "burn 550" in again.reset("looked")
    assert again.breaker().open == ""
    assert again.breaker().resets == ("looked",)
    (tmp_path / "store" / "breaker.json").write_text("{")
    assert "cannot be read" in again.breaker().open  # not known: closed is a claim


def test_what_is_watched_survives_the_manager(tmp_path):
    notes = ReleaseStore(tmp_path / "store").watches
    assert notes.watched() is None
    watched_ = Watched(
        transaction_id="t", before={"lidar": "a"}, after={"lidar": "b"},
        past=past_of(timed([GOOD, LATE]), SLO, memory_mb=1.5),
    )  # fmt: skip
    notes.watch(watched_)
    assert ReleaseStore(tmp_path / "store").watches.watched() == watched_
    notes.watch(None)
    assert notes.watched() is None
    (tmp_path / "store" / "watched.json").write_text("[")
    with pytest.raises(StoreError):
        notes.watched()
