"""The generic encoder node: one source, whatever its modality.

A message comes in by `frame_inlet`, is inferred in the thread of `inference`, and leaves as a
feature by `feature_outlet`; here is what these have in common, and when they live.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from rclpy.utilities import remove_ros_args

from edge_perception.core.health import Health, worst
from edge_perception.core.types import Feature, Geometry
from edge_perception.encoders import GENERIC
from edge_perception.encoders.health import EncoderHealth
from edge_perception.encoders.options import usable_cores
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.pose import SensorPose, pose_of
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.encoder.cloud_link import CloudLink
from edge_perception.nodes.encoder.feature_outlet import FeatureOutlet
from edge_perception.nodes.encoder.frame_inlet import FrameInlet
from edge_perception.nodes.encoder.inference import Inference
from edge_perception.nodes.encoder.input_topics import SensorTopics
from edge_perception.nodes.encoder.models import EncoderModels
from edge_perception.nodes.encoder.parameters import EncoderParameters
from edge_perception.nodes.encoder.transforms import TransformListener
from edge_perception.nodes.links.model_services import ModelServices
from edge_perception.nodes.links.variant_advice import AdviceListener
from edge_perception.nodes.topics.endpoints import SharedInputs


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
            source: name of the sensor; when not given the node's name tells it, as SOURCE_encoder,
                and otherwise the modality.
            sink: takes features by reference, in a composed process. The topic is then served
                only while somebody listens.
            beside: the same for what the model of a trial that does not serve makes of a frame.
            kwargs: for the rclpy node.
        """
        name = source or modality
        super().__init__(f"{name}_encoder" if name else GENERIC, **kwargs)
        self._options = parameters = EncoderParameters(
            self,
            modality,
            source or "",
            on_content=lambda limits: self._models.set_content_limits(limits),
            on_load=lambda options: self._models.set_load(options),
            on_cloud=lambda options: self._cloud.change(options),
        )
        self._source = parameters.source.config.source
        self.diagnostics.hardware_id = self._source
        self.expected_name = f"{self._source}_encoder"
        self._sink, self._beside = sink, beside
        self._transforms = TransformListener(self.get_logger().warning)
        self._shared = SharedInputs(self)
        self._cloud = CloudLink(self, parameters, self._on_error)
        self._models = EncoderModels(self, parameters, self.clock, self._pose)
        self._model_services = ModelServices(self, self._models, lambda: parameters.model.config)
        self._inference = Inference(
            self,
            self._models,
            parameters,
            equip=self._equip,
            sink=self._on_feature,
            on_error=self._on_error,
        )
        self._outlet: FeatureOutlet | None = None  # while it is configured
        self._inlet: FrameInlet | None = None  # while it is active, as what follows
        self._advice: AdviceListener | None = None

    @property
    def _pipeline(self) -> EncoderPipeline:
        return self._models.configured

    @property
    def geometry(self) -> Geometry:
        """Pose of the sensor and, once known, its calibration."""
        return self._pipeline.place.located

    def _pose(self) -> SensorPose:
        listener, parameters = self._transforms, self._options
        return pose_of(
            parameters.spec,
            parameters.source.config,
            tree=None if listener.why_none else listener.tree,
            why_no_tree=listener.why_none,
        )

    # -- lifecycle --

    def configure(self) -> None:
        """Load and warm the model."""
        usable_cores(self._options.source.config.cores)
        self._models.load()
        self._outlet = FeatureOutlet(self, self._source, sink=self._sink, beside=self._beside)

    def activate(self) -> None:
        """Start the inference thread, then subscribe."""
        parameters = self._options
        self._evidence = EncoderHealth(started=self.clock.now())
        self._cloud.start(self._pipeline.model.loaded.bundle)
        self._inference.start()
        self._topics = SensorTopics(self, parameters.spec, self._source)
        self._inlet = FrameInlet(
            self,
            topics=self._topics,
            way=parameters.source.config.way,
            limits=lambda: parameters.limits.config,
            pipeline=lambda: self._pipeline,
            hand_over=self._inference.put,
            evidence=self._evidence,
            transforms=self._transforms if self._pose().asks_tf else None,
            on_error=self._on_error,
        )
        self._inlet.start()
        if parameters.load.config.condition_variants:
            self._advice = AdviceListener(self, self._source, self._models.advise, self._on_note)

    def deactivate(self) -> None:
        """Unsubscribe, then stop the inference thread."""
        # Any may be missing after an activation that failed half-way.
        if self._advice is not None:
            self._advice.close()
            self._advice = None
        if self._inlet is not None:
            self._inlet.stop()
        self._inference.stop()
        self._cloud.stop()

    def cleanup(self) -> None:
        """Release the model."""
        self._models.close()
        self._model_services.reset()
        if self._outlet is not None:
            self._outlet.close()
            self._outlet = None

    # -- in the inference thread, and beside it --

    def _equip(self, pipeline: EncoderPipeline) -> None:
        """Let a pipeline tell what it notes, what a trial makes of frames, and what it has seen."""
        assert self._outlet is not None
        pipeline.frames.on_note = self._on_note
        pipeline.beside = self._outlet.send_beside
        pipeline.seen = self._cloud.seen
        pipeline.failed = self._on_error

    def _on_feature(self, feature: Feature) -> None:
        assert self._outlet is not None
        self._evidence.on_feature(feature, self.clock.now())
        self._outlet.send(feature)

    def _on_note(self, text: str) -> None:
        self.get_logger().info(f"{self._source}: {text}")

    def _on_error(self, error: BaseException) -> None:
        self._models.last_error = f"{type(error).__name__}: {error}"
        self._evidence.on_error(error)
        self.get_logger().error(f"{self._source}: {error!r}")

    # -- diagnostics --

    def health(self) -> Health:
        """Judge the encoder."""
        assert self._inlet is not None  # the node is active
        listened = self._inlet.listened
        health = self._evidence.judge(
            pipeline=self._pipeline,
            limits=self._options.limits.config,
            topics=" or ".join(map(self._topics.described, listened)),
            now=self.clock.now(),
            arrivals=self._inlet.arrivals(),
        )
        frames = [self._topics.name(topic) for topic in listened if not topic.latched]
        load = self._pipeline.load
        found = [] if load is None else [load.finding()]
        found.append(self._cloud.finding())
        said = worst(health, *found, *self._shared.findings(frames))
        values = dict(health.values)
        for finding in found:
            values |= finding.values
        values |= self._inlet.describe()
        return replace(health, level=said.level, message=said.message, values=values)


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
