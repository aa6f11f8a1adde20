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


@pytest.mark.parametrize("unit", [1000, 10**6, 10**9])
def test_a_fraction_of_a_second_in_another_unit_is_told(unit):
    """Microseconds in the field of nanoseconds (ros-drivers/usb_cam#337), or no fraction at all."""
    arrivals_ms = [33 * i for i in range(120)]
    stamps_ms = [t // 1000 * 1000 + t % 1000 / unit for t in arrivals_ms]
    assert "ms past a second: microseconds where nanoseconds belong?" in fault(
        stamps_ms, arrivals_ms
    )


@pytest.mark.parametrize(
    ("stamps_ms", "arrivals_ms"),
    [
        (TEN_HZ, TEN_HZ),
        (TEN_HZ, [3 * t for t in TEN_HZ]),  # played slowly
        ([0] * 11, TEN_HZ),  # no stamps: told otherwise
        ([*TEN_HZ, *TEN_HZ], [100 * i for i in range(22)]),  # a loop
        ([0, 1, 2], [0, 1000, 2000]),  # too few
        ([1000 * i for i in range(9)], [1000 * i for i in range(9)]),  # once a second
        ([500 * i for i in range(9)], [500 * i for i in range(9)]),
    ],
)
def test_what_is_no_other_unit_is_not_told(stamps_ms, arrivals_ms):
    assert fault(stamps_ms, arrivals_ms) == ""


def other_time(**apart_ms):
    stats = ReplayStats()
    for at_ms in TEN_HZ:
        for topic, ms in apart_ms.items():
            stats.note_stamp(f"/{topic}", (10**7 + at_ms) * MS, (10**7 + at_ms + ms) * MS)
    return stats.other_time()


@pytest.mark.parametrize(("ms", "word"), [(10**9, "after"), (-(10**6), "before")])
def test_a_recording_of_a_recording_is_told_with_what_helps(ms, word):
    told = other_time(a=ms + 40, b=ms)
    assert told.startswith(f"all sources arrived {abs(ms) / 1000:.3f} s {word} their stamps: ")
    assert f"; --shift /a:{ms / 1000:.3f}s --shift /b:{ms / 1000:.3f}s brings" in told


@pytest.mark.parametrize(
    "apart",
    [{"a": 40, "b": 90}, {"a": 40, "b": 10**9}, {"a": 10**9}, {"a": 10**9, "b": 2 * 10**9}],
)
def test_a_late_source_and_one_of_another_clock_are_no_recording_of_a_recording(apart):
    assert other_time(**apart) == ""
