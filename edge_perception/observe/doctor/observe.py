"""Looks at a running system from outside: the ROS graph, headers, diagnostics and parameters."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from edge_perception import msg
from edge_perception.core.errors import InvalidFrameError
from edge_perception.observe.doctor.observation import Diagnosis, Endpoint, Input, Observation
from edge_perception.recordings.definitions import message_class, starts_with_header
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.running.transport import CHOICES, choose_transport

ENCODER = "_encoder"
CALIBRATION = "sensor_msgs/msg/CameraInfo"
# OMG's list of vendor ids, https://www.dds-foundation.org/dds-rtps-vendor-and-product-ids/
VENDORS = {0x010F: "Fast DDS", 0x0110: "Cyclone DDS", 0x0101: "Connext", 0x0106: "Connext Micro"}
# RTPS 2.5, 9.6.1.1: port = 7400 + 250 x domain + offset
_PORT_BASE, _DOMAIN_GAIN, _MAX_DOMAIN = 7400, 250, 232
_MAX_STAMPS = 200


def observe(
    *, domain_id: int | None = None, namespace: str = "", watch_s: float = 3.0
) -> Observation:
    """Watch a system for a while.

    Args:
        domain_id: None: as the environment says.
        namespace: of the pipeline.
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
        return _Watch(node, executor, namespace).observe(watch_s)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()


class _Watch:
    def __init__(self, node: Any, executor: Any, namespace: str) -> None:
        self._node, self._executor = node, executor
        self._prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
        self._stamps: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._diagnostics: dict[str, Diagnosis] = {}
        self._fused = self._fused_valid = 0

    def observe(self, watch_s: float) -> Observation:
        node = self._node
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        node.create_subscription(
            msg.FusedPerception, f"{self._prefix}/perception/fused", self._on_fused, 10
        )
        self._spin(min(1.0, watch_s / 2))  # discovery
        inputs = self._inputs()
        for item in inputs:
            self._listen(item)
        self._spin(watch_s)
        names = [f"{ns.rstrip('/')}/{name}" for name, ns in node.get_node_names_and_namespaces()]
        ours = [name for name in names if name.endswith((ENCODER, "/fusion"))]
        return Observation(
            domain_id=node.context.get_domain_id(),
            nodes=tuple(name for name in names if not name.endswith("/doctor")),
            inputs=tuple(self._with_stamps(item) for item in self._inputs()),
            topics={
                name: tuple(types)
                for name, types in node.get_topic_names_and_types()
                if node.count_publishers(name)
            },
            sim_time={name: self._uses_sim_time(name) for name in ours},
            clock_publishers=node.count_publishers("/clock"),
            diagnostics=self._diagnostics,
            fused=self._fused,
            fused_valid=self._fused_valid,
            watched_s=watch_s,
            other_domains=domains_in_use(exclude=node.context.get_domain_id()),
            shared_memory_problem=shared_memory_problem(),
        )

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def _inputs(self) -> list[Input]:
        node, found = self._node, []
        for name, namespace in node.get_node_names_and_namespaces():
            if not name.endswith(ENCODER) or not namespace.startswith(self._prefix or "/"):
                continue
            for topic, types in node.get_subscriber_names_and_types_by_node(name, namespace):
                if topic in ("/clock", "/parameter_events") or not starts_with_header(types[0]):
                    continue
                mine = [
                    _endpoint(info)
                    for info in node.get_subscriptions_info_by_topic(topic)
                    if info.node_name == name
                ]
                if not mine:
                    continue
                found.append(
                    Input(
                        source=name.removesuffix(ENCODER),
                        node=f"{namespace.rstrip('/')}/{name}",
                        topic=topic,
                        subscription=mine[0],
                        publishers=tuple(
                            _endpoint(info) for info in node.get_publishers_info_by_topic(topic)
                        ),
                        calibration=CALIBRATION in types,
                    )
                )
        return found

    def _listen(self, item: Input) -> None:
        """Read only the stamps of a topic, as raw bytes, in a way every publisher can serve."""
        if not item.publishers:
            return
        stamps = self._stamps[item.topic]

        def on_message(data: bytes) -> None:
            if len(stamps) < _MAX_STAMPS:
                try:
                    stamps.append((read_stamp_ns(data), time.time_ns()))
                except InvalidFrameError:
                    return  # not a message with a header; the encoder says what is wrong with it

        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(
            message_class(item.publishers[0].type), item.topic, on_message, best_effort, raw=True
        )

    def _with_stamps(self, item: Input) -> Input:
        return replace(item, stamps=tuple(self._stamps.get(item.topic, ())))

    def _uses_sim_time(self, name: str) -> bool:
        client = self._node.create_client(GetParameters, f"{name}/get_parameters")
        if not client.wait_for_service(1.0):
            return False
        future = client.call_async(GetParameters.Request(names=["use_sim_time"]))
        self._executor.spin_until_future_complete(future, timeout_sec=2.0)
        result = future.result() if future.done() else None
        return bool(result and result.values and result.values[0].bool_value)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            self._diagnostics[status.name] = Diagnosis(
                level=status.level[0],
                message=status.message,
                values={item.key: item.value for item in status.values},
            )

    def _on_fused(self, message: msg.FusedPerception) -> None:
        self._fused += 1
        self._fused_valid += message.valid


def _endpoint(info: Any) -> Endpoint:
    gid = bytes(info.endpoint_gid)
    return Endpoint(
        node=f"{info.node_namespace.rstrip('/')}/{info.node_name}",
        type=info.topic_type,
        reliable=info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
        transient_local=info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        vendor=VENDORS.get(int.from_bytes(gid[:2], "big"), ""),
    )


def domains_in_use(*, exclude: int, table: str | None = None) -> tuple[int, ...]:
    """Return ROS domains with a participant on this machine, from the UDP ports that are bound.

    Args:
        exclude: a domain to leave out.
        table: text of /proc/net/udp; None: read it. Empty where the system has none.
    """
    if table is None:
        path = Path("/proc/net/udp")
        table = path.read_text() if path.exists() else ""
    ports = {
        int(port, 16) for port in re.findall(r"^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4})", table, re.M)
    }
    found = set()
    for port in ports:
        domain, offset = divmod(port - _PORT_BASE, _DOMAIN_GAIN)
        # Discovery: multicast at offset 0, unicast at 10 and every second port after it.
        if 0 <= domain <= _MAX_DOMAIN and (offset == 0 or 10 <= offset < 130) and domain != exclude:
            found.add(domain)
    return tuple(sorted(found))


def shared_memory_problem() -> str:
    """Say when large messages have no room; empty: they have, or another transport was chosen."""
    if any(os.environ.get(name) for name in CHOICES):
        return ""
    chosen = choose_transport(os.environ)
    return "" if chosen.variables or "MB needed" not in chosen.reason else chosen.reason
