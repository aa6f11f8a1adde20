"""Looks at a running system from outside: the ROS graph, headers, diagnostics and parameters."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from edge_perception import msg
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import FusionLevel, SourceState
from edge_perception.nodes.topics.message_types import is_installed, message_type
from edge_perception.observe.doctor.discovery import Graph
from edge_perception.observe.doctor.machine import domains_in_use, shared_memory_problem
from edge_perception.observe.doctor.observation import (
    CLOCK,
    Diagnosis,
    Input,
    Observation,
    SourceSeen,
    View,
)
from edge_perception.recordings.stamps import NS, read_stamp_ns

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_EVERY = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)  # of several publishers
_MAX_STAMPS = 200
_MATCHED_S = 3.0  # until our subscriptions have found their publishers
_LOOK_S = 0.5  # for topics that come while watching


def observe(
    *, domain_id: int | None = None, namespace: str = "", watch_s: float = 3.0
) -> Observation:
    """Watch a system for a while, from the moment when discovery is done.

    Args:
        domain_id: None: as the environment says.
        namespace: of the pipeline; empty: the one there is.
        watch_s: how long to watch.
    """
    context = rclpy.Context()
    rclpy.init(
        args=[],
        context=context,
        domain_id=domain_id,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    node = rclpy.create_node("doctor", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        graph = Graph(node, executor, namespace)
        graph.settle()
        return _Watch(node, graph).observe(watch_s)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()


class _Watch:
    def __init__(self, node: Any, graph: Graph) -> None:
        self._node, self._graph = node, graph
        self._subscriptions: dict[str, Any] = {}
        self._stamps: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._clock_ns: dict[str, list[int]] = defaultdict(list)  # on /clock at each of them
        self._clock: list[tuple[int, int]] = []
        self._diagnostics: dict[str, Diagnosis] = {}
        self._views: list[View] = []

    def observe(self, watch_s: float) -> Observation:
        graph = self._graph
        self._listen()
        self._wait_until_matched()
        self._forget()
        end = time.monotonic() + watch_s
        while (left_s := end - time.monotonic()) > 0:
            graph.spin(min(left_s, _LOOK_S))
            self._listen()
        domain = self._node.context.get_domain_id()
        return Observation(
            domain_id=domain,
            nodes=tuple(sorted(graph.names())),
            misnamed=tuple(graph.misnamed()),
            namespace=graph.namespace,
            namespaces=graph.namespaces(),
            states=graph.states,
            parameters=graph.parameters,
            inputs=tuple(
                replace(
                    item,
                    stamps=tuple(self._stamps.get(item.topic, ())),
                    clock_ns=tuple(self._clock_ns.get(item.topic, ())),
                )
                for item in graph.inputs()
            ),
            topics=graph.published(),
            outputs=graph.outputs(),
            clock_publishers=tuple(sorted(p.node for p in graph.publishers(CLOCK))),
            clock=tuple(self._clock),
            diagnostics=dict(self._diagnostics),
            views=tuple(self._views),
            watched_s=watch_s,
            other_domains=domains_in_use(exclude=domain),
            shared_memory_problem=shared_memory_problem(),
        )

    def _listen(self) -> None:
        """Subscribe to what there is and is not yet subscribed."""
        self._subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        fused = f"{self._graph.namespace}/perception/fused"
        self._subscribe(msg.FusedPerception, fused, self._on_fused, 50)
        if self._graph.publishers(CLOCK):
            self._subscribe(Clock, CLOCK, self._on_clock, _EVERY, raw=True)
        for item in self._graph.inputs():
            if item.publishers:
                self._subscribe_stamps(item)

    def _subscribe_stamps(self, item: Input) -> None:
        """Read only the stamps of a topic, as raw bytes, in a way every publisher can serve.

        Of publishers of several types those count that the encoder hears; of a type that is not
        installed here, as drivers' own are, nothing can be heard.
        """
        types = {p.type for p in item.publishers}
        kind = item.subscription.type if item.subscription.type in types else min(types)
        if not is_installed(kind):
            return
        stamps, clock_ns = self._stamps[item.topic], self._clock_ns[item.topic]

        def on_message(data: bytes) -> None:
            if len(stamps) < _MAX_STAMPS:
                try:
                    stamps.append((read_stamp_ns(data), time.time_ns()))
                except InvalidFrameError:
                    return  # not a message with a header; the encoder says what is wrong with it
                clock_ns.append(self._clock[-1][0] if self._clock else 0)

        self._subscribe(message_type(kind), item.topic, on_message, _NEWEST, raw=True)

    def _subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: Any, **more: Any
    ) -> None:
        if topic not in self._subscriptions:
            self._subscriptions[topic] = self._node.create_subscription(
                kind, topic, callback, qos, **more
            )

    def _wait_until_matched(self) -> None:
        """A subscription hears nothing of a publisher that it has not found."""
        end = time.monotonic() + _MATCHED_S
        while time.monotonic() < end:
            self._graph.spin(0.05)
            if all(
                subscription.handle.get_publisher_count()
                >= sum(p.type == _type_of(subscription) for p in self._graph.publishers(topic))
                for topic, subscription in self._subscriptions.items()
            ):
                return

    def _forget(self) -> None:
        """What came before now does not count."""
        self._diagnostics.clear()
        self._views.clear()
        self._clock.clear()
        for stamps in self._stamps.values():
            stamps.clear()
        for times in self._clock_ns.values():
            times.clear()

    def _on_clock(self, data: bytes) -> None:
        try:
            # A Clock is a stamp and nothing else, so it lies where that of a header does.
            self._clock.append((read_stamp_ns(data), time.monotonic_ns()))
        except InvalidFrameError:
            return

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        stamp_ns = array.header.stamp.sec * NS + array.header.stamp.nanosec
        for status in array.status:
            values = {item.key: item.value for item in status.values}
            known = self._diagnostics.get(status.name)
            self._diagnostics[status.name] = Diagnosis(
                level=status.level[0],
                message=status.message,
                values=values,
                before=known.before if known else values,
                clock_s=(stamp_ns - time.time_ns()) / NS,
            )

    def _on_fused(self, message: msg.FusedPerception) -> None:
        self._views.append(
            View(
                valid=message.valid,
                reason=message.reason,
                level=_name(FusionLevel, message.level),
                level_reason=message.level_reason,
                sources=tuple(
                    SourceSeen(
                        name=status.source,
                        state=_name(SourceState, status.state),
                        reason=status.reason,
                        warning=status.warning,
                    )
                    for status in message.sources
                ),
            )
        )


def _name(kind: type[IntEnum], value: int) -> str:
    """Return the name of a value; anybody may publish any number."""
    return kind(value).name if value in list(kind) else str(value)


def _type_of(subscription: Any) -> str:
    module = subscription.msg_type.__module__.split(".")
    return f"{module[0]}/{module[1]}/{subscription.msg_type.__name__}"
