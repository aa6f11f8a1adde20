"""The demo's own ROS node: waits for the nodes, records what they publish."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.recordings.writer import RecordingWriter, Topic

FUSED_TOPIC = "/perception/fused"
FUSED = Topic(name=FUSED_TOPIC, type="edge_perception/msg/FusedPerception")
_RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


class NotReadyError(EdgePerceptionError):
    """The nodes did not get ready in time."""


class Observer:
    """A ROS context of its own with one node, spinning in a thread; a context manager."""

    def __init__(self, *, domain_id: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = rclpy.create_node("demo", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="observer", daemon=True)
        self._writer: RecordingWriter | None = None
        self._lock = threading.Lock()  # guards the writer against its closing
        self._features: dict[str, Any] = {}
        self.collected: dict[tuple[str, int], bytes] = {}

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):  # the end of the demo
            self._executor.spin()

    def record(self, path: Path) -> None:
        """Record the fused messages, as they come over the wire, until `finish`."""
        self._writer = RecordingWriter(path)
        self._writer.add_topic(FUSED)
        self.node.create_subscription(
            msg.FusedPerception, FUSED_TOPIC, self._on_fused, _RELIABLE, raw=True
        )

    def collect(
        self, recorded_stamp: Callable[[int], int | None], wanted: Mapping[str, set[int]]
    ) -> None:
        """Keep the features of some moments in `collected`.

        Args:
            recorded_stamp: from a stamp of the run to that of the recording; None: not yet known.
            wanted: by source, recorded stamps to keep; the subscription ends when all are there.
        """
        for source, stamps in wanted.items():
            self._features[source] = self.node.create_subscription(
                msg.Feature,
                f"/features/{source}",
                self._collector(source, recorded_stamp, set(stamps)),
                _RELIABLE,
                raw=True,
            )

    def wait_active(
        self, names: Collection[str], *, timeout_s: float, check: Callable[[], None]
    ) -> None:
        """Wait until lifecycle nodes are active.

        Args:
            names: of the nodes.
            timeout_s: how long.
            check: called again and again; raises when waiting is in vain.

        Raises:
            NotReadyError: some were not active in time; the text names them.
        """
        end = time.monotonic() + timeout_s
        clients = {n: self.node.create_client(GetState, f"/{n}/get_state") for n in names}
        states = dict.fromkeys(names, "not there")
        try:
            while any(state != "active" for state in states.values()):
                check()
                if time.monotonic() > end:
                    waiting = {n: s for n, s in states.items() if s != "active"}
                    raise NotReadyError(
                        f"nodes: expected active within {timeout_s:g} s, got "
                        + ", ".join(f"{n} {s}" for n, s in waiting.items())
                    )
                for name, state in states.items():
                    if state != "active":
                        states[name] = self._state(clients[name])
                time.sleep(0.05)
        finally:
            for client in clients.values():
                self.node.destroy_client(client)

    def hears_fused(self) -> bool:
        """Whether fusion's publisher is known."""
        return self.node.count_publishers(FUSED_TOPIC) > 0

    def finish(self) -> None:
        """Stop recording and complete the file."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _on_fused(self, data: bytes) -> None:
        now_ns = time.time_ns()
        with self._lock:
            if self._writer is not None:
                self._writer.write(FUSED_TOPIC, data, log_time_ns=now_ns)

    def _collector(
        self, source: str, recorded_stamp: Callable[[int], int | None], wanted: set[int]
    ) -> Callable[[bytes], None]:
        def on_feature(data: bytes) -> None:
            stamp_ns = recorded_stamp(read_stamp_ns(data))
            if stamp_ns in wanted:
                self.collected[source, stamp_ns] = data
                wanted.discard(stamp_ns)
                if not wanted:
                    self.node.destroy_subscription(self._features.pop(source))

        return on_feature

    def _state(self, client: Any) -> str:
        if not client.service_is_ready():
            return "not there"
        done = threading.Event()
        future = client.call_async(GetState.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(1.0) or future.result() is None:
            client.remove_pending_request(future)
            return "silent"
        state = future.result().current_state
        return "active" if state.id == State.PRIMARY_STATE_ACTIVE else str(state.label)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.discard()
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(timeout=2.0)
        self.node.destroy_node()
        self._context.try_shutdown()


def write_features(path: Path, collected: Mapping[tuple[str, int], bytes]) -> None:
    """Write collected features, by source and recorded stamp, as a recording of their own."""
    with RecordingWriter(path) as writer:
        for source in sorted({source for source, _ in collected}):
            writer.add_topic(Topic(name=f"/features/{source}", type="edge_perception/msg/Feature"))
        for (source, stamp_ns), data in sorted(collected.items(), key=lambda item: item[0][1]):
            writer.write(f"/features/{source}", data, log_time_ns=stamp_ns)
