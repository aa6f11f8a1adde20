"""Frames that the machine loses, and frames that a change costs, are two things."""

from __future__ import annotations

import pytest

from edge_perception.bench._swap_check import FeatureSeen, RunSeen, SwapSeen
from edge_perception.bench._swap_loss import TAIL_S, count_losses

MS = 1_000_000
STAMPS = [k * 50 * MS for k in range(1, 401)]  # 20 s of a camera
CHANGE = SwapSeen(requested_ns=8_000 * MS, stamp_ns=9_000 * MS, answered_ns=8_800 * MS)
END_NS = CHANGE.stamp_ns + round(TAIL_S * 1e9)


def run_without(lost):
    features = [
        FeatureSeen(
            source="camera",
            stamp_ns=stamp,
            sequence=k,
            sha256="a",
            space="",
            dropped=sum(gone < stamp for gone in lost),
        )
        for k, stamp in enumerate(STAMPS)
        if stamp not in lost
    ]
    return RunSeen(set_of={"a": 0}, sent={"camera": STAMPS}, features=features, swaps=[CHANGE])


def inside(stamp):
    return CHANGE.requested_ns <= stamp <= END_NS


def test_a_clean_run_has_lost_nothing():
    figures = count_losses(run_without(set()))
    assert figures["lost_steady"] == figures["lost_in_changes"] == figures["overwritten"] == 0
    assert not figures["lost_by_changes_surely"]
    assert figures["frames_steady"] + figures["frames_in_changes"] == len(STAMPS)
    assert figures["frames_in_changes"] == sum(map(inside, STAMPS))


def test_a_slow_machine_loses_in_changes_as_at_all_times():
    lost = set(STAMPS[5:-5:10])
    figures = count_losses(run_without(lost))
    assert (
        figures["lost_steady"] + figures["lost_in_changes"] == len(lost) == figures["overwritten"]
    )
    assert figures["lost_in_changes"] > 0
    assert figures["lost_by_changes"] <= 1
    assert not figures["lost_by_changes_surely"]


@pytest.mark.parametrize("base", [[], STAMPS[5:-5:50]], ids=["quiet", "busy"])
def test_what_a_change_costs_beyond_that_is_its_own(base):
    cost = [stamp for stamp in STAMPS if inside(stamp)][::4]
    figures = count_losses(run_without({*base, *cost}))
    assert figures["lost_by_changes_surely"]
    assert len(cost) - 3 <= figures["lost_by_changes"] <= len(cost)
