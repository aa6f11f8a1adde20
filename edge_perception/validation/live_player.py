"""Plays a recording into nodes that run already: waits for them, sends, counts what came.

Strict: inputs are reliable and paced by what comes (`live_pacing`); a dropped frame is a failure.
Tolerant: real time, drops are told.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.stamps import NS, read_stamp_ns, with_stamp_ns
from edge_perception.replay.binding import Binding
from edge_perception.running.vehicle_plan import VehiclePlan
from edge_perception.validation.live_pacing import LiveReplayError, Pacer, StreamLag

MOST_PARTS = 1000  # of a stream that queues hold while the nodes get no core
READY_S = 60.0
QUIET_S = 0.5
_MODES = ("NONE", "MINIMAL", "DEGRADED", "FULL")
_FUSED, _FEATURE = "edge_perception/msg/FusedPerception", "edge_perception/msg/Feature"
Record = Mapping[str, Any]


@dataclass(kw_only=True)
class LiveResult:
    """What the nodes published."""

    records: list[Record] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)  # frames by source
    features: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)  # by load control

    def lost(self, source: str) -> int:
        """Return how many frames of a source never reached its encoder."""
        if not Pacer.counts(source):
            return 0
        known = self.dropped.get(source, 0) + self.skipped.get(source, 0)
        return max(0, self.sent[source] - self.features[source] - known)


def play_into(
    bag: Recording,
    binding: Binding,
    plan: VehiclePlan,
    observer: Any,
    *,
    strict: bool,
    namespace: str = "",
    check: Callable[[], None] = lambda: None,
) -> LiveResult:
    """Wait for the nodes, play a recording into them and collect what they publish.

    Args:
        bag: what to play.
        binding: what its topics mean.
        plan: the sources.
        observer: a node of ours that spins.
        strict: pace by features; a lost frame is an error.
        namespace: of the nodes.
        check: called again and again; raises when going on is in vain.

    Raises:
        LiveReplayError: a frame was dropped (strict), or nothing came of one.
        NotReadyError: the nodes were not active in time.
    """
    from edge_perception.recordings.player import wait_for
    from edge_perception.recordings.ros_sink import RosSink

    prefix = f"{namespace.strip('/')}/" if namespace.strip("/") else ""
    listener = _Listener(observer.node, [source.name for source in plan.sources], prefix)
    topics = [bag.topics[name] for name in binding.topics]
    if strict:
        topics = [replace(t, qos=replace(t.qos, reliability="reliable")) for t in topics]
        streams = stream_topics(binding)
        topics = [
            replace(t, qos=replace(t.qos, depth=MOST_PARTS)) if t.name in streams else t
            for t in topics
        ]
    latched = {name for name, static in binding.transforms.items() if static}
    topics = [  # as tf2 offers them, whatever the recording kept of it
        replace(t, qos=replace(t.qos, reliability="reliable", durability="transient_local"))
        if t.name in latched
        else t
        for t in topics
    ]
    sink = RosSink(observer.node, topics, namespace=namespace, names=binding.names, with_clock=True)
    names = [f"{prefix}{source.name}_encoder" for source in plan.sources]
    observer.wait_active([*names, f"{prefix}fusion"], timeout_s=READY_S, check=check)
    if not wait_for(lambda: not sink.unheard() and listener.connected(), timeout_s=READY_S):
        raise LiveReplayError(f"nobody subscribes to {', '.join(sink.unheard()) or 'the output'}")
    sink.publish_clock(bag.start_ns)  # paused at the start
    _open_paths(bag, binding, sink, listener)
    pacer = Pacer(sink, listener, binding, bag.start_ns, strict=strict)
    for message in bag.messages(binding.topics):
        check()
        pacer.send(message)
    pacer.finish()
    result = listener.result()
    result.sent = pacer.sent
    if strict:
        lost = {name: n for name, n in result.dropped.items() if n}
        if lost:
            raise LiveReplayError(f"frames were dropped: {lost}")
    return result


def stream_topics(binding: Binding) -> set[str]:
    """Return the recorded topics whose messages are parts of a stream, such as blocks of audio."""
    return {topic for topic, source in binding.inputs.items() if not Pacer.counts(source)}


def _open_paths(bag: Recording, binding: Binding, sink: Any, listener: _Listener) -> None:
    """Send frames without a stamp until each source has refused one.

    Discovery of one side says nothing of the other: a frame sent too early is lost, and so is a
    feature nobody is known to wait for. A refusal that comes back proves both ways,
    and a frame without a stamp changes nothing else.

    Raises:
        LiveReplayError: a source never answered.
    """
    probes: dict[str, tuple[str, bytes]] = {}
    wanted = {name for name in binding.inputs.values() if Pacer.counts(name)}
    for message in bag.messages(tuple(binding.inputs)):
        source = binding.inputs[message.topic]
        if source in wanted:
            probes.setdefault(source, (message.topic, with_stamp_ns(message.data, 0)))
        if probes.keys() == wanted:
            break
    give_up_s = time.monotonic() + READY_S
    while silent := [name for name in probes if not listener.features[name]]:
        if time.monotonic() > give_up_s:
            raise LiveReplayError(f"no feature of {', '.join(silent)} within {READY_S:g} s")
        for name in silent:
            sink.publish(*probes[name])
        listener.wait(lambda: all(listener.features[name] for name in probes), QUIET_S)
    listener.wait(lambda: False, QUIET_S)  # answers to probes that were sent twice
    listener.begin()


class _Listener:
    """Counts features and keeps fused messages; raw, so that it costs little."""

    def __init__(self, node: Any, sources: Sequence[str], prefix: str) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        from edge_perception import msg

        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self._node = node
        self._condition = threading.Condition()
        self._fused: list[bytes] = []
        self._last: dict[str, bytes] = {}
        self.features: Counter[str] = Counter()
        self._before: dict[str, Any] = {}  # the newest feature before the recording, by source
        self.streams = {name: StreamLag() for name in sources if not Pacer.counts(name)}
        self._topics = [f"/{prefix}perception/fused", *(f"/{prefix}features/{n}" for n in sources)]
        node.create_subscription(
            msg.FusedPerception, self._topics[0], self._on_fused, qos, raw=True
        )
        for name, topic in zip(sources, self._topics[1:], strict=True):
            node.create_subscription(msg.Feature, topic, self._taker(name), qos, raw=True)

    def connected(self) -> bool:
        """Whether all publishers we listen to are there."""
        return all(self._node.count_publishers(name) for name in self._topics)

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for features or fused messages until a condition holds."""
        with self._condition:
            return self._condition.wait_for(done, timeout_s)

    def begin(self) -> None:
        """Count from here on: what became of frames before is not the recording's."""
        with self._condition:
            self.features.clear()
            decoder = MessageDecoder()
            self._before = {n: decoder.decode(data, _FEATURE) for n, data in self._last.items()}

    def result(self) -> LiveResult:
        """Return what came, decoded."""
        decoder = MessageDecoder()
        last = {name: decoder.decode(data, _FEATURE) for name, data in self._last.items()}

        def since(field: str) -> dict[str, int]:
            return {
                name: int(getattr(feature, field)) - int(getattr(self._before.get(name), field, 0))
                for name, feature in last.items()
            }

        return LiveResult(
            records=[record_of_message(decoder.decode(data, _FUSED)) for data in self._fused],
            features=self.features,
            dropped=since("dropped"),
            skipped=since("skipped"),
        )

    def _on_fused(self, data: bytes) -> None:
        with self._condition:
            self._fused.append(bytes(data))
            self._condition.notify_all()

    def _taker(self, name: str) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            with self._condition:
                self.features[name] += 1
                self._last[name] = bytes(data)
                if name in self.streams:
                    self.streams[name].came(read_stamp_ns(self._last[name]))
                self._condition.notify_all()

        return take


def record_of_message(message: Any) -> Record:
    """Return what agreement looks at of a FusedPerception message."""
    return {
        "mode": _MODES[int(message.mode)],
        "sources": [
            {
                "source": str(status.source),
                "modality": str(status.modality),
                "contributed": bool(status.contributed),
                "stamp_ns": int(status.stamp.sec) * NS + int(status.stamp.nanosec),
            }
            for status in message.sources
        ],
        "objects": [
            {
                "class_name": str(item.class_name),
                "score": float(item.score),
                "center_m": [item.center.x, item.center.y, item.center.z],
            }
            for item in message.objects
        ],
    }
