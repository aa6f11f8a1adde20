"""Who publishes a topic, as the graph says: names for identities, and publishers too many."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

from edge_perception.core.health import Health, Level
from edge_perception.core.ros_names import NODE_NAME_UNKNOWN

_LOOK_S = 0.1  # an answer of the graph is good for so long
# A process that was killed stays in the graph until its lease ends: 20 s with Fast DDS's defaults.
GONE_AFTER_S = 25.0


class Endpoints:
    """The publishers of one topic; asks the graph now and then. From any thread."""

    def __init__(self, node: Node, topic: str) -> None:
        self._node, self.topic = node, node.resolve_topic_name(topic)
        self._lock = threading.Lock()
        self._found: list[TopicEndpointInfo] = []
        self._looked_s = -_LOOK_S

    def found(self) -> list[TopicEndpointInfo]:
        """Return the publishers."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s >= _LOOK_S:
                self._found = self._node.get_publishers_info_by_topic(self.topic)
                self._looked_s = now_s
            return self._found

    def publisher(self, gid: bytes) -> GraphPublisher | None:
        """Return a publisher by its identity; None: messages do not tell theirs."""
        return GraphPublisher(gid=gid, endpoints=self) if any(gid) else None


@dataclass(frozen=True, kw_only=True)
class GraphPublisher:
    """A publisher, known by its identity in the middleware."""

    gid: bytes
    endpoints: Endpoints = field(compare=False, repr=False)

    def name(self) -> str:
        """Return the node's name and a part of the identity: two launches share names."""
        names = (full_name(i) for i in self.endpoints.found() if bytes(i.endpoint_gid) == self.gid)
        return f"{next(names, 'a node that is gone')} [{self.gid[4:8].hex()}]"

    def present(self) -> bool:
        """Whether the graph still has it."""
        return any(bytes(info.endpoint_gid) == self.gid for info in self.endpoints.found())


def full_name(info: TopicEndpointInfo) -> str:
    """Return the fully qualified name of the node of an endpoint, or that it is not known yet."""
    if info.node_name == NODE_NAME_UNKNOWN:
        return "a node that has not told its name yet"
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


class Rivals:
    """Notices that somebody else does what only one node may do, such as a second launch."""

    CHECK_S = 1.0

    def __init__(self, node: Node) -> None:
        self._node = node
        self._topics: dict[str, Endpoints] = {}
        self._texts: tuple[str, ...] = ()
        self._since_s: float | None = None
        self._checked_s = -self.CHECK_S

    def watch(self, topic: str) -> None:
        """Watch a topic that one publisher may serve."""
        self._topics[topic] = Endpoints(self._node, topic)

    def findings(self) -> list[Health]:
        """Return what is wrong now: a warning at first, an error once it cannot be a ghost."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= self.CHECK_S:
            self._checked_s = now_s
            self._texts = (*self._doubled_name(), *self._doubled_topics())
            if not self._texts:
                self._since_s = None
            elif self._since_s is None:
                self._since_s = now_s
        if self._since_s is None:
            return []
        held_s = now_s - self._since_s
        if held_s < GONE_AFTER_S:
            note = "a second launch, or one that was killed just now"
            return [Health(level=Level.WARN, message=f"{text}: {note}") for text in self._texts]
        return [
            Health(level=Level.ERROR, message=f"{text} for {held_s:.0f} s: a second launch")
            for text in self._texts
        ]

    def _doubled_name(self) -> list[str]:
        own = (self._node.get_name(), self._node.get_namespace())
        count = sum(item == own for item in self._node.get_node_names_and_namespaces())
        name = self._node.get_fully_qualified_name()
        return [f"{count} nodes are called {name}"] if count > 1 else []

    def _doubled_topics(self) -> list[str]:
        return [
            f"{endpoints.topic} has {len(found)} publishers ({', '.join(map(full_name, found))})"
            for endpoints in self._topics.values()
            if len(found := endpoints.found()) > 1
        ]


class SharedInputs:
    """Notices that several publishers serve one sensor's topic: their frames mix."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._since_s: dict[str, float] = {}

    def findings(self, topics: Iterable[str]) -> list[Health]:
        """Return a warning for each topic that is shared for longer than a ghost can last."""
        now_s, found = time.monotonic(), []
        for topic in topics:
            name = self._node.resolve_topic_name(topic)
            if self._node.count_publishers(name) < 2:  # ten times cheaper than who they are
                self._since_s.pop(topic, None)
                continue
            if now_s - self._since_s.setdefault(topic, now_s) >= GONE_AFTER_S:
                publishers = self._node.get_publishers_info_by_topic(name)
                names = ", ".join(sorted(map(full_name, publishers)))
                text = f"{name} has {len(publishers)} publishers ({names}): frames mix"
                found.append(Health(level=Level.WARN, message=text))
        return found
