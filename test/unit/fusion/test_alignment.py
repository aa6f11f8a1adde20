"""Picking by stamp: tables of what waits and what is picked, ms."""

import pytest

from edge_perception.core.types import Feature, Instant, ModelVersion
from edge_perception.fusion.alignment import HISTORY, Aligner, settle_ns
from edge_perception.fusion.config import SourceConfig
from edge_perception.fusion.state import Arrival, SourceTrack

MS = 1_000_000
WINDOW_NS = 100 * MS
VERSION = ModelVersion(role="", name="", version="", sha256="")


def _setup(waiting):
    """Stamps by source; each arrives at its stamp."""
    aligner = Aligner()
    start = Instant(node_ns=0, steady_ns=0)
    tracks = {
        name: SourceTrack(SourceConfig(source=name, modality="lidar"), start) for name in waiting
    }
    pairs = [(stamp, name) for name, stamps in waiting.items() for stamp in stamps]
    for stamp, name in sorted(pairs):
        feature = Feature(
            stamp_ns=stamp * MS, frame_id="", source=name, modality="", model=VERSION, sequence=0
        )
        aligner.add(tracks[name], Arrival(feature, stamp * MS, stamp * MS))
    return aligner, tracks


def _picked(selection):
    return {name: pick.stamp_ns // MS for name, pick in selection.picks.items()}


@pytest.mark.parametrize(
    ("waiting", "picked", "left_out"),
    [
        ({}, {}, []),
        ({"a": [0]}, {"a": 0}, []),
        ({"a": [0, 100]}, {"a": 100}, []),
        ({"a": [0], "b": [50]}, {"a": 0, "b": 50}, []),
        ({"a": [0, 100], "b": [90]}, {"a": 100, "b": 90}, []),  # the newer one fits better
        ({"a": [0, 100], "b": [10]}, {"a": 0, "b": 10}, []),  # b's encoder is slow
        ({"a": [0, 50, 100], "b": [60]}, {"a": 50, "b": 60}, []),
        ({"a": [0], "b": [100]}, {"a": 0, "b": 100}, []),
        ({"a": [0], "b": [101]}, {"b": 101}, ["a"]),
        ({"a": [0], "b": [150], "c": [90]}, {"b": 150, "c": 90}, ["a"]),
        ({"a": [0], "b": [150], "c": [300]}, {"c": 300}, ["a", "b"]),
        ({"a": [0, 100], "b": [33, 133], "c": [66]}, {"a": 100, "b": 33, "c": 66}, []),
    ],
)
def test_selection(waiting, picked, left_out):
    aligner, _ = _setup(waiting)
    selection = aligner.select(WINDOW_NS)
    assert _picked(selection) == picked
    assert selection.left_out == left_out
    stamps = list(picked.values()) or [0]
    assert selection.spread_ns == (max(stamps) - min(stamps)) * MS


def test_what_was_not_used_opens_the_next_cycle_and_older_is_superseded():
    aligner, tracks = _setup({"a": [0, 50, 100], "b": [60]})
    aligner.consume(aligner.select(WINDOW_NS), tracks, 110 * MS)
    assert aligner.opened_ns == 110 * MS
    assert tracks["a"].superseded == 1
    assert _picked(aligner.select(WINDOW_NS)) == {"a": 100}
    aligner.consume(aligner.select(WINDOW_NS), tracks, 120 * MS)
    assert aligner.opened_ns is None


def test_left_out_feature_is_late_once_and_opens_nothing():
    aligner, tracks = _setup({"a": [0], "b": [200]})
    aligner.consume(aligner.select(WINDOW_NS), tracks, 210 * MS)
    assert (tracks["a"].late, aligner.opened_ns) == (1, None)
    aligner.consume(aligner.select(WINDOW_NS), tracks, 220 * MS)
    assert tracks["a"].late == 1


def test_memory_is_bounded():
    aligner, tracks = _setup({"a": list(range(0, 100 * HISTORY, 100))})
    for stamp in (10_000, 10_100):
        arrival = Arrival(aligner.select(WINDOW_NS).picks["a"].feature, stamp * MS, stamp * MS)
        aligner.add(tracks["a"], arrival)
    assert tracks["a"].superseded == 2
    assert aligner.opened_ns == 0, "the deadline stays that of the first"


@pytest.mark.parametrize(
    ("waiting", "until_ms"),
    [
        ({"a": [0], "b": [50]}, 0),  # no better match ahead
        ({"a": [0], "b": [55]}, 0),  # 45 is better than 55 by no more than the jitter
        ({"a": [0], "b": [60]}, 120),  # 40 is better
        ({"a": [0], "b": [90]}, 120),
        ({"a": [0], "b": [70]}, 120),
        ({"a": [0], "b": [10]}, 0),
        ({"a": [0]}, 0),
        ({"a": [0], "b": [90], "c": [45]}, 120),  # 55 instead of 90
        ({"a": [0], "b": [90], "c": [10]}, 0),  # it would be as far from c
        ({"a": [0], "b": [90], "c": [95]}, 120),
    ],
)
def test_a_better_match_is_worth_waiting_for(waiting, until_ms):
    aligner, tracks = _setup(waiting)
    selection = aligner.select(WINDOW_NS)
    assert settle_ns(selection, tracks, WINDOW_NS) == until_ms * MS
