"""Watches a running system for the terminal; a node of its own that only listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from edge_perception import msg
from edge_perception.nodes.topics.polled import PolledTopics
from edge_perception.observe.top.gather import Gather

_TAKE_S = 0.1


@contextmanager
def watching(namespace: str) -> Iterator[Callable[[float], dict[str, Any]]]:
    """Listen; yields what listens for some seconds more and returns the picture of then.

    Args:
        namespace: of the nodes; empty: the root.
    """
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("top", context=context, namespace=namespace or "/")
    topics, gather = PolledTopics(node), Gather()
    space = node.get_namespace().strip("/")
    prefix = f"{space}/" if space else ""

    def on_view(data: bytes) -> None:
        gather.on_view(deserialize_message(data, msg.FusedPerception), time.monotonic_ns())

    def on_diagnostics(data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            name = status.name.lstrip("/")
            # Parts of a node (`fusion: lidar`) say what the sources say already.
            if name.startswith(prefix) and not set(name.removeprefix(prefix)) & set("/: "):
                values = {item.key: item.value for item in status.values}
                gather.on_status(
                    name.removeprefix(prefix),
                    status.level[0],
                    status.message,
                    values,
                    time.monotonic_ns(),
                )

    def picture_after(seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            topics.take()
            left_s = end - time.monotonic()
            if left_s <= 0.0:
                return gather.picture(time.monotonic_ns())
            time.sleep(min(_TAKE_S, left_s))

    try:
        profile = QoSProfile(depth=64, reliability=ReliabilityPolicy.RELIABLE)
        topics.subscribe(msg.FusedPerception, "perception/fused", on_view, profile)
        topics.subscribe(DiagnosticArray, "/diagnostics", on_diagnostics, profile)
        yield picture_after
    finally:
        topics.close()
        node.destroy_node()
        context.try_shutdown()
