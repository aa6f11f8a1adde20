"""Sensors and listener of the pipeline benchmark in one process: plays the clip, hears the views.

A tick is 50 ms: an image every tick, a cloud every second one with the same stamp, 100 ms of sound
with each cloud. The age of a view is its arrival here minus the stamp of what it shows.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from edge_perception.bench._recording import AUDIO_BLOCK, AUDIO_RATE_HZ, Clip, load_clip
from edge_perception.bench._role import serve
from edge_perception.core.errors import InvalidFrameError
from edge_perception.msg import AudioChunk
from edge_perception.nodes.topics import qos, raw
from edge_perception.nodes.topics.receiver import Receiver

TICK_S = 0.05
BLOCK_S = AUDIO_BLOCK / AUDIO_RATE_HZ
IN_FLIGHT = 2  # sets sent ahead of the views, at saturation
STUCK_S = 0.08  # a lost set must not slow the sensors below their usual rate
WARM_UP_S = 0.5  # sources that were silent have to be trusted again
_STAMP = struct.Struct("<iI")
_STAMP_AT = 4  # behind the encapsulation
_INDEX = struct.Struct("<Q")


class Feed:
    """Publishes the clip and collects the views."""

    def __init__(self, node: Node, clip: Clip, *, reliable: bool) -> None:
        self._clip = clip
        profile = QoSProfile(
            depth=5 if reliable else 1,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._camera = node.create_publisher(Image, "camera/image_raw", profile)
        self._lidar = node.create_publisher(PointCloud2, "lidar/points", profile)
        self._audio = node.create_publisher(AudioChunk, "audio", qos.FUSED)
        self._info = node.create_publisher(CameraInfo, "camera/camera_info", profile)
        # The index of the first sample is what differs from chunk to chunk, beside the stamp.
        self._index_at = _find_index(clip.chunk)
        self._blocks = 0
        self._next_block_s = 0.0
        self._lock = threading.Condition()
        self._missed = 0
        self._views: list[tuple[int, int]] = []  # stamp, arrival, ns
        self._counts: dict[str, list[tuple[int, int]]] = {}  # overwritten, skipped; by source
        self._given_up = 0  # views in which a source says so
        self._heard = 0  # views, also those of one sensor
        self._receiver = Receiver(node, on_error=print)
        self._receiver.subscribe(
            "edge_perception/msg/FusedPerception",
            "perception/fused",
            self._on_view,
            qos.FUSED,
            on_refused=print,
        )
        self._receiver.start()

    def stop(self) -> None:
        """Listen no more."""
        self._receiver.stop()

    def ready(self, timeout_s: float) -> bool:
        """Wait for the pipeline, then play until it fuses camera and LiDAR."""
        end = time.monotonic() + timeout_s
        publishers = (self._camera, self._lidar, self._audio, self._info)
        while time.monotonic() < end:
            if all(publisher.get_subscription_count() for publisher in publishers):
                self._info.publish(self._clip.camera_info)
                self.paced(1.0)
                if len(self._views) >= 5:
                    return True
            time.sleep(0.1)
        return False

    def paced(
        self, seconds: float, speed: float = 1.0, warm_up_s: float = WARM_UP_S
    ) -> dict[str, Any]:
        """Play in real time, or `speed` times as fast; return the sets sent and the views' ages.

        Sources that were silent while another set-up had its turn are not waited for at first, and
        load control needs a while for its steps.
        """
        self._play(warm_up_s, speed)
        self._forget()
        sent = self._play(seconds, speed)
        time.sleep(0.4)
        return self._result(sent)

    def _forget(self) -> None:
        with self._lock:
            self._views.clear()
            self._counts.clear()
            self._missed = self._given_up = self._heard = 0

    def _play(self, seconds: float, speed: float) -> list[int]:
        sent: list[int] = []
        start = time.monotonic() + 0.1
        for tick in range(2 * round(seconds / TICK_S * speed / 2)):
            time.sleep(max(0.0, start + tick * TICK_S / speed - time.monotonic()))
            stamp_ns = time.time_ns()
            if tick % 2 == 0:
                sent.append(stamp_ns)
                self._publish_set(tick // 2, stamp_ns, image=tick)
            else:
                self._publish_image(tick, stamp_ns)
        return sent

    def saturated(self, seconds: float) -> dict[str, Any]:
        """Send sets as fast as views come back; return their number a second."""
        self._saturate(WARM_UP_S)
        self._forget()
        start = time.monotonic()
        sent = self._saturate(seconds)
        took_s = time.monotonic() - start
        return {**self._result(sent), "rate_hz": len(self._views) / took_s}

    def _saturate(self, seconds: float) -> list[int]:
        sent: list[int] = []
        waiting: list[int] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sent.append(time.time_ns())
            waiting.append(sent[-1])
            self._publish_set(len(sent), sent[-1], image=len(sent))
            with self._lock:
                self._lock.wait_for(lambda: self._in_flight(waiting) < IN_FLIGHT, STUCK_S)
        return sent

    def _in_flight(self, waiting: list[int]) -> int:
        newest = max((stamp for stamp, _ in self._views), default=0)
        waiting[:] = [stamp for stamp in waiting if stamp > newest]
        return len(waiting)

    def _result(self, sent: list[int]) -> dict[str, Any]:
        first: dict[int, int] = {}
        for stamp, arrival in list(self._views):
            first.setdefault(stamp, arrival)
        ages = [(first[stamp] - stamp) / 1e6 for stamp in sent if stamp in first]
        return {
            "sent": len(sent),
            "fused": len(ages),
            "ages_ms": [round(age, 3) for age in ages],
            "views": len(self._views),
            "heard": self._heard,
            "deadline_missed": self._missed,
            "given_up": self._given_up,
            "shed": {
                source: {
                    "overwritten": counts[-1][0] - counts[0][0],
                    "skipped": counts[-1][1] - counts[0][1],
                }
                for source, counts in self._counts.items()
            },
        }

    def _publish_image(self, number: int, stamp_ns: int) -> None:
        """Send one after the other: a live one never repeats, whatever is skipped between two."""
        self._publish(self._camera, self._clip.images[number % len(self._clip.images)], stamp_ns)

    def _publish_set(self, number: int, stamp_ns: int, *, image: int) -> None:
        self._publish(self._lidar, self._clip.clouds[number % len(self._clip.clouds)], stamp_ns)
        self._publish_image(image, stamp_ns)
        if time.monotonic() >= self._next_block_s:  # sound comes in real time, whatever the speed
            self._next_block_s = max(self._next_block_s + BLOCK_S, time.monotonic())
            chunk = bytearray(self._clip.chunk)
            _INDEX.pack_into(chunk, self._index_at, self._blocks * AUDIO_BLOCK)
            self._blocks += 1
            self._publish(self._audio, chunk, stamp_ns)

    def _publish(self, publisher: Any, message: bytes | bytearray, stamp_ns: int) -> None:
        if isinstance(message, bytearray):
            message = bytes(message)
        # Stamped in place, as a driver does it: to copy megabytes first is no cost of a sensor.
        stamp = _STAMP.pack(*divmod(stamp_ns, 1_000_000_000))
        at = ctypes.cast(ctypes.c_char_p(message), ctypes.c_void_p).value
        assert at is not None
        ctypes.memmove(at + _STAMP_AT, stamp, len(stamp))
        publisher.publish(message)

    def _on_view(self, view: Any) -> None:
        """Note a view that both fuse to: its set is the cloud's, and the image of any tick."""
        arrival_ns = time.time_ns()
        stamps = {
            status.source: status.stamp.sec * 10**9 + status.stamp.nanosec
            for status in view.sources
            if status.contributed
        }
        with self._lock:
            self._heard += 1
            for status in view.sources:
                counts = self._counts.setdefault(status.source, [])
                del counts[1:-1]
                counts.append((status.dropped, status.skipped))
            self._given_up += any(status.given_up for status in view.sources)
            self._missed += view.deadline_missed
            if "camera" in stamps and "lidar" in stamps:
                self._views.append((stamps["lidar"], arrival_ns))
                self._lock.notify()


def _find_index(chunk: bytes) -> int:
    """Return where first_sample_index lies in a serialised AudioChunk."""
    read = raw.reader("edge_perception/msg/AudioChunk")
    for at in range(4, len(chunk) - _INDEX.size + 1, 4):
        changed = bytearray(chunk)
        _INDEX.pack_into(changed, at, 0x0102030405060708)
        try:
            if read(bytes(changed)).first_sample_index == 0x0102030405060708:
                return at
        except InvalidFrameError:  # the change made a length of it
            continue
    raise AssertionError("no such field")


def main() -> None:
    """Serve: FOLDER of the clip, then `reliable` where the sensors shall be."""
    rclpy.init()
    node = rclpy.create_node("bench_feed")
    feed = Feed(node, load_clip(Path(sys.argv[1])), reliable="reliable" in sys.argv[2:])
    serve({"ready": feed.ready, "paced": feed.paced, "saturated": feed.saturated})
    feed.stop()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
