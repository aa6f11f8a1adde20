"""Sensors, an observer and a caller of the model manager, for `bench swap`."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from edge_perception import msg, srv
from edge_perception.bench._swap_check import FeatureSeen, FusedSeen, RunSeen
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.nodes.conversion import stamp_ns, time_msg
from edge_perception.nodes.topics import qos, raw

_RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
PERIODS_S = {"camera": 0.05, "lidar": 0.1, "audio": 0.1}
WIDTH, HEIGHT, POINTS = 512, 288, 12_000
AUDIO_RATE_HZ = 16_000
_ROLLBACK = "/model_manager/rollback_model"
_SETTLED_VIEWS = 5  # whose frames were played on time


class RigError(EdgePerceptionError):
    """The nodes did not do in time what the run needs."""


class SwapRig:
    """A ROS context of its own that plays a robot's drivers and watches the outputs."""

    def __init__(self, *, domain_id: int, run: RunSeen) -> None:
        self._run = run
        self._context = rclpy.Context()
        rclpy.init(
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = rclpy.create_node("bench_swap", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._publishers = {
            "camera": self.node.create_publisher(
                Image, "camera/image_raw", qos_profile_sensor_data
            ),
            "lidar": self.node.create_publisher(
                PointCloud2, "lidar/points", qos_profile_sensor_data
            ),
            "audio": self.node.create_publisher(msg.AudioChunk, "audio", 50),
        }
        self._info = self.node.create_publisher(
            CameraInfo, "camera/camera_info", qos_profile_sensor_data
        )
        self._messages = {"camera": _images(), "lidar": _clouds(), "audio": _chunks()}
        self._seen = threading.Event()
        self._told: Callable[[msg.ModelEvent], None] = lambda _event: None
        self.commits: dict[str, int] = {}
        self._clients: dict[str, Any] = {}
        for source in PERIODS_S:
            raw.subscribe(
                self.node,
                "edge_perception/msg/Feature",
                f"features/{source}",
                self._on_feature,
                _RELIABLE,
                on_refused=lambda _: None,
            )
        self.node.create_subscription(
            msg.FusedPerception, "perception/fused", self._on_fused, _RELIABLE
        )
        self.node.create_subscription(msg.ModelEvent, "model_events", self._on_event, qos.EVENTS)
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._spin, self._play)
        ]
        self.watching = False
        self._views = 0  # that came

    def __enter__(self) -> SwapRig:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads[1:]:
            if thread.ident is not None:
                thread.join(2.0)
        self._executor.shutdown()
        rclpy.try_shutdown(context=self._context)
        self._threads[0].join(2.0)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Keep what is seen, and play without garbage collections.

        Of what a run keeps, a full one takes 100 to 200 ms in which no sensor would be played: the
        drivers of a robot are no Python, and have none. Nor is the last one before it watched.
        """
        gc.collect()
        gc.disable()
        views = self._views
        self.wait(lambda: self._views >= views + _SETTLED_VIEWS, "views after a collection", 10.0)
        self.watching = True
        try:
            yield
        finally:
            self.watching = False
            gc.enable()

    def play(self) -> None:
        """Start the sensors."""
        self._threads[1].start()

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait for something that is not announced.

        Raises:
            RigError: it did not come in time.
        """
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise RigError(f"bench: expected within {timeout_s:g} s: {what}")
            time.sleep(0.02)

    def connected(self) -> bool:
        """Whether the nodes hear the sensors, and we hear them."""
        return all(p.get_subscription_count() for p in self._publishers.values()) and all(
            self.node.count_publishers(f"/{topic}")
            for topic in ("perception/fused", "model_events", *(f"features/{s}" for s in PERIODS_S))
        )

    def call(self, type_: Any, name: str, request: Any, timeout_s: float = 60.0) -> Any:
        """Call a service and wait for its answer.

        Raises:
            RigError: no answer.
        """
        client = self._client(type_, name, timeout_s)
        future = client.call_async(request)
        self.wait(future.done, f"answer of {name}", timeout_s)
        return future.result()

    def _client(self, type_: Any, name: str, timeout_s: float) -> Any:
        """Return a client that is connected; kept, so that no later call waits for discovery."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(type_, name)
        self.wait(client.service_is_ready, f"service {name}", timeout_s)
        return client

    def wait_for_models(self, count: int, timeout_s: float) -> None:
        """Wait until the manager knows of so many models: nodes find each other one by one."""
        name, request = "/model_manager/get_versions", srv.GetVersions.Request()
        self.wait(
            lambda: len(self.call(srv.GetVersions, name, request).models) >= count,
            f"{count} models that the manager knows",
            timeout_s,
        )

    def connect_rollback(self) -> None:
        """Connect to the service of `roll_back`, whose time is measured."""
        self._client(srv.RollbackModel, _ROLLBACK, 20.0)

    def swap(self, name: str, version: str) -> Any:
        """Ask the manager for a change."""
        request = srv.SwapModel.Request(name=name, version=version, skip_trial=True)
        return self.call(srv.SwapModel, "/model_manager/swap_model", request)

    def roll_back(self) -> Any:
        """Ask the manager for the set before."""
        request = srv.RollbackModel.Request()
        return self.call(srv.RollbackModel, _ROLLBACK, request)

    # -- threads --

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _play(self) -> None:
        """Publish on an absolute schedule; stamps are the schedule's times, as of a trigger."""
        start_ns = time.time_ns() + 50_000_000
        counts = dict.fromkeys(PERIODS_S, 0)
        self._info.publish(_camera_info(start_ns))
        while not self._stop.is_set():
            due = {s: start_ns + round(n * PERIODS_S[s] * 1e9) for s, n in counts.items()}
            source = min(due, key=lambda name: due[name])
            delay_s = (due[source] - time.time_ns()) / 1e9
            if delay_s > 0 and self._stop.wait(delay_s):
                return
            messages = self._messages[source]
            message = messages[counts[source] % len(messages)]
            message.header.stamp = time_msg(due[source])
            if source == "audio":
                message.first_sample_index = counts[source] * AUDIO_RATE_HZ // 10
            if source == "camera" and counts[source] % 20 == 0:
                self._info.publish(_camera_info(due[source]))
            self._publishers[source].publish(message)
            if self.watching:
                self._run.sent.setdefault(source, []).append(due[source])
                self._run.played.append((due[source], time.time_ns() - due[source]))
            counts[source] += 1

    # -- what is seen --

    def _on_feature(self, message: Any) -> None:
        if not self.watching:
            return
        self._run.features.append(
            FeatureSeen(
                source=str(message.source),
                stamp_ns=stamp_ns(message.header.stamp),
                sequence=int(message.sequence),
                sha256=str(message.model.sha256) if message.valid else "invalid",
                space=str(message.model.feature_space),
                dropped=int(message.dropped),
            )
        )

    def _on_fused(self, message: msg.FusedPerception, info: Any) -> None:
        self.latest = message
        self._views += 1
        if not self.watching:
            return
        self._run.fused.append(
            FusedSeen(
                published_ns=info["source_timestamp"],
                sequence=message.sequence,
                end_to_end_s=message.end_to_end_s,
                models=tuple((m.role, m.sha256, m.feature_space) for m in message.models),
                feature_level=message.level == msg.FusedPerception.LEVEL_FEATURE,
            )
        )

    def watch_events(self, told: Callable[[msg.ModelEvent], None]) -> None:
        """Tell of every event of the manager; before it is asked for anything."""
        self._told = told

    def _on_event(self, event: msg.ModelEvent) -> None:
        self._told(event)
        if event.event == "committed":
            self.commits[event.transaction_id] = int(event.reason.split()[1])

    latest: msg.FusedPerception | None = None


def _filled(values: np.ndarray) -> array:
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).tobytes())
    return data


def _images() -> list[Image]:
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(8):
        coarse = rng.integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        pixels = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
        message = Image(
            width=WIDTH, height=HEIGHT, encoding="bgr8", step=WIDTH * 3, data=_filled(pixels)
        )
        message.header.frame_id = "camera_optical"
        messages.append(message)
    return messages


def _camera_info(stamp: int) -> CameraInfo:
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob")
    message.k = [400.0, 0.0, WIDTH / 2, 0.0, 400.0, HEIGHT / 2, 0.0, 0.0, 1.0]
    message.p = [400.0, 0.0, WIDTH / 2, 0.0, 0.0, 400.0, HEIGHT / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    message.header.stamp, message.header.frame_id = time_msg(stamp), "camera_optical"
    return message


def _clouds() -> list[PointCloud2]:
    rng = np.random.default_rng(1)
    names = ("x", "y", "z", "intensity")
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]
    messages = []
    for _ in range(4):
        values = np.zeros((POINTS, 4), np.float32)
        angle, reach = rng.uniform(-np.pi, np.pi, POINTS), rng.uniform(3, 50, POINTS)
        values[:, 0], values[:, 1] = reach * np.cos(angle), reach * np.sin(angle)
        values[:, 2] = rng.normal(0.0, 0.03, POINTS) + (rng.random(POINTS) < 0.1) * rng.random(
            POINTS
        )
        values[:, 3] = rng.random(POINTS)
        message = PointCloud2(
            width=POINTS,
            height=1,
            point_step=16,
            row_step=16 * POINTS,
            is_dense=True,
            fields=fields,
            data=_filled(values),
        )
        message.header.frame_id = "lidar"
        messages.append(message)
    return messages


def _chunks() -> list[msg.AudioChunk]:
    rng = np.random.default_rng(2)
    messages = []
    for _ in range(5):
        samples = (rng.normal(0, 2000, AUDIO_RATE_HZ // 10)).astype("<i2")
        message = msg.AudioChunk(
            sample_rate=AUDIO_RATE_HZ,
            channels=1,
            format=msg.AudioChunk.FORMAT_S16LE,
            data=_filled(samples),
        )
        message.header.frame_id = "microphone"
        messages.append(message)
    return messages
