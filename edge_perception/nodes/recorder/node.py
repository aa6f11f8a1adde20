"""The node behind `edge-perception record`: raw subscriptions into the ring, events out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.core.health import Health, Level
from edge_perception.encoders import locates
from edge_perception.nodes.common.diagnostics import Diagnostics
from edge_perception.nodes.links.feature_inlet import trial_topic
from edge_perception.nodes.recorder.plan import RecordPlan
from edge_perception.nodes.topics.message_types import message_type
from edge_perception.nodes.topics.qos import TF_STATIC
from edge_perception.recordings.budget import Budget, BudgetOptions
from edge_perception.recordings.ring import EventRecorder, RingOptions
from edge_perception.recordings.triggers import TriggerOptions, Triggers
from edge_perception.recordings.writer import Topic
from edge_perception.running.node_parameters import ENCODER

_LOOK_S = 0.2
_SILENT_S = 2.0  # without a fused view
_MOST_TRIED = 32  # sources under trial


class EventRecorderNode:
    """Subscribes, keeps, and writes around events."""

    def __init__(
        self,
        plan: RecordPlan,
        ring: RingOptions,
        triggers: TriggerOptions,
        folder: Path,
        *,
        budget: BudgetOptions | None = None,
        context: Any,
    ) -> None:
        self._node = rclpy.create_node("event_recorder", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._triggers = Triggers(triggers, locates=locates)
        self._budget = Budget(budget or BudgetOptions(), triggers.kinds)
        self._view: Any = None
        self._tried: dict[str, Any] = {}  # newest feature of a model under trial, by source
        self._fused = plan.fused
        self.recorder = EventRecorder(
            folder,
            plan.topics,
            ring,
            holding=plan.holding,
            parameters=plan.parameters,
            say=lambda text: self._node.get_logger().info(text),
        )
        self._fused_s: float | None = None  # steady clock, of the newest fused view
        self._diagnostics = Diagnostics(self._node, self._health)
        self._diagnostics.start()
        for topic in plan.topics:
            # Best effort hears reliable and best-effort publishers alike.
            self._subscribe(topic, QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT))
            if topic.name in plan.holding:  # what was published before, where that is offered
                self._subscribe(topic, TF_STATIC)
        if "drift" in triggers.kinds:
            self._node.create_subscription(
                DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=50)
            )
        if "trial" in triggers.kinds:  # published during trials only
            for source in plan.sources:
                topic_name = f"{plan.prefix}/{trial_topic(source)}"
                self._node.create_subscription(
                    msg.Feature, topic_name, self._on_trial, QoSProfile(depth=5)
                )

    def _subscribe(self, topic: Topic, profile: QoSProfile) -> None:
        self._node.create_subscription(
            message_type(topic.type),
            topic.name,
            self._taker(topic.name),
            profile,
            raw=True,
            # A publisher that keeps nothing is no fault: the other subscription hears it.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )

    def spin(self, *, until: Callable[[], bool], duration_s: float = 0.0) -> None:
        """Take messages until told to end, or for a time above 0."""
        end = time.monotonic() + duration_s
        while not until() and (not duration_s or time.monotonic() < end):
            self._executor.spin_once(timeout_sec=_LOOK_S)
            self.recorder.tick(self._now_ns())

    def close(self) -> None:
        """Complete the present file."""
        self._diagnostics.stop()
        self.recorder.finish()
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()

    def _health(self) -> Health:
        recorder = self.recorder
        values = {"files": str(len(recorder.files)), "forgotten": str(recorder.forgotten)}
        values |= {f"beyond_budget {k}": str(n) for k, n in self._budget.swallowed.items()}
        if recorder.problem:
            return Health(level=Level.ERROR, message=recorder.problem, values=values)
        if self._fused_s is None:
            text = f"no {self._fused} came yet: no event is seen"
            return Health(level=Level.WARN, message=text, values=values)
        silence_s = time.monotonic() - self._fused_s
        if silence_s > _SILENT_S:
            text = f"no {self._fused} for {silence_s:.1f} s > {_SILENT_S:.1f} s: no event is seen"
            return Health(level=Level.WARN, message=text, values=values)
        return Health(level=Level.OK, message=f"{len(recorder.files)} events", values=values)

    def _taker(self, name: str) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            now_ns = self._now_ns()
            self.recorder.message(name, data, now_ns)
            if name == self._fused:
                self._fused_s = time.monotonic()
                self._view = deserialize_message(data, msg.FusedPerception)
                self._keep(self._triggers.look(self._view), now_ns)
                self._compare(now_ns)

        return take

    def _keep(self, found: Mapping[str, str], now_ns: int) -> None:
        """Keep what happened, as far as the budget admits it; what is rare comes first."""
        for kind, reason in found.items():
            if self._budget.admits(kind, now_ns):
                self.recorder.event(reason, now_ns)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            name = status.name.rpartition("/")[2]
            drift = next((item.value for item in status.values if item.key == "drift"), None)
            if drift is not None and name.endswith(ENCODER):
                found = self._triggers.look_at_drift(name.removesuffix(ENCODER), drift)
                self._keep(found, self._now_ns())

    def _on_trial(self, feature: Any) -> None:
        if feature.valid and (feature.source in self._tried or len(self._tried) < _MOST_TRIED):
            self._tried[feature.source] = feature
            self._compare(self._now_ns())

    def _compare(self, now_ns: int) -> None:
        """Hold what models under trial saw against the view with the same frame, whichever came."""
        for status in self._view.sources if self._view is not None and self._tried else ():
            tried = self._tried.get(status.source)
            if tried is not None and tried.header.stamp == status.stamp:
                del self._tried[status.source]
                found = self._triggers.look_at_trial(status.source, tried.objects, self._view)
                self._keep(found, now_ns)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
