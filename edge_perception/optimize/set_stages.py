"""One set as a vehicle makes it: each source's preprocessing, model and decisions, then fusion."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge_perception.core.types import Feature, FusedView, Geometry
from edge_perception.encoders import encoders, source_defaults
from edge_perception.encoders.serving import ServedModel
from edge_perception.fusion.config import DecisionConfig, FusionConfig, SourceConfig
from edge_perception.fusion.cycle import cycle_of
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import LoadedModel

_STREAMS = 1 << 16  # more than there are in any frames
Frames = Sequence[tuple[Any, Geometry]]  # of the modality, and where its sensor sits


class SourceStage:
    """Runs the frames of one source through the encoder of its modality, over and over."""

    def __init__(self, role: str, number: int, loaded: LoadedModel, frames: Frames) -> None:
        """Prepare.

        Args:
            role: modality.
            number: which of its sources this is, from 0 on.
            loaded: its model.
            frames: at least one.
        """
        self.source = role if not number else f"{role}_{number + 1}"
        self._role, self._loaded, self._frames = role, loaded, frames
        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(1)  # as in nodes
        self._encoder = ServedModel.build(encoders()[role], loaded).encoder
        self._runs = 0

    def run(self) -> Feature:
        """Return what the next frame gives.

        Raises:
            EdgePerceptionError: the frame cannot be used by this model, or the model fails.
        """
        turn, place = divmod(self._runs, len(self._frames))
        self._runs += 1
        frame, geometry = self._frames[place]
        if hasattr(frame, "segment"):  # the same samples again are another stretch of the stream
            frame = replace(frame, segment=frame.segment + turn * _STREAMS)
        outputs = self._encoder.infer(self._encoder.preprocess(frame, geometry))
        output = self._encoder.postprocess(outputs, frame, geometry)
        return Feature(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            source=self.source,
            modality=self._role,
            model=self._loaded.bundle.version_for(self._role),
            sequence=self._runs,
            geometry=geometry,
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
        )


class FusionStage:
    """Fuses the features of a set."""

    def __init__(self, sources: Sequence[str], loaded: LoadedModel | None) -> None:
        """Prepare.

        Args:
            sources: names of all that take part.
            loaded: fusion model; None: the decisions of the encoders are fused.
        """
        configs = tuple(SourceConfig(**source_defaults(name)) for name in sources)
        self._config = FusionConfig(sources=configs, decision=DecisionConfig())
        self._models = () if loaded is None else (BundleFusionModel(loaded),)

    def run(self, features: Mapping[str, Feature]) -> FusedView:
        """Fuse features by source; they are of one moment, whatever their stamps say."""
        newest = max(feature.stamp_ns for feature in features.values())
        stamps_ns = dict.fromkeys(features, newest)
        return fuse_cycle(
            cycle_of(self._config, features, models=self._models, stamps_ns=stamps_ns)
        )
