"""CLEAR MOT, AMOTA and AMOTP on tracks small enough to count by hand."""

import math

import numpy as np
import pytest

from edge_perception.evaluation.following import (
    Drive,
    Step,
    all_drives,
    averages,
    follow_drive,
    gaps_of,
)

NS = 1_000_000_000


def step(k, truth, tracks, unwanted=()):
    """Truth and tracks by id: place on a line; tracks with their score."""
    return Step(
        stamp_ns=k * NS // 10,
        true_ids=np.array(list(truth), np.int64),
        true_m=np.array([(x, 0.0) for x in truth.values()]).reshape(-1, 2),
        wanted=np.array([who not in unwanted for who in truth], bool),
        track_ids=np.array(list(tracks), np.int64),
        track_m=np.array([(x, 0.0) for x, _ in tracks.values()]).reshape(-1, 2),
        score=np.array([score for _, score in tracks.values()]),
    )


def drive(*rows, unwanted=()):
    return Drive.of([step(k, truth, tracks, unwanted) for k, (truth, tracks) in enumerate(rows)])


def test_found_missed_false_and_their_distances_are_counted():
    counts = follow_drive(
        drive(
            ({1: 0.0, 2: 10.0}, {7: (0.5, 0.9), 8: (30.0, 0.9)}),
            ({1: 1.0, 2: 11.0}, {7: (1.0, 0.9), 9: (12.0, 0.9)}),
        )
    )
    assert (counts.wanted, counts.found, counts.false, counts.switches) == (4, 3, 1, 0)
    assert counts.mota == pytest.approx(1 - (1 + 1 + 0) / 4)
    assert counts.motar == pytest.approx(1 - 1 / 3)
    assert counts.motp_m == pytest.approx((0.5 + 0.0 + 1.0) / 3)


def test_another_track_is_a_switch_and_a_hole_a_fragmentation():
    there = {1: 0.0}
    rows = [(there, {7: (0.0, 1.0)}), (there, {}), (there, {8: (0.0, 1.0)}), (there, {8: (0, 1.0)})]
    counts = follow_drive(drive(*rows))
    assert (counts.switches, counts.fragments, counts.found) == (1, 1, 3)
    same = follow_drive(drive(rows[0], rows[1], rows[0]))
    assert (same.switches, same.fragments) == (0, 1)


def test_who_was_matched_stays_matched_while_another_comes_nearer():
    counts = follow_drive(
        drive(({1: 0.0}, {7: (0.0, 1.0)}), ({1: 0.0}, {7: (1.5, 1.0), 8: (0.1, 1.0)}))
    )
    assert (counts.switches, counts.false) == (0, 1)
    assert counts.motp_m == pytest.approx(0.75)


def test_two_that_change_places_are_two_switches():
    counts = follow_drive(
        drive(
            ({1: 0.0, 2: 10.0}, {7: (0.0, 1.0), 8: (10.0, 1.0)}),
            ({1: 0.0, 2: 10.0}, {8: (0.0, 1.0), 7: (10.0, 1.0)}),
        )
    )
    assert (counts.switches, counts.false, counts.mota) == (2, 0, 0.5)


def test_who_need_not_be_found_is_neither_missed_nor_a_false_one():
    rows = drive(({1: 0.0, 2: 10.0}, {7: (0.0, 1.0), 8: (10.5, 1.0)}), unwanted={2})
    counts = follow_drive(rows)
    assert (counts.wanted, counts.found, counts.false) == (1, 1, 0)


def test_an_id_that_outlives_being_hidden_is_kept():
    there = {1: 0.0, 2: 20.0}
    both = {7: (0.0, 1.0), 8: (20.0, 1.0)}
    rows = drive((there, both), *[(there, {})] * 9, (there, {7: (0.0, 1.0), 9: (20.0, 1.0)}))
    gaps = sorted(((gap.seconds, gap.kept) for gap in gaps_of(rows)), key=lambda gap: gap[1])
    assert gaps == [(pytest.approx(1.0), False), (pytest.approx(1.0), True)]


def test_amota_of_a_perfect_tracker_is_one_and_of_none_zero():
    perfect = [drive(*[({1: 0.0, 2: 9.0}, {7: (0.0, 0.9), 8: (9.0, 0.4)})] * 5)]
    assert averages(perfect) == (pytest.approx(1.0), pytest.approx(0.0))
    assert averages([drive(*[({1: 0.0}, {})] * 5)]) == (0.0, 2.0)
    assert all(math.isnan(value) for value in averages([drive(({}, {3: (0.0, 1.0)}))]))


def test_amota_counts_a_recall_that_is_not_reached_as_nothing():
    # One of two is found, always and exactly: recalls up to a half are reached, 18 of the 40.
    half = [drive(*[({1: 0.0, 2: 9.0}, {7: (0.0, 0.9)})] * 10)]
    reached = sum(recall <= 0.5 for recall in np.linspace(0.1, 1.0, 40)) / 40
    assert averages(half) == (pytest.approx(reached), pytest.approx(2.0 * (1 - reached)))


def test_amota_takes_a_weak_false_track_only_where_recall_asks_for_it():
    # The strong track finds one of two; the weak one finds the other and a ghost is as weak.
    rows = [({1: 0.0, 2: 9.0}, {7: (0.0, 0.9), 8: (9.0, 0.3), 9: (40.0, 0.3)})] * 10
    recalls = np.linspace(0.1, 1.0, 40)
    # Up to a half the ghost is below the score that the recall asks for; then it counts.
    strong = sum(recall <= 0.5 for recall in recalls)
    expected = (strong * 1.0 + (40 - strong) * (1 - 10 / 20)) / 40
    between = sum(0.5 < recall <= 0.55 for recall in recalls)  # scores lie between 0.3 and 0.9
    amota, amotp_m = averages([drive(*rows)])
    assert amota == pytest.approx(expected + between * 0.5 / 40)
    assert amotp_m == pytest.approx(0.0)


def test_drives_are_added_up():
    one = drive(({1: 0.0}, {7: (0.0, 1.0)}))
    other = drive(({1: 0.0}, {8: (5.0, 1.0)}))
    counts = all_drives([one, other])
    assert (counts.wanted, counts.found, counts.false, counts.switches) == (2, 1, 1, 0)
