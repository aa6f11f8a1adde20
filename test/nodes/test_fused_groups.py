"""Work that waits for a moment in which the frames that came are worked off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from edge_perception.nodes.changes.fused_groups import FusedGroups

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
