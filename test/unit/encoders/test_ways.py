"""One sensor in several ways: each frame counts once, whichever way lives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.errors import ConfigurationError
from edge_perception.encoders import encoders
from edge_perception.encoders.ways import WayChoice

SILENCE = 500
WAYS = ("raw", "compressed")


def taken(choice, events):
    """Feed (way, stamp, now); return the stamps that counted."""
    return [stamp for way, stamp, now in events if choice.take(way, stamp, now, SILENCE)]


def both(frames, start=0):
    for index in range(start, start + frames):
        yield "raw", 1000 + index, 100 * index
        yield "compressed", 1000 + index, 100 * index + 20


def test_of_two_ways_each_frame_counts_once():
    choice = WayChoice(WAYS)
    assert taken(choice, both(20)) == list(range(1000, 1020))
    assert choice.current == "raw"
    assert choice.to_listen(WAYS, 2000, SILENCE) == {"raw"}


def test_a_raw_one_that_appears_later_is_taken_and_nothing_comes_twice():
    choice = WayChoice(WAYS)
    events = [("compressed", 1000 + k, 100 * k + 20) for k in range(5)]
    assert taken(choice, events) == [1000, 1001, 1002, 1003, 1004]
    assert choice.to_listen(["compressed"], 450, SILENCE) == {"compressed"}
    assert choice.to_listen(WAYS, 450, SILENCE) == {"raw", "compressed"}
    repeat = [("raw", 1004, 460)]  # the same frame, which the compressed way gave already
    assert taken(choice, repeat) == []
    assert taken(choice, both(5, start=5)) == [1005, 1006, 1007, 1008, 1009]
    assert choice.to_listen(WAYS, 950, SILENCE) == {"raw"}


def test_a_raw_one_that_dies_is_left_and_taken_again_once_it_is_steady():
    choice = WayChoice(WAYS)
    taken(choice, both(5))
    assert choice.to_listen(WAYS, 950, SILENCE) == {"raw", "compressed"}
    after = [("compressed", 1000 + k, 100 * k + 20) for k in range(10, 15)]
    assert taken(choice, after) == [1010, 1011, 1012, 1013, 1014]
    assert choice.current == "compressed"
    blips = [("raw", 1100, 1500), ("raw", 1101, 2600), ("raw", 1102, 3700)]
    alive = [("compressed", 1100 + k, 1500 + 100 * k) for k in range(23)]
    assert not set(taken(choice, sorted(blips + alive, key=lambda e: e[2]))) - {
        stamp for _, stamp, _ in alive
    }
    assert choice.current == "compressed"
    again = list(both(6, start=40))
    assert taken(choice, again) == [1040, 1041, 1042, 1043, 1044, 1045]
    assert choice.current == "raw"


def test_a_way_that_a_parameter_names_is_the_only_one():
    choice = WayChoice(WAYS, "compressed")
    assert choice.to_listen(WAYS, 0, SILENCE) == {"compressed"}
    assert taken(choice, both(5)) == [1000, 1001, 1002, 1003, 1004]
    assert choice.current == "compressed"
    with pytest.raises(ConfigurationError, match="expected auto, raw, compressed, got 'theora'"):
        WayChoice(WAYS, "theora")


def test_stamps_that_repeat_or_are_zero_are_not_hidden():
    """What is wrong with a stamp is for fusion to say."""
    choice = WayChoice(WAYS)
    choice.offer(["raw"], 0)
    assert taken(choice, [("raw", 5, 10), ("raw", 5, 20), ("raw", 0, 30), ("raw", 3, 40)]) == [
        5, 5, 0, 3,
    ]  # fmt: skip


def test_the_best_that_is_offered_counts_from_the_start():
    choice = WayChoice(WAYS)
    choice.offer(WAYS, 0)
    assert taken(choice, [("compressed", 1, 5), ("raw", 1, 10)]) == [1]
    assert choice.current == "raw"


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(WAYS), st.integers(1, 300), st.booleans()), max_size=80))
def test_a_frame_of_two_healthy_ways_never_counts_twice(gaps):
    choice, now, stamps = WayChoice(WAYS), 0, []
    for index, (way, gap, twice) in enumerate(gaps):
        now += gap
        for name in (way, *(w for w in WAYS if twice and w != way)):
            if choice.take(name, 1000 + index, now, SILENCE):
                stamps.append(1000 + index)
    assert len(stamps) == len(set(stamps))


def test_the_ways_of_modalities_and_their_parameter_agree():
    for spec in encoders().specs.values():
        field = spec.options.__dataclass_fields__.get("input")
        if len(spec.ways) < 2:
            assert field is None
        else:
            assert field.metadata["choices"] == ("auto", *spec.ways)
