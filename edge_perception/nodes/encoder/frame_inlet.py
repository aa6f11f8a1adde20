"""The messages of one sensor: those that count become jobs of its inference thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.qos import DurabilityPolicy

from edge_perception.cdr import CdrError
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.encoders import TopicSpec
from edge_perception.encoders.arrivals import Arrivals
from edge_perception.encoders.health import EncoderHealth, HealthLimits
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import Job
from edge_perception.encoders.ways import WayChoice
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.encoder.input_topics import SensorTopics
from edge_perception.nodes.encoder.input_ways import InputWays
from edge_perception.nodes.encoder.transforms import TransformListener
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.receiver import Receiver


class FrameInlet:
    """What an encoder hears, from its activation to its deactivation.

    Args:
        node: the encoder.
        topics: of the sensor.
        way: how the sensor is listened to; `auto`: as it is published.
        limits: say after how long without a message a way is silent.
        pipeline: the present one, which keeps or refuses what came.
        hand_over: takes each job.
        evidence: is told of each message.
        transforms: hears where the sensor sits; None: nobody asks tf.
        on_error: takes what nothing in here should have raised.
    """

    def __init__(
        self,
        node: PerceptionNode,
        *,
        topics: SensorTopics,
        way: str,
        limits: Callable[[], HealthLimits],
        pipeline: Callable[[], EncoderPipeline],
        hand_over: Callable[[Job], None],
        evidence: EncoderHealth,
        transforms: TransformListener | None,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._topics, self._limits = node, topics, limits
        self._pipeline, self._hand_over, self._evidence = pipeline, hand_over, evidence
        self._transforms = transforms
        self._taking = threading.Lock()
        self._calibration_fault = ""  # said already
        self._choice = WayChoice(topics.ways, way)
        self._ways = InputWays(
            node,
            topics=topics,
            choice=self._choice,
            subscribe=self._subscribe,
            beside=self._subscribe_beside,
            silence_ns=self._silence_ns,
            on_error=on_error,
        )

    def start(self) -> None:
        """Subscribe."""
        self._ways.start()

    def stop(self) -> None:
        """Unsubscribe; twice is fine."""
        self._ways.stop()

    @property
    def listened(self) -> list[TopicSpec]:
        """Topics of frames that are subscribed."""
        return [topic for topic in self._ways.listened if topic in self._topics.frames]

    def arrivals(self) -> dict[str, Arrivals]:
        """Return what came and what got lost on each topic that is subscribed."""
        return self._ways.arrivals()

    def describe(self) -> Mapping[str, str]:
        """Return what diagnostics say of a sensor that has several ways."""
        return self._ways.describe()

    # -- the callbacks, in threads of receivers --

    def _on_message(self, way: str, message: Any) -> None:
        with self._taking:  # a change of the way: for a moment two threads receive
            received = self._node.clock.now()
            header = getattr(message, "header", None)
            if header is None:  # tells how to read the messages after it
                job = self._pipeline().accept(message, received.node_ns, "", received)
            else:
                stamp = stamp_ns(header.stamp)
                if not self._choice.take(way, stamp, received.steady_ns, self._silence_ns()):
                    return
                self._evidence.on_message(received)
                job = self._pipeline().accept(message, stamp, header.frame_id, received)
            if job is not None:
                self._hand_over(job)

    def _on_refused(self, way: str, error: CdrError) -> None:
        if self._choice.current not in ("", way):
            return
        received = self._node.clock.now()
        self._evidence.on_message(received)
        self._hand_over(self._pipeline().refuse(str(error), received))

    def _on_calibration(self, message: Any) -> None:
        pipeline, fault = self._pipeline(), ""
        names = [self._topics.resolved(topic) for topic in self._topics.frames]
        try:
            pipeline.place.calibrate(message, names)
        except EdgePerceptionError as error:
            fault = f"{pipeline.source}: calibration refused: {error}"
        if fault and fault != self._calibration_fault:  # it may come with every frame
            self._node.get_logger().error(fault)
        self._calibration_fault = fault

    # -- subscribing --

    def _subscribe(self, receiver: Receiver, topic: TopicSpec) -> None:
        calibrates = topic is self._topics.calibration
        receiver.subscribe(
            topic.type,
            self._topics.name(topic),
            self._on_calibration if calibrates else functools.partial(self._on_message, topic.way),
            qos.input_qos(topic),
            on_refused=functools.partial(self._on_refused, topic.way),
            overriding=qos.INPUT_OVERRIDES,
            beside=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else None,
        )

    def _subscribe_beside(self, receiver: Receiver) -> None:
        if self._transforms is not None:
            self._transforms.subscribe(receiver)

    def _silence_ns(self) -> int:
        """Return for how long a topic must be silent until another one of the sensor is heard."""
        return round(self._limits().silence_s * 1e9)
