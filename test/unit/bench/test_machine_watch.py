"""What else took the cores while a gap lasted: told beside it, and never taken off it."""

from __future__ import annotations

import os

import pytest

from edge_perception.bench._machine_watch import MachineWatch, Used, used_between
from edge_perception.bench._swap_check import FusedSeen, RunSeen, summarise

MS = 1_000_000


def used(at_ms, all_s, ours_s, stolen_s=0.0):
    return Used(at_ns=at_ms * MS, all_s=all_s, ours_s=ours_s, stolen_s=stolen_s)


SEEN = [
    used(0, 10.0, 5.0),
    used(50, 10.1, 5.08),
    used(100, 10.2, 5.1, 0.03),
    used(150, 10.2, 5.1, 0.03),
]


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "expected"),
    [
        (0, 50, (0.02, 0.0)),
        (50, 100, (0.08, 0.03)),
        (10, 90, (0.1, 0.03)),  # from the look before to the one after
        (100, 150, (0.0, 0.0)),
        (-1, 50, None),
        (10, 151, None),
    ],
)
def test_what_others_used_is_all_that_was_used_but_ours(start_ms, end_ms, expected):
    found = used_between(SEEN, start_ms * MS, end_ms * MS)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_gap_is_as_long_with_or_without_others():
    views = [
        FusedSeen(
            published_ns=at * MS, sequence=k, end_to_end_s=0.05, models=(), feature_level=True
        )
        for k, at in enumerate((10, 60, 140))
    ]
    run = RunSeen(set_of={}, fused=views, used=SEEN, played=[(10 * MS, 2 * MS), (120 * MS, MS)])
    figures = summarise(run, cycle_s=0.05)
    assert figures["longest_gap_cycles"] == 1.6
    first, second = figures["longest_gaps"]
    assert (first["cycles"], first["others_s"], first["stolen_s"]) == (1.6, 0.08, 0.03)
    assert (first["played_late_s"], second["played_late_s"]) == (0.002, 0.002)


def test_this_process_is_not_an_other_one():
    with MachineWatch([os.getpid()]) as watch:
        while len(watch.seen) < 3:
            sum(range(10_000))
    first, last = watch.seen[0], watch.seen[-1]
    assert last.at_ns > first.at_ns
    assert last.ours_s >= first.ours_s
    assert last.all_s - first.all_s >= last.ours_s - first.ours_s - 0.05  # hundredths, four kinds
