"""Encoders: one folder a modality, each exporting SPEC.

A frame takes the same steps in every modality:

    intake.accept(message)      callback thread: cheap, may keep a stream together
    intake.frame(item)          inference thread: message to sensor frame
    encoder.preprocess(frame)   sensor frame to graph inputs
    encoder.infer(inputs)       graph inputs to graph outputs
    encoder.postprocess(...)    graph outputs to feature tensors and decisions

Message converters read attributes of the message and import no ROS package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import UnknownNameError
from edge_perception.core.parameter import parameter
from edge_perception.core.registry import Registry, discover
from edge_perception.core.types import DetectedObject, Geometry, ImageObject, SoundEvent
from edge_perception.encoders.content import ContentSpec
from edge_perception.encoders.options import SourceOptions
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class EncoderOutput:
    """What one frame gave."""

    tensors: Mapping[str, NDArray] = field(default_factory=dict)
    objects: tuple[DetectedObject, ...] = ()  # base frame
    image_objects: tuple[ImageObject, ...] = ()
    sound_events: tuple[SoundEvent, ...] = ()
    warning: str = ""  # usable, but less than what was asked for; empty: all of it
    notes: tuple[str, ...] = ()  # where something was read otherwise than its metadata say


class Intake(Protocol):
    """Turns messages of one source into frames."""

    def accept(self, message: Any) -> Any | None:
        """Take a message in the callback; return what the worker shall see, or None for nothing.

        Raises:
            InvalidFrameError: the message cannot be used.
        """
        ...

    def frame(self, item: Any) -> Any:
        """Convert what `accept` returned into a sensor frame, in the worker.

        The next call may overwrite the frame.

        Raises:
            InvalidFrameError: the message cannot be used.
        """
        ...


class Encoder(Protocol):
    """One modality with one model. Not thread-safe: one inference thread uses it."""

    def preprocess(self, frame: Any, geometry: Geometry) -> dict[str, NDArray]:
        """Return the graph inputs of a frame.

        Raises:
            InvalidFrameError: the frame cannot be used by this model.
        """
        ...

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model.

        Raises:
            BackendError: the run failed.
            InvalidOutputError: the outputs contain NaN or Inf.
        """
        ...

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: Any, geometry: Geometry
    ) -> EncoderOutput:
        """Return feature tensors and decisions."""
        ...


@dataclass(frozen=True, kw_only=True)
class TopicSpec:
    """One input topic of a modality."""

    topic: str  # relative default name
    type: str  # for example sensor_msgs/msg/Image
    reliable: bool = False
    depth: int = 1
    optional: bool = False  # left out where the type's package is not installed


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """What a modality's folder exports."""

    modality: str
    topics: tuple[TopicSpec, ...]  # every one feeds the same intake
    calibration: TopicSpec | None = None  # sensor_msgs/msg/CameraInfo, for cameras
    rate_hz: float = parameter(unit="Hz", low=0.01, high=1000.0)  # default
    default_model: str  # bundle name
    options: type[SourceOptions] = SourceOptions  # its own have what only this modality needs
    stateful: bool = False  # frames depend on those before: a stream stays on one model
    # CameraInfo-like message to Geometry with T_base_sensor left at identity; for `calibration`.
    read_calibration: Callable[[Any], Geometry] | None = None
    content: ContentSpec | None = None  # check of the frames' content, where there is one
    # What diagnostics say of an intake, name to text; None: nothing.
    describe_intake: Callable[[Any], Mapping[str, str]] | None = None
    make_intake: Callable[[Manifest], Intake]
    make_encoder: Callable[[Manifest, Backend], Encoder]


@cache
def encoders() -> Registry[EncoderSpec]:
    """All modalities that can be imported here, and why the others cannot."""
    return discover(sys.modules[__name__], kind="modality", spec_type=EncoderSpec)


def modality_of(source: str) -> str:
    """Return the modality that a source's name begins with: `camera_rear` is a camera.

    Raises:
        UnknownNameError: it begins with none.
    """
    known = encoders()
    for modality in sorted(known.specs, key=len, reverse=True):
        if source == modality or source.startswith(f"{modality}_"):
            return modality
    raise UnknownNameError(kind="modality of source", name=source, known=list(known.specs))
