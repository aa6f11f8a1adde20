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

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import UnknownNameError
from edge_perception.core.parameter import parameter
from edge_perception.core.registry import Discovery, Registry
from edge_perception.core.types import DetectedObject, Geometry, ImageObject, SoundEvent
from edge_perception.encoders.content import ContentSpec
from edge_perception.encoders.likeness import LikenessSpec
from edge_perception.encoders.options import SourceOptions
from edge_perception.models.manifest import Manifest
from edge_perception.monitoring.source import FrameStatistics

GENERIC = "encoder"  # executable
# As image_proc and the drivers of stereo cameras name what they rectified (REP 118).
_RECTIFIED = re.compile(r"(^|[/_])(rect|rectified)([/_]|$)")


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

    # Optional, for what is learnt of a source from messages that do not come again:
    # def learn_from(self, before: Intake) -> None: take what another intake of it knows.


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
    # A message that comes while the receiver waits for a core stands behind the one before it, and
    # neither is lost unseen; the newest is at most one behind.
    depth: int = 2
    optional: bool = False  # left out where the type's package is not installed
    # Which of several ways to publish the same sensor this is; the first ones listed are the better
    # ones. Empty: it belongs to all of them.
    way: str = ""
    # Tells how other messages are to be read, and holds until the next one: who comes late needs
    # the last one. It may be published once only, transient local.
    latched: bool = False


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
    # Executable of the package that is this encoder; the generic one serves every modality.
    executable: str = GENERIC
    # What fusion expects of such a source where nothing else is said, by name of the parameter
    # (`fusion.config.SourceConfig`); `rate_hz` is above.
    fusion_defaults: Mapping[str, object] = field(default_factory=dict)
    # CameraInfo-like message to Geometry with T_base_sensor left at identity; for `calibration`.
    read_calibration: Callable[[Any], Geometry] | None = None
    # The same of images that are rectified already, where that is something else.
    read_rectified: Callable[[Any], Geometry] | None = None
    needs_pose: bool = True  # results are wrong where nobody says where the sensor sits
    check_pose: Callable[[NDArray], str] | None = None  # T_base_sensor to what is odd about it
    remark_pose: Callable[[NDArray], str] | None = None  # to what may be odd and may be meant
    content: ContentSpec | None = None  # check of the frames' content, where there is one
    # How its frames are compared, so that load control may reuse outputs; None: it may not.
    likeness: LikenessSpec | None = None
    # Makes what follows the frames of one source for drift and conditions; None: nothing does.
    statistics: Callable[[], FrameStatistics] | None = None
    # What diagnostics say of an intake, name to text; None: nothing.
    describe_intake: Callable[[Any], Mapping[str, str]] | None = None
    # Inputs that golden outputs are made with; None: smooth noise (`models.golden`).
    golden_inputs: Callable[[Manifest], Mapping[str, NDArray]] | None = None
    # What-if of a replay: (decoded message, fog 0 to 1, noise level, generator) to a message that
    # a sensor in fog, or a noisy one, would have sent; None: such a sensor is left as it is.
    alter: Callable[[Any, float, float, np.random.Generator], Any] | None = None
    make_intake: Callable[[Manifest], Intake]
    make_encoder: Callable[[Manifest, Backend], Encoder]

    @property
    def ways(self) -> tuple[str, ...]:
        """Names of the ways in which the sensor may be published, the better first."""
        return tuple(dict.fromkeys(topic.way for topic in self.topics if topic.way))

    def calibration_of(self, message: Any, topics: Iterable[str]) -> Geometry:
        """Return what a message of `calibration` says of the frames on these topics.

        Args:
            message: CameraInfo-like.
            topics: as the driver calls them; `image_rect` and the like are rectified images.

        Raises:
            InvalidFrameError: it cannot be used.
        """
        assert self.read_calibration is not None
        rectified = any(_RECTIFIED.search(topic) for topic in topics)
        if rectified and self.read_rectified is not None:
            return self.read_rectified(message)
        return self.read_calibration(message)

    @property
    def sets_pace(self) -> bool:
        """Whether fusion waits for its frames; it takes of a stream what is there."""
        return not self.fusion_defaults.get("reuse_s", 0.0)

    @property
    def locates(self) -> bool:
        """Whether its evidence places objects in space."""
        return bool(self.fusion_defaults.get("locates", True))


_DISCOVERY = Discovery(
    __name__,
    kind="modality",
    group="encoders",
    spec_type=EncoderSpec,
    name_of=lambda spec: spec.modality,
)


def encoders() -> Registry[EncoderSpec]:
    """All modalities that can be imported here, and why the others cannot."""
    return _DISCOVERY.registry()


def modality_of(source: str) -> str:
    """Return the modality that a source's name begins with: `camera_rear` is a camera.

    Raises:
        UnknownNameError: it begins with none.
        ConfigurationError: it begins with one that cannot be imported here.
    """
    known = encoders()
    for modality in sorted({*known.specs, *known.failures}, key=len, reverse=True):
        if source == modality or source.startswith(f"{modality}_"):
            return known[modality].modality
    raise UnknownNameError(kind="modality of source", name=source, known=list(known.specs))


def source_defaults(source: str, **said: object) -> dict[str, Any]:
    """Return what fusion expects of a source, for `fusion.config.SourceConfig`.

    Args:
        source: its name; it begins with its modality.
        said: parameters with other values than the defaults of the modality.

    Raises:
        UnknownNameError: as `modality_of`.
    """
    spec = encoders()[modality_of(source)]
    named = {"source": source, "modality": spec.modality}
    return {"rate_hz": spec.rate_hz, **spec.fusion_defaults, **said, **named}


def sets_pace(modality: str) -> bool:
    """Whether fusion waits for frames of a modality; of one that is not known here it does."""
    spec = encoders().specs.get(modality)
    return spec is None or spec.sets_pace


def locates(modality: str) -> bool:
    """Whether a modality places objects in space; of one that is not known here it does."""
    spec = encoders().specs.get(modality)
    return spec is None or spec.locates
