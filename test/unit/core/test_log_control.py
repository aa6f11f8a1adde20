"""Repeated lines are counted, details come around an anomaly and end."""

from __future__ import annotations

import pytest

from edge_perception.core.log_control import (
    LINES_BEFORE,
    MOST_KEYS,
    RAISED_MOST,
    REST,
    Before,
    Burst,
    DetailTime,
    RepeatLimit,
)

S = 1_000_000_000
WARN, ERROR = 30, 40


def test_lines_that_differ_only_in_numbers_repeat_one_another_and_each_is_written_or_counted():
    limit = RepeatLimit(burst=3, window_s=10.0)
    texts = [f"lidar: LATE, age {0.2 + n / 100:.2f} s > 0.20 s" for n in range(40)]
    passed = [text for n, text in enumerate(texts) if limit.take(WARN, text, n * S // 10)]
    assert passed == texts[:3]
    assert not limit.ended(10 * S - 1)
    (line,) = limit.ended(10 * S)
    assert (line.severity, line.text) == (
        WARN, f"{texts[-1]} (the last of 37 like it that were left out)"
    )  # fmt: skip
    # It goes on: the line with the count was the one of the next window.
    assert not limit.take(WARN, texts[0], 11 * S)
    assert "the last of 1 like it" in limit.ended(20 * S)[0].text
    # A window in which nothing came ends it: the next such line is news.
    assert not limit.ended(30 * S)
    assert limit.take(WARN, texts[0], 31 * S)


def test_other_names_severities_and_words_are_other_lines():
    limit = RepeatLimit(burst=1, window_s=10.0)
    lines = [(WARN, "camera_1: LATE"), (WARN, "camera_2: LATE"), (ERROR, "camera_1: LATE"),
             (WARN, "camera_1: STALE")]  # fmt: skip
    assert all(limit.take(severity, text, 0) for severity, text in lines)
    assert not any(limit.take(severity, text, 1) for severity, text in lines)


def test_the_memory_is_bounded_and_what_is_beyond_is_still_counted():
    limit = RepeatLimit(burst=1, window_s=1.0)
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(MOST_KEYS + 100)]
    passed = sum(limit.take(WARN, word, 0) for word in words)
    assert passed == MOST_KEYS + 1
    (line,) = limit.ended(1 * S)
    assert "the last of 99 of other kinds" in line.text


def test_at_the_end_all_counts_are_told_and_without_a_limit_all_lines_pass():
    limit = RepeatLimit(burst=1, window_s=100.0)
    assert [limit.take(WARN, "again", n) for n in range(4)] == [True, False, False, False]
    (line,) = limit.ended(5, all_windows=True)
    assert "the last of 3 like it" in line.text
    assert not limit.ended(500 * S, all_windows=True)
    free = RepeatLimit(burst=0, window_s=1.0)
    assert all(free.take(WARN, "again", n) for n in range(100))


def test_details_begin_with_an_anomaly_are_made_longer_by_others_and_rest():
    time = DetailTime(details_s=10.0)
    assert time.on_anomaly(0)
    assert not time.on_anomaly(5 * S)  # longer: to 15 s
    assert time.ends(15 * S - 1) is None
    assert time.raised
    assert time.ends(15 * S) == pytest.approx(15.0)
    assert not time.raised
    assert time.on_anomaly(16 * S), "a short one needs no rest"
    for second in range(17, 16 + 10 * RAISED_MOST):
        time.on_anomaly(second * S)
    end_s = 16 + 10 * RAISED_MOST
    assert time.ends(end_s * S) == pytest.approx(10.0 * RAISED_MOST), "not for ever"
    assert not time.on_anomaly((end_s + 10 * REST) * S - 1)
    assert time.on_anomaly((end_s + 10 * REST) * S)


def test_details_can_be_off():
    time = DetailTime(details_s=0.0)
    assert not time.on_anomaly(0)
    assert time.ends(S) is None


def test_what_came_before_is_told_once_with_its_age_the_oldest_first():
    before = Before()
    for number in range(LINES_BEFORE + 5):
        before.keep(number * S, "frame {} {:.1f} ms", (number, 2.0))
    texts = before.take((LINES_BEFORE + 5) * S)
    assert len(texts) == LINES_BEFORE
    assert texts[0] == f"{LINES_BEFORE}.000 s before: frame 5 2.0 ms"
    assert texts[-1].startswith("1.000 s before")
    assert not before.take(0)


def test_a_burst_is_so_many_within_the_time_and_each_counts_once():
    burst = Burst(count=3, within_s=5.0)
    assert [burst.add(n * S) for n in range(6)] == [False, False, True, False, False, True]
    slow = Burst(count=3, within_s=5.0)
    assert not any(slow.add(n * 3 * S) for n in range(20))
