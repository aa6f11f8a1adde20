"""Subscriptions that a `Receiver` takes from, each with what becomes of its next message."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.subscription import Subscription

from edge_perception.encoders.arrivals import Arrivals
from edge_perception.nodes.topics.taking import give_back, take

_RENEW_AFTER_S = 1.0  # without another message that is too large


class Reader(Protocol):
    """A subscription of a receiver; for its thread, once that runs."""

    subscription: Subscription

    def take(self, *, identified: bool) -> None:
        """Give the next message to the callback; another reader of it may have been faster.

        Args:
            identified: publishers can be told apart, see `taking.tells_publishers`.
        """
        ...


class ArrivalCounter:
    """Counts what came on a topic, and what got lost where the middleware tells."""

    def __init__(self) -> None:
        self._received = self._lost = 0

    def on_message(self) -> None:
        """Count a message."""
        self._received += 1

    def on_lost(self, event: Any) -> None:
        """Take the middleware's event of lost messages (Fast DDS has it)."""
        self._lost = event.total_count

    @property
    def arrivals(self) -> Arrivals:
        """The counts since the start."""
        return Arrivals(received=self._received, lost=self._lost)


class InPlaceReader:
    """A subscription of `raw.subscribe`: its callback takes any buffer.

    Args:
        subscription: typed where its type is not read in place.
        counter: counts what comes; None: nobody does.
    """

    def __init__(self, subscription: Subscription, counter: ArrivalCounter | None = None) -> None:
        self.subscription, self._counter = subscription, counter

    def take(self, *, identified: bool) -> None:
        """Give the next message, or a view of its bytes, to the callback."""
        message = self._next(identified)
        if message is None:
            return
        if self._counter is not None:
            self._counter.on_message()
        self.subscription.callback(message)

    def _next(self, identified: bool) -> Any:
        if not self.subscription.raw:
            return _taken(self.subscription)
        taken = take(self.subscription, sys.maxsize, identified=identified)
        return None if taken is None else taken.data


class BytesReader:
    """A raw subscription whose callback takes `bytes`, a copy of each message."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def take(self, *, identified: bool) -> None:  # noqa: ARG002
        """Give the bytes of the next message to the callback."""
        data = _taken(self.subscription)
        if data is not None:
            self.subscription.callback(data)


class BoundedReader:
    """A raw subscription whose messages have a greatest size; its callback takes `Taken`.

    Fast DDS keeps the buffers of the largest messages that came, as many as fit into the history,
    for as long as the subscription lives: it is made anew once no more of them come.

    Args:
        make: makes the subscription.
        most_bytes: the most that is kept of a message, asked for each.
    """

    def __init__(self, make: Callable[[], Subscription], most_bytes: Callable[[], int]) -> None:
        self._make, self._most_bytes = make, most_bytes
        self._large_s = math.inf  # when the newest message came that was too large, steady clock
        self.subscription = make()

    def take(self, *, identified: bool) -> None:
        """Give the next message to the callback; without its bytes where it is too large."""
        taken = take(self.subscription, self._most_bytes(), identified=identified)
        if taken is None:
            return
        if taken.data is None:
            self._large_s = time.monotonic()
        self.subscription.callback(taken)

    @property
    def is_due(self) -> bool:
        """Whether to make the subscription anew."""
        return time.monotonic() - self._large_s >= _RENEW_AFTER_S

    def renew(self, node: Node) -> None:
        """Make it anew, and give back the memory of what was too large; nobody waits for it."""
        node.destroy_subscription(self.subscription)
        give_back()
        self._large_s = math.inf
        self.subscription = self._make()


def _taken(subscription: Subscription) -> Any:
    """Return the next message, or its bytes where the subscription is raw; None: there is none."""
    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    return None if taken is None else taken[0]
