"""Waits until the ROS graph stands still, and says what is in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from edge_perception.core.ros_names import NODE_NAME_UNKNOWN
from edge_perception.observe.doctor.machine import participants
from edge_perception.observe.doctor.observation import Endpoint, Input
from edge_perception.recordings.definitions import starts_with_header

ENCODER, FUSION, MANAGER = "_encoder", "fusion", "model_manager"
_SERVES = "edge_perception/srv/GetVersions"
CALIBRATION = "sensor_msgs/msg/CameraInfo"
SETTLED_S = 1.0  # nothing has changed for so long: discovery is done
ALONE_S = 3.5  # without another participant: they announce themselves every 3 s
LONGEST_S = 8.0  # on a busy machine; then what is known counts
_ANSWER_S = 2.0
_STEP_S = 0.05
_PARTICIPANT_BYTES = 12  # of a GID (RTPS 2.5, 9.3.1): its participant
_ON_ITS_WAY = ("configuring", "activating", "deactivating", "cleaningup", "")
_WANTED = {ENCODER: ("use_sim_time", "rate_hz", "model"), FUSION: ("use_sim_time", "model")}
# OMG's list of vendor ids, https://www.dds-foundation.org/dds-rtps-vendor-and-product-ids/
VENDORS = {0x010F: "Fast DDS", 0x0110: "Cyclone DDS", 0x0101: "Connext", 0x0106: "Connext Micro"}


class Graph:
    """The graph as a node of ours sees it.

    Args:
        node: the node.
        executor: spins it.
        namespace: of the pipeline; empty: the one there is.
    """

    def __init__(self, node: Any, executor: Any, namespace: str) -> None:
        self._node, self._executor = node, executor
        self._wanted = namespace.strip("/")
        self.namespace = f"/{self._wanted}" if self._wanted else ""
        self.states: dict[str, str] = {}
        self.parameters: dict[str, dict[str, object]] = {}

    # -- waiting --

    def settle(self) -> None:
        """Wait until nothing new has been discovered for a while, and ask the nodes."""
        began = time.monotonic()
        quiet_since, last = began, None
        while (now := time.monotonic()) - began < LONGEST_S:
            self.spin(_STEP_S)
            seen = self._fingerprint()
            if seen != last:
                quiet_since, last = now, seen
            elif now - quiet_since >= SETTLED_S and self._complete(now - began):
                self._choose_namespace()
                self._ask()
                if not any(state in _ON_ITS_WAY for state in self.states.values()):
                    break
        self._choose_namespace()
        self._ask()

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def _fingerprint(self) -> object:
        node = self._node
        topics = [
            (name, node.count_publishers(name), node.count_subscribers(name))
            for name, _ in node.get_topic_names_and_types()
        ]
        return sorted(self.names()), sorted(topics)

    def _complete(self, waited_s: float) -> bool:
        """Whether all participants of this machine are known, and the nodes of all endpoints."""
        node = self._node
        endpoints = [
            info
            for name, _ in node.get_topic_names_and_types()
            for info in (
                *node.get_publishers_info_by_topic(name),
                *node.get_subscriptions_info_by_topic(name),
            )
        ]
        known = {bytes(info.endpoint_gid)[:_PARTICIPANT_BYTES] for info in endpoints}
        if len(known) < participants(node.context.get_domain_id()):
            return False
        if any(info.node_name == NODE_NAME_UNKNOWN for info in endpoints):
            return False
        return len(known) > 1 or waited_s >= ALONE_S

    # -- nodes --

    def names(self) -> list[str]:
        """Return the names of all nodes but ours; one that is there twice comes twice."""
        mine = self._node.get_fully_qualified_name()
        found = [full(namespace, name) for name, namespace in self._listed()]
        return [name for name in found if name != mine]

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces with nodes of the pipeline."""
        return tuple(sorted({name.rpartition("/")[0] for name in self.names() if is_ours(name)}))

    def misnamed(self) -> list[str]:
        """Return the nodes that serve models, as ours do, and have none of the names."""
        end = "/get_versions"
        serving = (
            name.removesuffix(end)
            for name, types in self._node.get_service_names_and_types()
            if name.endswith(end) and _SERVES in types
        )
        return sorted(name for name in serving if not is_ours(name))

    def pipeline(self) -> list[str]:
        """Return our nodes in the namespace, each once."""
        found = {name for name in self.names() if is_ours(name)}
        return sorted(name for name in found if name.rpartition("/")[0] == self.namespace)

    def _listed(self) -> list[tuple[str, str]]:
        return list(self._node.get_node_names_and_namespaces())

    def _choose_namespace(self) -> None:
        found = self.namespaces()
        if not self._wanted and len(found) == 1:
            self.namespace = found[0]

    def _ask(self) -> None:
        """Ask all nodes at once for their state and parameters."""
        nodes = self.pipeline()
        self.states = dict.fromkeys(nodes, "")

        def state(name: str) -> Callable[[Any], None]:
            return lambda answer: self.states.update({name: answer.current_state.label})

        def values(name: str, wanted: Iterable[str]) -> Callable[[Any], None]:
            return lambda answer: self.parameters.update(
                {
                    name: dict(
                        zip(wanted, map(parameter_value_to_python, answer.values), strict=False)
                    )
                }
            )

        calls = [(GetState, f"{name}/get_state", GetState.Request(), state(name)) for name in nodes]
        sources = [n.rpartition("/")[2].removesuffix(ENCODER) for n in nodes if n.endswith(ENCODER)]
        for name in nodes:
            wanted = next(
                (w for end, w in _WANTED.items() if name.endswith(end)), ("use_sim_time",)
            )
            if name.endswith(FUSION):
                wanted = (*wanted, *(f"{source}.time_offset_s" for source in sources))
            request = GetParameters.Request(names=list(wanted))
            calls.append((GetParameters, f"{name}/get_parameters", request, values(name, wanted)))
        self._call(calls)

    def _call(self, calls: list[tuple[Any, str, Any, Callable[[Any], None]]]) -> None:
        clients = [self._node.create_client(type_, name) for type_, name, _, _ in calls]
        futures: list[Any] = [None] * len(calls)
        end = time.monotonic() + _ANSWER_S
        try:
            while time.monotonic() < end:
                for index, (client, call) in enumerate(zip(clients, calls, strict=True)):
                    if futures[index] is None and client.service_is_ready():
                        futures[index] = client.call_async(call[2])
                if all(future is not None and future.done() for future in futures):
                    break
                self.spin(_STEP_S)
            for future, call in zip(futures, calls, strict=True):
                if future is not None and future.done() and future.result() is not None:
                    call[3](future.result())
        finally:
            for client in clients:
                self._node.destroy_client(client)

    # -- topics --

    def inputs(self) -> list[Input]:
        """Return what the encoders of the namespace listen to."""
        found = []
        for name, namespace in sorted(set(self._listed())):
            if not name.endswith(ENCODER) or namespace.rstrip("/") != self.namespace:
                continue
            for topic, types in self._node.get_subscriber_names_and_types_by_node(name, namespace):
                if topic in ("/clock", "/parameter_events") or not starts_with_header(types[0]):
                    continue
                mine = [e for e in self._subscriptions(topic) if e.node == full(namespace, name)]
                if mine:
                    found.append(
                        Input(
                            source=name.removesuffix(ENCODER),
                            node=full(namespace, name),
                            topic=topic,
                            # Of one that asks twice the one that hears more.
                            subscription=min(mine, key=lambda e: (e.transient_local, e.reliable)),
                            publishers=tuple(self.publishers(topic)),
                            calibration=CALIBRATION in types,
                        )
                    )
        return found

    def outputs(self) -> dict[str, tuple[str, ...]]:
        """Return who publishes features and fused views in the namespace."""
        found = {}
        for topic, _ in self._node.get_topic_names_and_types():
            inside = topic.removeprefix(f"{self.namespace}/")
            if topic == f"{self.namespace}/{inside}" and (
                inside.startswith("features/") or inside == "perception/fused"
            ):
                nodes = tuple(sorted(endpoint.node for endpoint in self.publishers(topic)))
                if nodes:
                    found[topic] = nodes
        return found

    def published(self) -> dict[str, tuple[str, ...]]:
        """Return all topics that somebody publishes, with their types."""
        node = self._node
        return {
            name: tuple(types)
            for name, types in node.get_topic_names_and_types()
            if node.count_publishers(name)
        }

    def publishers(self, topic: str) -> list[Endpoint]:
        """Return who publishes a topic."""
        return [_endpoint(info) for info in self._node.get_publishers_info_by_topic(topic)]

    def _subscriptions(self, topic: str) -> list[Endpoint]:
        return [_endpoint(info) for info in self._node.get_subscriptions_info_by_topic(topic)]


def full(namespace: str, name: str) -> str:
    """Return a fully qualified name."""
    return f"{namespace.rstrip('/')}/{name}"


def is_ours(node: str) -> bool:
    """Whether a node is called as those of the pipeline."""
    name = node.rpartition("/")[2]
    return name.endswith(ENCODER) or name in (FUSION, MANAGER)


def _endpoint(info: Any) -> Endpoint:
    gid = bytes(info.endpoint_gid)
    return Endpoint(
        node=full(info.node_namespace, info.node_name),
        type=info.topic_type,
        reliable=info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
        transient_local=info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
        vendor=VENDORS.get(int.from_bytes(gid[:2], "big"), ""),
    )
