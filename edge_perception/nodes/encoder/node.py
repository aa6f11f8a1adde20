"""The generic encoder node: one source, whatever its modality."""

from __future__ import annotations

import argparse
import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from rclpy.qos import DurabilityPolicy
from rclpy.utilities import remove_ros_args

from edge_perception import msg
from edge_perception.cdr import CdrError
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, SwapError
from edge_perception.core.health import Health, worst
from edge_perception.core.log_control import Burst
from edge_perception.core.types import Feature, Geometry
from edge_perception.encoders import GENERIC, EncoderSpec, TopicSpec, encoders, modality_of
from edge_perception.encoders.health import EncoderHealth, HealthLimits
from edge_perception.encoders.load_control import LoadOptions
from edge_perception.encoders.options import usable_cores
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import SensorPose, pose_of
from edge_perception.encoders.watchdog import WatchdogLimits
from edge_perception.encoders.ways import WayChoice
from edge_perception.encoders.worker import EncoderWorker
from edge_perception.fleet.cloud.options import CloudOptions
from edge_perception.models.loading import ModelOptions
from edge_perception.monitoring.source import MonitorOptions
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.conversion import feature_bytes, stamp_ns
from edge_perception.nodes.encoder.cloud_link import CloudLink
from edge_perception.nodes.encoder.hang_guard import HangGuard
from edge_perception.nodes.encoder.input_topics import input_topic
from edge_perception.nodes.encoder.input_ways import InputWays
from edge_perception.nodes.encoder.models import EncoderModels
from edge_perception.nodes.encoder.transforms import TransformListener
from edge_perception.nodes.links.feature_inlet import trial_topic
from edge_perception.nodes.links.model_services import ModelServices
from edge_perception.nodes.links.variant_advice import AdviceListener
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.endpoints import SharedInputs
from edge_perception.nodes.topics.message_types import is_installed
from edge_perception.nodes.topics.receiver import Receiver
from edge_perception.running.node_options import EncoderNodeOptions

_REFUSALS, _REFUSED_S = 5, 5.0  # so many refused frames in that time are an anomaly
_FRAME = (
    "frame {}: receive {:.2f}, queue {:.2f}, preprocess {:.2f}, inference {:.2f}, "
    "postprocess {:.2f} ms; dropped {}"
)


class EncoderNode(PerceptionNode):
    """Sensor messages in, features out."""

    def __init__(
        self,
        modality: str = "",
        *,
        source: str | None = None,
        sink: Callable[[Feature], None] | None = None,
        beside: Callable[[Feature], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Declare parameters.

        Args:
            modality: camera, lidar, audio, or any other folder of `encoders/`; when not given
                the parameter says it, or the name of the node.
            source: name of the sensor; the modality when not given.
            sink: takes features by reference, in a composed process. The topic is then served
                only while somebody listens.
            beside: the same for what the model of a trial that does not serve makes of a frame.
            kwargs: for the rclpy node.
        """
        name = source or modality
        super().__init__(f"{name}_encoder" if name else GENERIC, **kwargs)
        self._spec = self._chosen_spec(modality)
        source = name or self._named_source()
        self.diagnostics.hardware_id = source
        self._topics = [t for t in self._spec.topics if not t.optional or is_installed(t.type)]
        self._source = self.declare_parameters_of(self._spec.options, defaults={"source": source})
        model = self.declare_parameters_of(
            ModelOptions, defaults={"model": self._spec.default_model}
        )
        self._limits = self.declare_parameters_of(
            HealthLimits, defaults={"rate_hz": self._spec.rate_hz}
        )
        content = (
            self.declare_parameters_of(
                self._spec.content.limits, prefix="content.", on_change=self._on_content_limits
            )
            if self._spec.content
            else None
        )
        load = self.declare_parameters_of(LoadOptions, prefix="load.", on_change=self._on_load)
        self._load = load
        self._advice: AdviceListener | None = None
        self._watchdog = self.declare_parameters_of(WatchdogLimits, prefix="watchdog.")
        monitor = self.declare_parameters_of(MonitorOptions, prefix="monitor.")
        cloud = self.declare_parameters_of(
            CloudOptions, prefix="cloud.", on_change=lambda options: self._cloud.change(options)
        )
        self._cloud = CloudLink(self, self._spec, cloud, model, self._on_error)
        self._sink, self._beside = sink, beside
        self._trial_publisher: Any = None
        self._publisher: Any = None
        self._worker: EncoderWorker | None = None
        self._transforms = TransformListener(self.get_logger().warning)
        self._receiver: InputWays | None = None
        self._taking = threading.Lock()
        self._shared = SharedInputs(self)
        self._calibration_fault = ""  # said already
        self._refusals = Burst(count=_REFUSALS, within_s=_REFUSED_S)
        self._models = EncoderModels(
            self,
            spec=self._spec,
            clock=self.clock,
            source=self._source,
            options=model,
            content=content,
            load=load,
            pose=self._pose,
            monitor=monitor,
        )
        self._model_services = ModelServices(self, self._models, lambda: model.config)
        self._hang_guard = HangGuard(
            self,
            worker=lambda: self._worker if self.is_active else None,
            budget_s=lambda: self._limits.config.budget_ms / 1e3,
            limits=lambda: self._watchdog.config,
            new_session=self._new_session,
        )

    def _chosen_spec(self, modality: str) -> EncoderSpec:
        asked = self.declare_parameters_of(
            EncoderNodeOptions, defaults={"modality": modality}
        ).config.modality
        if modality and asked != modality:
            raise ConfigurationError(
                f"{self.get_name()}: modality: expected '{modality}', got '{asked}'; the "
                f"executable `{GENERIC}` serves any"
            )
        if not asked and self.get_name() == GENERIC:
            raise ConfigurationError(
                f"{GENERIC}: modality: expected one of {', '.join(sorted(encoders().specs))}, got "
                "none: give --modality, the parameter, or a node name such as camera_rear_encoder"
            )
        return encoders()[asked or modality_of(self._named_source())]

    def _named_source(self) -> str:
        """Return the source that the node's name tells, else the modality."""
        name = self.get_name().removesuffix("_encoder")
        return self._spec.modality if name == GENERIC else name

    @property
    def _pipeline(self) -> EncoderPipeline:
        return self._models.configured

    @property
    def _inference(self) -> EncoderWorker:
        if self._worker is None:
            raise SwapError(f"{self.get_name()} was never active")
        return self._worker

    @property
    def _inputs(self) -> InputWays:
        if self._receiver is None:
            raise SwapError(f"{self.get_name()} was never active")
        return self._receiver

    @property
    def geometry(self) -> Geometry:
        """Pose of the sensor and, once known, its calibration."""
        return self._pipeline.place.located

    def _pose(self) -> SensorPose:
        listener = self._transforms
        tree = None if listener.why_none else listener.tree
        options = self._source.config
        return pose_of(self._spec, options, tree=tree, why_no_tree=listener.why_none)

    # -- lifecycle --

    def configure(self) -> None:
        """Load and warm the model."""
        usable_cores(self._source.config.cores)
        self._models.load()
        topic = f"features/{self._source.config.source}"
        self._publisher = self.create_publisher(msg.Feature, topic, qos.FEATURES)
        self.rivals.watch(topic)
        if self._beside is None:
            self._trial_publisher = self.create_publisher(
                msg.Feature, trial_topic(self._source.config.source), qos.FEATURES
            )

    def _new_session(self, hung: EncoderWorker) -> None:
        """Load the model that serves anew; the thread that hangs keeps the old session."""
        pipeline = self._models.load_again()
        if self._worker is not hung or not self.is_active:  # ended meanwhile
            return
        self._models.pipeline = pipeline
        self._worker = self._started_worker()
        self.get_logger().warning("inference goes on in a new session")

    def _started_worker(self) -> EncoderWorker:
        pipeline = self._pipeline
        pipeline.frames.on_note = self._on_note
        pipeline.beside = self._beside or self._on_beside
        pipeline.seen = self._cloud.seen
        worker = EncoderWorker(
            pipeline=pipeline,
            sink=self._on_feature,
            on_error=self._on_error,
            cores=usable_cores(self._source.config.cores),
            queue_frames=self._source.config.queue_frames,
        )
        worker.start()
        return worker

    def activate(self) -> None:
        """Start the inference thread, then subscribe."""
        self._health_evidence = EncoderHealth(started=self.clock.now())
        self._cloud.start(self._source.config.source, self._pipeline.model.loaded.bundle)
        self._worker = self._started_worker()
        calibration = [self._spec.calibration] if self._spec.calibration is not None else []
        self._choice = WayChoice(
            dict.fromkeys(topic.way for topic in self._topics), self._source.config.way
        )
        self._receiver = InputWays(
            self,
            topics=[*self._topics, *calibration],
            choice=self._choice,
            name_of=self._topic,
            subscribe=self._subscribe,
            beside=self._subscribe_beside,
            silence_ns=self._silence_ns,
            on_error=self._on_error,
        )
        self._receiver.start()
        self._hang_guard.start()
        if self._load.config.condition_variants:
            source = self._source.config.source
            self._advice = AdviceListener(self, source, self._on_advice, self._on_note)

    def deactivate(self) -> None:
        """Unsubscribe, then stop the inference thread."""
        self._hang_guard.stop()
        if self._advice is not None:
            self._advice.close()
            self._advice = None
        # Either may be missing after an activation that failed half-way.
        if self._receiver is not None:
            self._receiver.stop()
        if self._worker is not None:
            self._worker.stop()
        self._cloud.stop()

    def cleanup(self) -> None:
        """Release the model."""
        self._models.close()
        self._model_services.reset()
        if self._publisher is not None:
            self.destroy_publisher(self._publisher)
            self._publisher = None
        if self._trial_publisher is not None:
            self.destroy_publisher(self._trial_publisher)
            self._trial_publisher = None

    def health(self) -> Health:
        """Judge the encoder."""
        listened = [topic for topic in self._inputs.listened if topic in self._topics]
        health = self._health_evidence.judge(
            pipeline=self._pipeline,
            limits=self._limits.config,
            topics=" or ".join(self._topic_and_publishers(topic) for topic in listened),
            now=self.clock.now(),
            arrivals=self._inputs.arrivals(),
        )
        frames = [self._topic(topic) for topic in listened if not topic.latched]
        load = self._pipeline.load
        found = [] if load is None else [load.finding()]
        found.append(self._cloud.finding())
        said = worst(health, *found, *self._shared.findings(frames))
        values = dict(health.values)
        for finding in found:
            values |= finding.values
        values |= self._inputs.describe()
        return replace(health, level=said.level, message=said.message, values=values)

    # -- the path of a frame --

    def _on_message(self, way: str, message: Any) -> None:
        with self._taking:  # a change of the way: for a moment two threads receive
            received = self.clock.now()
            header = getattr(message, "header", None)
            if header is None:  # tells how to read the messages after it
                job = self._pipeline.accept(message, received.node_ns, "", received)
            else:
                stamp = stamp_ns(header.stamp)
                if not self._choice.take(way, stamp, received.steady_ns, self._silence_ns()):
                    return
                self._health_evidence.on_message(received)
                job = self._pipeline.accept(message, stamp, header.frame_id, received)
            if job is not None:
                self._inference.put(job)

    def _on_refused_message(self, way: str, error: CdrError) -> None:
        if self._choice.current not in ("", way):
            return
        received = self.clock.now()
        self._health_evidence.on_message(received)
        self._inference.put(self._pipeline.refuse(str(error), received))

    def _silence_ns(self) -> int:
        """Return for how long a topic must be silent until another one of the sensor is heard."""
        limits = self._limits.config
        return round(limits.silence_periods / limits.rate_hz * 1e9)

    def _on_feature(self, feature: Feature) -> None:
        """Hand a feature on; runs in the inference thread."""
        self._health_evidence.on_feature(feature, self.clock.now())
        self._tell(feature)
        if self._sink is not None:
            self._sink(feature)
        if self._sink is None or self._publisher.get_subscription_count():
            self._publisher.publish(feature_bytes(feature))

    def _tell(self, feature: Feature) -> None:
        """Tell of a frame for who looks at an anomaly."""
        log, spent = self.get_logger(), feature.latency
        if feature.valid:
            log.detail(
                _FRAME,
                feature.stamp_ns,
                1e3 * spent.receive_s,
                1e3 * spent.queue_s,
                1e3 * spent.preprocess_s,
                1e3 * spent.inference_s,
                1e3 * spent.postprocess_s,
                feature.dropped,
            )
            return
        log.detail("frame {}: refused: {}", feature.stamp_ns, feature.invalid_reason)
        if not feature.passing and self._refusals.add(self.clock.now().steady_ns):
            log.anomaly(
                f"{_REFUSALS} frames refused within {_REFUSED_S:g} s, the last: "
                f"{feature.invalid_reason}"
            )

    def _on_beside(self, feature: Feature) -> None:
        self._trial_publisher.publish(feature_bytes(feature))

    def _on_calibration(self, message: Any) -> None:
        fault = ""
        try:
            self._pipeline.place.calibrate(message, self._frame_topics)
        except EdgePerceptionError as error:
            fault = f"{self._source.config.source}: calibration refused: {error}"
        if fault and fault != self._calibration_fault:  # it may come with every frame
            self.get_logger().error(fault)
        self._calibration_fault = fault

    def _on_note(self, text: str) -> None:
        self.get_logger().info(f"{self._source.config.source}: {text}")

    def _on_content_limits(self, limits: Any) -> None:
        if self._models.pipeline is not None:
            self._models.pipeline.frames.set_content_limits(limits)

    def _on_load(self, options: LoadOptions) -> None:
        pipeline = self._models.pipeline
        if pipeline is not None and pipeline.load is not None:
            pipeline.load.control.options = options

    def _on_advice(self, variant: str, condition: str) -> None:
        pipeline = self._models.pipeline
        if pipeline is not None and pipeline.load is not None:
            pipeline.load.advise(variant, condition, self.clock.now().steady_ns)

    def _on_error(self, error: Exception) -> None:
        self._models.last_error = f"{type(error).__name__}: {error}"
        self._health_evidence.on_error(error)
        self.get_logger().error(f"{self._source.config.source}: {error!r}")

    # -- helpers --

    def _topic(self, topic: TopicSpec) -> str:
        """Return the topic's name for this source: camera/image_raw → camera_rear/…."""
        base, name = (
            each.topic.replace(self._spec.modality, self._source.config.source, 1)
            for each in (self._spec.topics[0], topic)
        )
        return input_topic(self, name, base, sibling=topic is self._spec.calibration)

    @property
    def _frame_topics(self) -> list[str]:
        """Topics of the frames as their drivers call them."""
        return [self.resolve_topic_name(self._topic(topic)) for topic in self._topics]

    def _topic_and_publishers(self, topic: TopicSpec) -> str:
        """Name a topic with what tells a dead driver from one that cannot be heard."""
        name = self.resolve_topic_name(self._topic(topic))
        publishers = self.count_publishers(name)
        return f"{name} ({publishers} publishers)" if publishers else f"{name} (nobody publishes)"

    def _subscribe(self, receiver: Receiver, topic: TopicSpec) -> None:
        calibrates = topic is self._spec.calibration
        receiver.subscribe(
            topic.type,
            self._topic(topic),
            self._on_calibration if calibrates else functools.partial(self._on_message, topic.way),
            qos.input_qos(topic),
            on_refused=functools.partial(self._on_refused_message, topic.way),
            overriding=qos.INPUT_OVERRIDES,
            beside=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else None,
        )

    def _subscribe_beside(self, receiver: Receiver) -> None:
        if self._pose().asks_tf:
            self._transforms.subscribe(receiver)


def main(modality: str = "") -> NoReturn:
    """Run one encoder.

    Args:
        modality: what it is; empty: the command line says it as `--modality`, else its parameters.
    """
    if not modality:
        parser = argparse.ArgumentParser(prog=GENERIC, description="An encoder of any modality.")
        parser.add_argument("--modality", default="", help="kind of sensor, such as camera")
        modality = parser.parse_args(remove_ros_args(sys.argv)[1:]).modality
    run(lambda: [EncoderNode(modality)])


camera = functools.partial(main, "camera")
lidar = functools.partial(main, "lidar")
audio = functools.partial(main, "audio")
