"""Publisher and subscriber of the transport benchmark, each a process of its own."""

from __future__ import annotations

import struct
import sys
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2, PointField

from edge_perception.bench._role import serve
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.lidar.layout import cloud_view
from edge_perception.nodes.topics.receiver import Receiver

_LOOK_S = 0.05
QUIET_S = 1.0  # nothing for this long after the publisher's last message: lost
TYPES = {"image": "sensor_msgs/msg/Image", "cloud": "sensor_msgs/msg/PointCloud2"}
CLASSES = {"image": Image, "cloud": PointCloud2}
CONVERT: dict[str, Callable[[Any], Any]] = {"image": image_from_msg, "cloud": cloud_view}
POINT_BYTES = 20


def profile(reliable: bool) -> QoSProfile:
    """Keep last 5, as drivers publish."""
    return QoSProfile(
        depth=5,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
    )


def image_bytes(width: int, height: int) -> bytes:
    """Return an image of noise, bgr8, serialised."""
    data = array("B")
    data.frombytes(np.random.default_rng(1).bytes(3 * width * height))
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=data)
    return bytes(serialize_message(message))


def cloud_bytes(points: int) -> bytes:
    """Return a cloud of x, y, z, intensity, time, serialised."""
    data = array("B")
    data.frombytes(np.random.default_rng(1).random(5 * points, np.float32).tobytes())
    names = ("x", "y", "z", "intensity", "time")
    message = PointCloud2(
        height=1,
        width=points,
        point_step=POINT_BYTES,
        row_step=POINT_BYTES * points,
        is_dense=True,
        data=data,
        fields=[
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(names)
        ],
    )
    return bytes(serialize_message(message))


class Publisher:
    """Publishes at a steady rate, each message stamped with the time of its sending."""

    def __init__(self, node: Node, *, reliable: bool) -> None:
        self._publishers = {
            kind: node.create_publisher(cls, f"bench/{kind}", profile(reliable))
            for kind, cls in CLASSES.items()
        }

    def matched(self, timeout_s: float) -> bool:
        """Wait for the subscriber."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if all(p.get_subscription_count() for p in self._publishers.values()):
                return True
            time.sleep(0.05)
        return False

    def publish(self, kind: str, size: list[int], count: int, rate_hz: float) -> int:
        """Send `count` messages of a size (width and height, or points)."""
        make = image_bytes if kind == "image" else cloud_bytes
        message = bytearray(make(*size))
        start = time.monotonic() + 0.2
        for number in range(count):
            time.sleep(max(0.0, start + number / rate_hz - time.monotonic()))
            # Header first: four bytes of encapsulation, then the stamp.
            struct.pack_into("<iI", message, 4, *divmod(time.time_ns(), 1_000_000_000))
            self._publishers[kind].publish(bytes(message))
        return count


class Subscriber:
    """Turns every message into an array view and notes how old it is by then.

    In place: as our nodes receive, in a thread with a wait set of its own; otherwise as nodes
    usually do, typed and in the executor.
    """

    def __init__(self, node: Node, *, reliable: bool, in_place: bool) -> None:
        self._ages_ms: dict[str, list[float]] = {kind: [] for kind in TYPES}
        self._receiver = Receiver(node, on_error=print) if in_place else None
        for kind, type_name in TYPES.items():
            callback, topic = self._callback(kind), f"bench/{kind}"
            if self._receiver is not None:
                self._receiver.subscribe(
                    type_name, topic, callback, profile(reliable), on_refused=print
                )
            else:
                node.create_subscription(CLASSES[kind], topic, callback, profile(reliable))
        if self._receiver is not None:
            self._receiver.start()
        else:
            self._executor = SingleThreadedExecutor()
            self._executor.add_node(node)

    def _callback(self, kind: str) -> Any:
        ages_ms, convert = self._ages_ms[kind], CONVERT[kind]

        def on_message(message: Any) -> None:
            convert(message)
            stamp = message.header.stamp
            ages_ms.append((time.time_ns() - stamp.sec * 10**9 - stamp.nanosec) / 1e6)

        return on_message

    def listen(self, kind: str, count: int, timeout_s: float) -> dict[str, Any]:
        """Receive until `count` messages came or nothing comes any more."""
        ages_ms = self._ages_ms[kind]
        ages_ms.clear()
        quiet_at = time.monotonic() + timeout_s
        cpu_s = time.process_time()
        while len(ages_ms) < count and time.monotonic() < quiet_at:
            before = len(ages_ms)
            self._wait()
            if len(ages_ms) > before:
                quiet_at = time.monotonic() + QUIET_S
        cpu_ms = (time.process_time() - cpu_s) * 1e3
        return {"ages_ms": [round(age, 3) for age in ages_ms], "cpu_ms": round(cpu_ms, 3)}

    def _wait(self) -> None:
        """Take the next message, or give the thread that takes them its time."""
        if self._receiver is None:
            self._executor.spin_once(timeout_sec=0.2)
        else:
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """End the thread."""
        if self._receiver is not None:
            self._receiver.stop()


def main() -> None:
    """Serve one role: publish or subscribe, with `reliable` and `in_place` as options."""
    role, *options = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node(f"bench_{role}")
    reliable = "reliable" in options
    if role == "publish":
        publisher = Publisher(node, reliable=reliable)
        serve({"matched": publisher.matched, "publish": publisher.publish})
    else:
        subscriber = Subscriber(node, reliable=reliable, in_place="in_place" in options)
        serve({"listen": subscriber.listen})
        subscriber.stop()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
