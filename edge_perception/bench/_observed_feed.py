"""A pipeline as the metrics node sees it: fused views and diagnostics at their full rate."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from edge_perception import msg
from edge_perception.bench._role import serve
from edge_perception.core.conditions import CONDITIONS
from edge_perception.nodes.topics import qos

RATE_HZ = 10.0
SOURCES = ("camera_front", "camera_rear", "lidar", "audio")
NODES = (*(f"{source}_encoder" for source in SOURCES), "fusion", "model_manager")
OBJECTS, VALUES = 40, 60


class ObservedFeed:
    """Publishes what is the same but for its numbers."""

    def __init__(self, node: Node) -> None:
        self._views = node.create_publisher(msg.FusedPerception, "perception/fused", qos.FUSED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._node = node
        self._view = _view()
        self._arrays = [_array(name) for name in NODES]

    def heard(self, timeout_s: float) -> bool:
        """Wait until somebody listens to both."""
        end = time.monotonic() + timeout_s
        publishers = (self._views, self._diagnostics)
        while not all(publisher.get_subscription_count() for publisher in publishers):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def play(self, seconds: float) -> int:
        """Publish for so long; return the number of views."""
        start, count = time.monotonic(), round(seconds * RATE_HZ)
        for tick in range(count):
            time.sleep(max(0.0, start + tick / RATE_HZ - time.monotonic()))
            stamp = self._node.get_clock().now().to_msg()
            self._view.sequence += 1
            self._view.header.stamp = stamp
            for status in self._view.sources:
                status.stamp = stamp
            self._views.publish(self._view)
            # Once a second each, one after the other as the nodes' clocks are not in step.
            if (turn := tick % round(RATE_HZ)) < len(self._arrays):
                self._diagnostics.publish(self._arrays[turn])
        return count


def _view() -> Any:
    item = msg.DetectedObject(class_name="car", score=0.7, sources=["lidar", "camera_front"])
    return msg.FusedPerception(
        mode=msg.FusedPerception.MODE_FULL,
        valid=True,
        confidence=0.9,
        level=msg.FusedPerception.LEVEL_FEATURE,
        end_to_end_s=0.08,
        wait_s=0.01,
        fusion_s=0.004,
        sources=[
            msg.SourceStatus(source=name, modality=name.split("_")[0], contributed=True)
            for name in SOURCES
        ],
        objects=[item] * OBJECTS,
        models=[msg.ModelVersion(role=name, name="m", version="1.0.0") for name in SOURCES],
        conditions=[msg.Condition(name=name) for name in CONDITIONS],
        speed_advice_mps=float("nan"),
    )


def _array(name: str) -> Any:
    values = [KeyValue(key=f"value_{number}", value=f"{number}.25") for number in range(VALUES)]
    status = DiagnosticStatus(name=name, level=DiagnosticStatus.OK, message="ok", values=values)
    return DiagnosticArray(status=[status])


def main() -> None:
    """Serve."""
    rclpy.init()
    feed = ObservedFeed(rclpy.create_node("bench_observed_feed"))
    serve({"heard": feed.heard, "play": feed.play})
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
