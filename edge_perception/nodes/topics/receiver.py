"""Takes the messages of a node's data topics in a thread of its own, beside the executor.

The executor of rclpy makes its wait set anew for every message, out of all entities of all nodes:
the services and parameters of a composed process cost more there than the message does, and hold
the GIL meanwhile. This wait set holds the data topics alone. It also keeps data flowing while a
service callback works.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from edge_perception.cdr import CdrError
from edge_perception.encoders.arrivals import Arrivals
from edge_perception.nodes.topics import raw
from edge_perception.nodes.topics.taking import Taken, give_back, take, tells_publishers

_LOOK_S = 1.0  # a thread that nobody wakes looks whether it is to end
_RENEW_AFTER_S = 1.0  # without another message that is too large


class BesideExecutor(CallbackGroup):
    """Keeps its entities out of the executor.

    Also the QoS events of its subscriptions: an executor that waits for them is woken by the data.
    """

    def can_execute(self, entity: Any) -> bool:  # noqa: ARG002
        """Say no."""
        return False

    def beginning_execution(self, entity: Any) -> bool:  # noqa: ARG002
        """Say no."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """A second subscription of a topic, for publishers that offer another durability."""

    type_name: str
    topic: str
    callback: Callable[[Any], None]
    qos: QoSProfile
    on_refused: Callable[[CdrError], None]


@dataclass(kw_only=True)
class _Bound:
    """A subscription whose messages have a greatest size.

    Fast DDS keeps the buffers of the largest messages that came, as many as fit into the history,
    for as long as the subscription lives: it is made anew once no more of them come.
    """

    make: Callable[[], Subscription]
    most_bytes: Callable[[], int]
    large_s: float = math.inf  # when the newest message came that was too large, steady clock

    def is_due(self) -> bool:
        return time.monotonic() - self.large_s >= _RENEW_AFTER_S


class Receiver:
    """Subscriptions of one node, taken by one thread from `start` to `stop`.

    Args:
        node: makes the subscriptions.
        on_error: takes what a callback raises; the thread goes on with the next message.
    """

    def __init__(self, node: Node, *, on_error: Callable[[Exception], None]) -> None:
        self._node, self._on_error = node, on_error
        self._group = BesideExecutor()
        self._subscriptions: list[Subscription] = []
        self._received: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._bounds: dict[Subscription, _Bound] = {}
        self._counted: set[Subscription] = set()
        self._read_in_place: set[Subscription] = set()  # their callbacks take any buffer
        self._besides: list[_Beside] = []
        self._identified = False
        self._wake = node.create_guard_condition(lambda: None, callback_group=self._group)
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name=f"{node.get_name()}_receive", daemon=True
        )

    def subscribe(
        self,
        type_name: str,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        *,
        on_refused: Callable[[CdrError], None],
        overriding: QoSOverridingOptions | None = None,
        beside: DurabilityPolicy | None = None,
    ) -> None:
        """Subscribe as `raw.subscribe` does; the callback runs in the thread. Before `start`.

        With `beside` the topic is subscribed once more, with that durability, as soon
        as `look` finds a publisher that offers it: one subscription for both would either not be
        given what was published before it, or not hear those who keep nothing. What both hear
        comes twice.
        """
        subscription = raw.subscribe(
            self._node,
            type_name,
            topic,
            callback,
            qos,
            on_refused=on_refused,
            overriding=overriding,
            callback_group=self._group,
            event_callbacks=self._lost_of(self._node.resolve_topic_name(topic)),
        )
        self._subscriptions.append(subscription)
        self._counted.add(subscription)
        self._read_in_place.add(subscription)
        if beside is not None:
            profile = QoSProfile(depth=qos.depth, durability=beside)
            if beside == DurabilityPolicy.VOLATILE:  # hears everybody, kept or not
                profile.reliability = ReliabilityPolicy.BEST_EFFORT
            self._besides.append(
                _Beside(
                    type_name=type_name,
                    topic=topic,
                    callback=callback,
                    qos=profile,
                    on_refused=on_refused,
                )
            )

    def look(self) -> None:
        """Subscribe beside what is subscribed, where somebody offers it by now; from one thread."""
        for wanted in [each for each in self._besides if self._is_offered(each)]:
            self._besides.remove(wanted)
            subscription = raw.subscribe(
                self._node,
                wanted.type_name,
                wanted.topic,
                wanted.callback,
                wanted.qos,
                on_refused=wanted.on_refused,
                callback_group=self._group,
                # That others on the topic do not offer it is why this one is beside.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
            self._read_in_place.add(subscription)
            self._subscriptions = [*self._subscriptions, subscription]
            self._wake.trigger()

    def _is_offered(self, wanted: _Beside) -> bool:
        name = self._node.resolve_topic_name(wanted.topic)
        return any(
            info.qos_profile.durability == wanted.qos.durability
            # What was published before is given to reliable subscriptions only.
            and wanted.qos.reliability
            in (ReliabilityPolicy.BEST_EFFORT, info.qos_profile.reliability)
            for info in self._node.get_publishers_info_by_topic(name)
        )

    def _lost_of(self, topic: str) -> SubscriptionEventCallbacks | None:
        """Count what was sent and did not arrive, where the middleware tells (Fast DDS does)."""

        def on_lost(event: Any) -> None:
            self._lost[topic] = event.total_count

        self._received[topic] = self._lost[topic] = 0
        return SubscriptionEventCallbacks(message_lost=on_lost)

    def arrivals(self) -> dict[str, Arrivals]:
        """Return what came and what got lost on each topic of `subscribe`, since its start."""
        return {
            topic: Arrivals(received=count, lost=self._lost[topic])
            for topic, count in list(self._received.items())
        }

    def subscribe_serialized(
        self, message: type, topic: str, callback: Callable[[bytes], None], qos: QoSProfile
    ) -> None:
        """Subscribe; the callback gets the bytes of each message. Before `start`."""
        subscription = self._node.create_subscription(
            message, topic, callback, qos, raw=True, callback_group=self._group
        )
        self._subscriptions.append(subscription)

    def subscribe_bounded(
        self,
        message: type,
        topic: str,
        callback: Callable[[Taken], None],
        qos: QoSProfile,
        *,
        most_bytes: Callable[[], int],
    ) -> None:
        """Subscribe; the callback gets each message with its publisher. Before `start`.

        Args:
            message: class of the messages.
            topic: name of the topic.
            callback: takes what came; without its bytes where it was larger than allowed.
            qos: profile of the subscription.
            most_bytes: the most that is kept of a message, asked for each.
        """

        def make() -> Subscription:
            return self._node.create_subscription(
                message, topic, callback, qos, raw=True, callback_group=self._group
            )

        subscription = make()
        self._subscriptions.append(subscription)
        self._bounds[subscription] = _Bound(make=make, most_bytes=most_bytes)

    def start(self) -> None:
        """Start the thread."""
        self._identified = tells_publishers(self._node, "/diagnostics")
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the callback in progress, and unsubscribe; twice is fine."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.trigger()
        if self._thread.is_alive():
            self._thread.join()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._besides.clear()
        self._counted.clear()
        self._read_in_place.clear()
        self._bounds.clear()
        self._node.destroy_guard_condition(self._wake)

    def _run(self) -> None:
        while not self._stopping and self._node.context.ok():
            self._run_with(self._subscriptions)
            if not self._stopping:
                self._renew()

    def _renew(self) -> None:
        """Make the subscriptions anew that hold the memory of messages that were too large."""
        for subscription in [each for each, bound in self._bounds.items() if bound.is_due()]:
            bound = self._bounds.pop(subscription)
            kept = [each for each in self._subscriptions if each is not subscription]
            self._node.destroy_subscription(subscription)
            give_back()
            bound.large_s = math.inf
            subscription = bound.make()
            self._bounds[subscription] = bound
            self._subscriptions = [*kept, subscription]

    def _run_with(self, subscriptions: list[Subscription]) -> None:
        """Take messages until the end, or until there are other subscriptions."""
        context = self._node.context
        handles = [subscription.handle for subscription in subscriptions]
        events = [event for each in subscriptions for event in each.event_handlers]
        with ExitStack() as held:
            for used in (*handles, *events, self._wake.handle, context.handle):
                held.enter_context(used)
            waiting = rclpy_implementation.WaitSet(
                len(handles), 1, 0, 0, 0, len(events), context.handle
            )
            while not self._stopping and subscriptions is self._subscriptions and context.ok():
                waiting.clear_entities()
                for handle in handles:
                    waiting.add_subscription(handle)
                for event in events:
                    event.add_to_wait_set(waiting)
                waiting.add_guard_condition(self._wake.handle)
                waiting.wait(round(_LOOK_S * 1e9))
                if self._stopping or any(bound.is_due() for bound in self._bounds.values()):
                    break
                ready = waiting.get_ready_entities("subscription")
                for subscription in subscriptions:
                    if subscription.handle.pointer in ready:
                        self._take(subscription)
                for event in events:
                    if event.is_ready(waiting):
                        self._take_event(event)

    def _take_event(self, event: Any) -> None:
        try:
            event.callback(event.take_data())
        except Exception as error:
            self._on_error(error)

    def _take(self, subscription: Subscription) -> None:
        try:
            bound = self._bounds.get(subscription)
            if bound is not None:
                bounded = take(subscription, bound.most_bytes(), identified=self._identified)
                if bounded is not None:
                    if bounded.data is None:
                        bound.large_s = time.monotonic()
                    subscription.callback(bounded)
                return
            message = self._next(subscription)
            if message is not None:  # another reader of the same data may have been faster
                if subscription in self._counted:
                    self._received[subscription.topic_name] += 1
                subscription.callback(message)
        except Exception as error:
            self._on_error(error)

    def _next(self, subscription: Subscription) -> Any:
        """Return the next message, or its bytes; None: there is none."""
        if subscription.raw and subscription in self._read_in_place:
            taken = take(subscription, sys.maxsize, identified=self._identified)
            return None if taken is None else taken.data
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        return None if taken is None else taken[0]
