"""Takes the messages of a node's data topics in a thread of its own, beside the executor.

The executor of rclpy makes its wait set anew for every message, out of all entities of all nodes:
the services and parameters of a composed process cost more there than the message does, and hold
the GIL meanwhile. This wait set holds the data topics alone. It also keeps data flowing while a
service callback works.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from edge_perception.cdr import CdrError
from edge_perception.encoders.arrivals import Arrivals
from edge_perception.nodes.topics import raw
from edge_perception.nodes.topics.durability import OtherDurability
from edge_perception.nodes.topics.readers import (
    ArrivalCounter,
    BoundedReader,
    BytesReader,
    InPlaceReader,
    Reader,
)
from edge_perception.nodes.topics.taking import Taken, tells_publishers

_LOOK_S = 1.0  # a thread that nobody wakes looks whether it is to end


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


class Receiver:
    """Subscriptions of one node, taken by one thread from `start` to `stop`.

    Args:
        node: makes the subscriptions.
        on_error: takes what a callback raises; the thread goes on with the next message.
    """

    def __init__(self, node: Node, *, on_error: Callable[[Exception], None]) -> None:
        self._node, self._on_error = node, on_error
        self._group = BesideExecutor()
        self._readers: tuple[Reader, ...] = ()  # another one when a subscription is added
        self._counters: dict[str, ArrivalCounter] = {}
        self._others: list[OtherDurability] = []
        self._identified = False
        self._wake = node.create_guard_condition(lambda: None, callback_group=self._group)
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name=f"{node.get_name()}_receive", daemon=True
        )

    # -- before `start` --

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
        """Subscribe as `raw.subscribe` does; the callback runs in the thread.

        With `beside` the topic is subscribed once more, with that durability, as soon as `look`
        finds a publisher that offers it. What both subscriptions hear comes twice.
        """
        make = functools.partial(
            raw.subscribe,
            self._node,
            type_name,
            topic,
            callback,
            on_refused=on_refused,
            callback_group=self._group,
        )
        counter = self._counters[self._node.resolve_topic_name(topic)] = ArrivalCounter()
        events = SubscriptionEventCallbacks(message_lost=counter.on_lost)
        subscription = make(qos=qos, overriding=overriding, event_callbacks=events)
        self._add(InPlaceReader(subscription, counter))
        if beside is not None:
            # That others on the topic do not offer it is why this one is beside.
            silent = SubscriptionEventCallbacks(use_default_callbacks=False)
            self._others.append(
                OtherDurability(
                    self._node,
                    topic,
                    depth=qos.depth,
                    durability=beside,
                    make=lambda profile: make(qos=profile, event_callbacks=silent),
                )
            )

    def subscribe_serialized(
        self, message: type, topic: str, callback: Callable[[bytes], None], qos: QoSProfile
    ) -> None:
        """Subscribe; the callback gets the bytes of each message."""
        self._add(BytesReader(self._made(message, topic, callback, qos)))

    def subscribe_bounded(
        self,
        message: type,
        topic: str,
        callback: Callable[[Taken], None],
        qos: QoSProfile,
        *,
        most_bytes: Callable[[], int],
    ) -> None:
        """Subscribe; the callback gets each message with its publisher.

        Args:
            message: class of the messages.
            topic: name of the topic.
            callback: takes what came; without its bytes where it was larger than allowed.
            qos: profile of the subscription.
            most_bytes: the most that is kept of a message, asked for each.
        """
        make = functools.partial(self._made, message, topic, callback, qos)
        self._add(BoundedReader(make, most_bytes))

    def _made(self, message: type, topic: str, callback: Any, qos: QoSProfile) -> Subscription:
        return self._node.create_subscription(
            message, topic, callback, qos, raw=True, callback_group=self._group
        )

    def _add(self, reader: Reader) -> None:
        self._readers = (*self._readers, reader)

    # -- from start to stop --

    def start(self) -> None:
        """Start the thread."""
        self._identified = tells_publishers(self._node, "/diagnostics")
        self._thread.start()

    def look(self) -> None:
        """Subscribe beside what is subscribed, where somebody offers it by now; from one thread."""
        for other in [each for each in self._others if each.is_offered]:
            self._others.remove(other)
            self._add(InPlaceReader(other.subscribe()))
            self._wake.trigger()

    def arrivals(self) -> dict[str, Arrivals]:
        """Return what came and what got lost on each topic of `subscribe`, since its start."""
        return {topic: counter.arrivals for topic, counter in self._counters.items()}

    def stop(self) -> None:
        """End the thread after the callback in progress, and unsubscribe; twice is fine."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.trigger()
        if self._thread.is_alive():
            self._thread.join()
        for reader in self._readers:
            self._node.destroy_subscription(reader.subscription)
        self._readers = ()
        self._others.clear()
        self._node.destroy_guard_condition(self._wake)

    # -- the thread --

    def _run(self) -> None:
        while not self._stopping and self._node.context.ok():
            self._run_with(self._readers)
            if not self._stopping:
                for reader in self._due():
                    reader.renew(self._node)

    def _due(self) -> list[BoundedReader]:
        return [each for each in self._readers if isinstance(each, BoundedReader) and each.is_due]

    def _run_with(self, readers: Sequence[Reader]) -> None:
        """Take messages until the end, or until there are other subscriptions."""
        context = self._node.context
        subscriptions = [reader.subscription for reader in readers]
        handles = [subscription.handle for subscription in subscriptions]
        events = [event for each in subscriptions for event in each.event_handlers]
        with ExitStack() as held:
            for used in (*handles, *events, self._wake.handle, context.handle):
                held.enter_context(used)
            waiting = rclpy_implementation.WaitSet(
                len(handles), 1, 0, 0, 0, len(events), context.handle
            )
            while not self._stopping and readers is self._readers and context.ok():
                waiting.clear_entities()
                for handle in handles:
                    waiting.add_subscription(handle)
                for event in events:
                    event.add_to_wait_set(waiting)
                waiting.add_guard_condition(self._wake.handle)
                waiting.wait(round(_LOOK_S * 1e9))
                if self._stopping or self._due():
                    break
                ready = waiting.get_ready_entities("subscription")
                for reader in readers:
                    if reader.subscription.handle.pointer in ready:
                        self._take(reader)
                for event in events:
                    if event.is_ready(waiting):
                        self._take_event(event)

    def _take(self, reader: Reader) -> None:
        try:
            reader.take(identified=self._identified)
        except Exception as error:
            self._on_error(error)

    def _take_event(self, event: Any) -> None:
        try:
            event.callback(event.take_data())
        except Exception as error:
            self._on_error(error)
