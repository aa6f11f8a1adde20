"""Whether a candidate is called better only where it is, and not by chance."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.evaluation.better import Margin, compare
from edge_perception.evaluation.matching import Judged, ap_table


def frame(rng, right, *, wanted=6, false=2):
    """Six objects of which a share is found, and false detections with lower scores."""
    found = int((rng.random(wanted) < right).sum())
    hit = np.zeros((found + false, 4), bool)
    hit[:found] = True
    return Judged(
        label=np.zeros(found + false, np.int8),
        score=rng.random(found + false).astype(np.float32),
        hit=hit,
        counts=np.ones_like(hit),
        range_m=np.full(found + false, 10.0, np.float32),
        wanted_label=np.zeros(wanted, np.int8),
        wanted_range_m=np.full(wanted, 10.0, np.float32),
    )


def results(right, *, groups=20, frames=3, seed=1):
    rng = np.random.default_rng(seed)
    return [[frame(rng, right) for _ in range(frames)] for _ in range(groups)]


def test_the_figures_are_those_of_evaluate():
    now, then = results(0.5), results(0.8, seed=2)
    found = compare(now, then, Margin(), draws=100)
    for value, groups in ((found.current, now), (found.candidate, then)):
        table = ap_table(Judged.joined([f for group in groups for f in group]))
        assert value == pytest.approx(100.0 * table["map"], abs=1e-6)
    assert found.classes["car"] == pytest.approx((found.current, found.candidate))
    assert (found.frames, found.groups) == (60, 20)


def test_better_by_the_margin_and_not_by_more():
    now, then = results(0.4), results(0.9, seed=2)
    found = compare(now, then, Margin(map_points=10.0), draws=200)
    assert found.better
    assert found.low <= found.difference <= found.high
    assert found.reason.startswith("better: mAP")
    asked = Margin(map_points=found.difference + 1.0)
    more = compare(now, then, asked, draws=200)
    assert not more.better
    assert "not shown" in more.reason


def test_the_same_is_not_better_and_worse_is_said():
    now = results(0.5)
    same = compare(now, now, Margin(), draws=100)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert not same.better
    worse = compare(results(0.9), results(0.4, seed=2), Margin(), draws=100)
    assert not worse.better
    assert worse.reason.startswith("not better")


def test_chance_alone_is_seldom_called_better():
    """Two draws of one model: at 95 % the low end is above 0 in about 1 of 40."""
    called = sum(
        compare(
            results(0.5, groups=12, frames=2, seed=2 * n),
            results(0.5, groups=12, frames=2, seed=2 * n + 1),
            Margin(),
            draws=150,
        ).better
        for n in range(24)
    )
    assert called <= 4


def test_frames_that_are_one_are_not_counted_as_many():
    """Each group repeated in itself says nothing new: the interval stays."""
    now, then = results(0.5, groups=10, frames=1), results(0.6, groups=10, frames=1, seed=2)
    once = compare(now, then, Margin(), draws=200)
    often = compare([g * 8 for g in now], [g * 8 for g in then], Margin(), draws=200)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.25)


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        (results(0.5, groups=4), results(0.5, groups=4), "at least 5 recordings or scenes, got 4"),
        (results(0.5), results(0.5, frames=2), "the same frames"),
        ([[]] * 6, [[]] * 6, "objects to be found"),
    ],
)
def test_what_says_nothing_is_refused(now, then, said):
    with pytest.raises(ConfigurationError, match=said):
        compare(now, then, Margin())
