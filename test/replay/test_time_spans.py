"""Stamps and arrivals of one topic held against each other."""

import pytest

from edge_perception.replay.stats import ReplayStats

MS = 1_000_000


def fault(stamps_ms, arrivals_ms):
    stats = ReplayStats()
    for stamp_ms, arrival_ms in zip(stamps_ms, arrivals_ms, strict=True):
        stats.note_stamp("/topic", round(stamp_ms * MS), round(arrival_ms * MS))
    return stats.spans["/topic"].fault


TEN_HZ = [100 * i for i in range(11)]


def test_arrivals_that_are_none_are_told():
    assert "no times of arrival" in fault(TEN_HZ, [0] * 11)
    assert "no times of arrival" in fault(TEN_HZ, [t / 1000 for t in TEN_HZ])


def test_stamps_in_another_unit_are_told():
    told = fault([t / 1000 for t in TEN_HZ], TEN_HZ)
    assert told == (
        "11 messages of 0.001 s by their stamps arrived in 1 s: are the stamps in another unit?"
    )


@pytest.mark.parametrize(
    ("stamps_ms", "arrivals_ms"),
    [
        (TEN_HZ, TEN_HZ),
        (TEN_HZ, [3 * t for t in TEN_HZ]),  # played slowly
        ([0] * 11, TEN_HZ),  # no stamps: told otherwise
        ([*TEN_HZ, *TEN_HZ], [100 * i for i in range(22)]),  # a loop
        ([0, 1, 2], [0, 1000, 2000]),  # too few
    ],
)
def test_what_is_no_other_unit_is_not_told(stamps_ms, arrivals_ms):
    assert fault(stamps_ms, arrivals_ms) == ""
