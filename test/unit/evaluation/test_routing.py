"""Thresholds of doubt: for a share of frames, and for a share of what a server changes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.evaluation.routing import (
    DoubtedFrame,
    changes,
    judged,
    threshold_for_gain,
    threshold_for_share,
)

FRAMES = [DoubtedFrame(bits=n / 10, changed=n) for n in range(10)]  # 45 changes


def test_a_share_is_never_exceeded_and_as_near_as_there_is():
    assert threshold_for_share(FRAMES, 0.3).bits == 0.7
    assert threshold_for_share(FRAMES, 0.39).share == pytest.approx(0.3)
    assert threshold_for_share(FRAMES, 1.0).frames == 10
    alike = [DoubtedFrame(bits=0.5)] * 9 + [DoubtedFrame(bits=0.1)]
    with pytest.raises(ConfigurationError, match=r"90\.0% are in doubt by 0\.5000 bit"):
        threshold_for_share(alike, 0.5)


def test_a_gain_is_reached_with_the_fewest_frames():
    found = threshold_for_gain(FRAMES, 0.5)
    assert (found.bits, found.frames, found.changes) == (0.7, 3, 24)
    assert found.gain == pytest.approx(24 / 45)
    assert threshold_for_gain(FRAMES, 1.0).frames >= 9
    with pytest.raises(ConfigurationError, match="brings nothing"):
        threshold_for_gain([DoubtedFrame(bits=0.5)], 0.5)


def test_thresholds_are_written_with_four_digits_and_still_hold():
    frames = [DoubtedFrame(bits=0.123456, changed=1), DoubtedFrame(bits=0.0)]
    assert threshold_for_gain(frames, 1.0).bits == 0.1234
    assert judged(frames, threshold_for_share(frames, 0.5).bits).share <= 0.5


def item(name="car", score=0.9, x_m=10.0):
    return SimpleNamespace(class_name=name, score=score, center_m=(x_m, 0.0, 0.0))


def output(*objects):
    return SimpleNamespace(objects=objects, image_objects=(), sound_events=())


@pytest.mark.parametrize(
    ("ours", "theirs", "count"),
    [
        ([item()], [item(x_m=11.0)], 0),
        ([item()], [item(x_m=13.0)], 2),
        ([item()], [item("bus")], 2),
        ([item(score=0.4)], [], 0),
        ([item(score=0.4)], [item()], 1),
        ([item()], [], 1),
    ],
)
def test_what_only_one_of_two_models_is_sure_of_is_a_change(ours, theirs, count):
    assert changes(output(*ours), output(*theirs)) == count
