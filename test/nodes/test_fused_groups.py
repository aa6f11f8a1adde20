"""When work may begin and a change take effect, as the fused views tell."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from rclpy.serialization import serialize_message

from edge_perception import msg
from edge_perception.nodes.changes.fused_groups import FusedGroups
from edge_perception.nodes.conversion import time_msg

SECOND_NS = 1_000_000_000


@pytest.fixture
def now():
    return SimpleNamespace(steady_ns=10 * SECOND_NS)


@pytest.fixture
def groups(now):
    return FusedGroups(SimpleNamespace(executor=None, clock=SimpleNamespace(now=lambda: now)))


def test_the_next_view_ends_a_wait_and_not_the_last_one(groups):
    groups.on_view(b"before")
    first, second = groups.next_view(), groups.next_view()
    assert not first.done()
    second.cancel()  # it was given up
    groups.on_view(b"after")
    assert first.done()
    assert second.cancelled()
    assert not groups.next_view().done()


def test_where_no_views_come_none_is_waited_for(groups, now):
    assert groups.next_view() is None
    groups.on_view(b"one")
    now.steady_ns += SECOND_NS - 1
    assert groups.next_view() is not None
    now.steady_ns += 1
    assert groups.next_view() is None


def view(number, *, sha256, objects=0):
    """Serialise a view of a camera and a LiDAR whose stamps lie 40 ms apart, every 100 ms."""
    stamp = number * 100_000_000
    message = msg.FusedPerception(
        models=[msg.ModelVersion(role="lidar", sha256=sha256)],
        objects=[msg.DetectedObject()] * objects,
        sources=[
            source("camera", stamp),
            source("lidar", stamp + 40_000_000),
            source("audio", stamp - 900_000_000, contributed=False),
        ],
    )
    message.header.stamp = time_msg(stamp + 40_000_000)
    return serialize_message(message)


def source(name, stamp, *, contributed=True):
    return msg.SourceStatus(
        source=name, modality=name, stamp=time_msg(stamp), contributed=contributed
    )


@pytest.mark.parametrize("objects", [0, 50])
def test_the_stamp_of_a_change_lies_between_two_groups_of_frames(groups, objects):
    groups._node.get_clock = lambda: SimpleNamespace(
        now=lambda: SimpleNamespace(nanoseconds=1_010_000_000)
    )
    for number in range(4, 10):
        groups.on_view(view(number, sha256="a", objects=objects))
    # Groups are from 1.0 to 1.04 s, 1.1 to 1.14 s …
    assert groups.change_stamp_ns(0.01) == 1_070_000_000
    assert groups.change_stamp_ns(0.01, soonest=True) == 1_045_000_000
    assert groups.change_stamp_ns(0.05, soonest=True) == 1_060_000_000


def test_the_newest_view_says_which_models_it_rests_on(groups):
    assert not groups.rests_on({"a"})
    groups.on_view(view(1, sha256="a"))
    assert groups.rests_on({"a", "z"})
    assert not groups.rests_on({"b"})
    groups.on_view(view(2, sha256="b"))
    assert not groups.rests_on({"a"})
