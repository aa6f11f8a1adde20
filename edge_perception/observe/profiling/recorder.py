"""Hears the features and fused views of running nodes and keeps their times."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor

from edge_perception.nodes.conversion import FEATURE_TYPE, latency_from_msg, stamp_ns
from edge_perception.nodes.topics import qos, raw
from edge_perception.observe.profiling.asking import asked_parameters
from edge_perception.observe.profiling.trace import STAGES, FeatureTiming, Recording, ViewTiming

FUSED_TYPE = "edge_perception/msg/FusedPerception"
_LOOK_S = 0.5  # how often to look for new topics


def record(*, duration_s: float, namespace: str = "") -> tuple[Recording, dict[str, object]]:
    """Listen for a while to everything that publishes features or fused views.

    Args:
        duration_s: how long.
        namespace: of the nodes; topics of other ones are left out.

    Returns:
        What was heard, and how the models of the nodes run, as `node.parameter`.
    """
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("profile", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    recorder = _Recorder(node, "/" + namespace.strip("/"))
    end = time.monotonic() + duration_s
    look_at = 0.0
    try:
        while time.monotonic() < end:
            if time.monotonic() >= look_at:
                recorder.subscribe_to_new()
                look_at = time.monotonic() + _LOOK_S
            executor.spin_once(timeout_sec=0.1)
        asked = asked_parameters(node, executor, namespace)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()
    return Recording(features=tuple(recorder.features), views=tuple(recorder.views)), asked


class _Recorder:
    def __init__(self, node: Any, prefix: str) -> None:
        self._node, self._prefix = node, prefix
        self._topics: set[str] = set()
        self.features: list[FeatureTiming] = []
        self.views: list[ViewTiming] = []

    def subscribe_to_new(self) -> None:
        callbacks = {FEATURE_TYPE: self._on_feature, FUSED_TYPE: self._on_view}
        for topic, types in self._node.get_topic_names_and_types():
            for type_name in types:
                if type_name in callbacks and topic.startswith(self._prefix):
                    self._subscribe(topic, type_name, callbacks[type_name])

    def _subscribe(self, topic: str, type_name: str, callback: Any) -> None:
        if topic in self._topics:
            return
        self._topics.add(topic)
        profile = qos.FEATURES if type_name == FEATURE_TYPE else qos.FUSED
        logger = self._node.get_logger()
        raw.subscribe(
            self._node,
            type_name,
            topic,
            callback,
            profile,
            on_refused=lambda error: logger.warning(f"{topic}: {error}"),
        )

    def _on_feature(self, message: Any) -> None:
        latency = latency_from_msg(message.latency)
        self.features.append(
            FeatureTiming(
                source=message.source,
                sequence=message.sequence,
                stamp_ns=stamp_ns(message.header.stamp),
                stages_s=tuple(getattr(latency, f"{stage}_s") for stage in STAGES),
                dropped=message.dropped,
                model=message.model.name,
            )
        )

    def _on_view(self, message: Any) -> None:
        self.views.append(
            ViewTiming(
                sequence=message.sequence,
                published_ns=self._node.get_clock().now().nanoseconds,
                wait_s=message.wait_s,
                fusion_s=message.fusion_s,
                end_to_end_s=message.end_to_end_s,
                models=tuple(model.name for model in message.models),
            )
        )
