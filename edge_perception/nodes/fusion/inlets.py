"""What fusion takes from topics: features, late evidence and odometry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rclpy.qos import qos_profile_sensor_data

from edge_perception.core.errors import EdgePerceptionError, ModelError
from edge_perception.core.types import Feature
from edge_perception.encoders import modality_of
from edge_perception.fusion.late import LateBoard
from edge_perception.fusion.odometry import ODOMETRY_TYPE, pose_from_msg
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.fusion.parameters import FusionParameters
from edge_perception.nodes.fusion.worker import FusionWorker
from edge_perception.nodes.links.feature_inlet import FeatureInlet, trial_topic
from edge_perception.nodes.links.late_evidence import LateInlet
from edge_perception.nodes.topics.receiver import Receiver

DECISION_BYTES = 4_000_000  # decisions and obstacle points beside what the fusion model takes
MOST_FEATURE_BYTES = 32_000_000  # of a feature that no model is asked for


class FusionInlets:
    """The topics that fusion hears, from its activation to its deactivation.

    Args:
        node: the fusion node.
        parameters: name the sources, and the topic of the odometry.
        worker: takes features and odometry.
        beside: takes what the model of a trial that does not serve made of a frame.
        input_bytes: the most that the models take of a modality; None: there is no model.
        on_error: takes what is refused and is no feature of a source.
    """

    def __init__(
        self,
        node: PerceptionNode,
        parameters: FusionParameters,
        *,
        worker: FusionWorker,
        beside: Callable[[Feature], None],
        input_bytes: Callable[[str], int | None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._parameters, self._worker = node, parameters, worker
        self._beside, self._input_bytes, self._on_error = beside, input_bytes, on_error
        self._receiver = Receiver(node, on_error=on_error)

    def hear_features(self) -> None:
        """Subscribe to the features of all sources, and to those of trials; before `start`."""
        for source in self._parameters.options.config.sources:
            most_bytes = functools.partial(self._most_bytes, modality_of(source))
            FeatureInlet(
                self._node,
                source,
                most_bytes=most_bytes,
                offer=self._worker.offer,
                refuse=self._worker.refuse,
            ).subscribe(self._receiver)
            FeatureInlet(
                self._node,
                source,
                topic=trial_topic(source),
                most_bytes=most_bytes,
                offer=lambda feature, _route: self._beside(feature),
                refuse=lambda _source, reason: self._on_error(ModelError(reason)),
            ).subscribe(self._receiver)

    def hear_late_evidence(self, board: LateBoard) -> None:
        """Subscribe to what servers say of doubtful frames, for a board; before `start`."""
        sources = self._parameters.options.config.sources
        LateInlet(self._node, board, sources, self._on_error).subscribe(self._receiver)

    def hear_odometry(self, topic: str) -> None:
        """Subscribe to where the vehicle is; before `start`."""
        self._receiver.subscribe(
            ODOMETRY_TYPE,
            topic,
            self._on_odometry,
            qos_profile_sensor_data,
            on_refused=self._on_error,
        )

    def start(self) -> None:
        """Begin to take messages."""
        self._receiver.start()

    def stop(self) -> None:
        """Unsubscribe; twice is fine."""
        self._receiver.stop()

    def _most_bytes(self, modality: str) -> int:
        """Return the largest feature message of a modality that the models can produce."""
        allowed_mb = self._parameters.options.config.max_feature_mb
        if allowed_mb:
            return round(allowed_mb * 1e6)
        taken = self._input_bytes(modality)
        return MOST_FEATURE_BYTES if taken is None else taken + DECISION_BYTES

    def _on_odometry(self, message: Any) -> None:
        try:
            self._worker.move(pose_from_msg(message, self._parameters.cycle.config.base_frame))
        except EdgePerceptionError as error:
            self._on_error(error)
