"""What flows through the runtime: sensor frames, features and the fused view.

Frozen and keyword-only. Stamps are nanoseconds since the epoch of the node clock. Lengths are
metres, angles radians. Frames follow REP-103 (base: x forward, y left, z up; z = 0 on the road)
and optical frames follow REP-103 too (z forward, x right, y down). ``T_a_b`` maps coordinates in
frame b to frame a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.conditions import NOT_KNOWN, Conditions

UNKNOWN = float("nan")
UNPLACED = "no pose"  # so begins every doubt of a source without one: it is said once, not twice


@dataclass(frozen=True, kw_only=True)
class Instant:
    """One moment on the two clocks that matter: ages use one, liveness the other."""

    node_ns: int  # node clock: wall time, or /clock with use_sim_time
    steady_ns: int  # never jumps, never pauses


@dataclass(frozen=True, kw_only=True)
class ImageFrame:
    """One camera image."""

    stamp_ns: int
    frame_id: str
    bgr: NDArray[np.uint8]  # (H, W, 3)
    intrinsics: NDArray[np.float64] | None = None  # (3, 3), px, of this image; None: not known
    notes: tuple[str, ...] = ()  # where the message was read otherwise than its metadata say


@dataclass(frozen=True, kw_only=True)
class PointCloud:
    """One LiDAR sweep."""

    stamp_ns: int
    frame_id: str
    xyz_m: NDArray[np.float32]  # (N, 3), sensor frame, finite
    intensity: NDArray[np.float32] | None = None  # (N,), 0 to 1
    ring: NDArray[np.uint16] | None = None  # (N,)
    time_offset_s: NDArray[np.float32] | None = None  # (N,), relative to stamp_ns
    notes: tuple[str, ...] = ()  # where the message was read otherwise than its metadata say
    doubt: str = ""  # why it may be no sweep of a LiDAR, by its message; empty: nothing says so


@dataclass(frozen=True, kw_only=True)
class AudioBlock:
    """Consecutive samples of one device."""

    stamp_ns: int  # time of the first sample
    frame_id: str
    samples: NDArray[np.float32]  # (N, C), full scale 1.0
    sample_rate_hz: int
    first_sample_index: int
    notes: tuple[str, ...] = ()  # what was read otherwise than the message says


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where a sensor sits and how it projects."""

    T_base_sensor: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))  # (4, 4)
    pose_source: str = ""  # of T_base_sensor: "parameter", "tf"; empty: only the default
    intrinsics: NDArray[np.float64] | None = None  # (3, 3), px, cameras only
    image_size: tuple[int, int] | None = None  # (width, height), px, cameras only
    # Intrinsics of images of other sizes that the same calibration can mean.
    other_sizes: Mapping[tuple[int, int], NDArray[np.float64]] = field(default_factory=dict)
    # Lens distortion as in sensor_msgs/CameraInfo; None: the image is a pinhole image. Boxes of
    # an encoder are always in the pinhole image of `intrinsics`.
    distortion_model: str = ""  # plumb_bob, rational_polynomial or equidistant
    distortion: NDArray[np.float64] | None = None
    microphones_m: NDArray[np.float64] | None = None  # (C, 3), sensor frame, one a channel
    # LiDARs: factor on the intensity as it is read; 0: the model gets none; None: as it asks for.
    intensity_factor: float | None = None
    notes: tuple[str, ...] = ()  # where a calibration was read otherwise than it says

    @property
    def is_placed(self) -> bool:
        """Whether a pose was given: one that says where it comes from, or is not the default."""
        return bool(self.pose_source) or not np.array_equal(self.T_base_sensor, np.eye(4))

    def at_pose_of(self, other: Geometry) -> Geometry:
        """Return this geometry where another one sits; the origin of the pose comes with it."""
        return replace(self, T_base_sensor=other.T_base_sensor, pose_source=other.pose_source)

    def says_the_same(self, other: Geometry) -> bool:
        """Whether all values are equal; drivers repeat a calibration with every frame."""
        names = [item.name for item in fields(self)]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return one is not None and other is not None and np.array_equal(one, other)  # type: ignore[arg-type]
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return one == other


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """Identity of a model bundle."""

    role: str
    name: str
    version: str
    sha256: str  # of the manifest
    feature_space: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelCommit:
    """What a node makes of the commit of a model."""

    version: ModelVersion  # of the model that serves from the stamp on
    # Frames with stamps from then on that the model before has got: it was heard too late.
    late_frames: int = 0

    @property
    def note(self) -> str:
        """What there is to tell of it; empty: nothing."""
        if not self.late_frames:
            return ""
        frames = "1 frame" if self.late_frames == 1 else f"{self.late_frames} frames"
        return f"heard after its stamp: the model before served {frames} from it on"


@dataclass(frozen=True, kw_only=True)
class ImageObject:
    """A detection in the image plane."""

    class_name: str
    score: float  # 0 to 1
    x_min: float  # px in the original image
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, kw_only=True)
class DetectedObject:
    """An oriented box in the base frame."""

    class_name: str
    score: float  # 0 to 1
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]  # length (along the heading), width, height
    yaw_rad: float
    velocity_mps: tuple[float, float, float] = (UNKNOWN, UNKNOWN, UNKNOWN)  # over ground
    sources: tuple[str, ...] = ()
    track_id: int = 0  # of the fused object over time; 0: not tracked
    age_s: float = UNKNOWN  # since it was first seen
    # Upper triangle, row by row, of x, y in m and vx, vy in m/s, base axes; empty: not tracked.
    covariance: tuple[float, ...] = ()
    emergency: float = UNKNOWN  # probability that the siren heard is its; NaN: none is heard
    emergency_evidence: str = ""  # what makes it an emergency vehicle; empty: it is none


@dataclass(frozen=True, kw_only=True)
class SoundEvent:
    """A recognised sound in a time window."""

    class_name: str
    score: float  # 0 to 1
    window_start_ns: int
    window_end_ns: int
    source: str = ""
    bearing_rad: float = UNKNOWN  # about +z of the base frame, 0: ahead
    bearing_std_rad: float = UNKNOWN  # standard deviation of it
    track_id: int = 0  # of the object in this view that it comes from; 0: none
    candidates: tuple[tuple[int, float], ...] = ()  # tracks it may come from, probabilities
    origin: str = ""  # where it comes from, in words; empty: nothing is said
    # Directions of what else sounds at that moment, the loudest first. Without a `bearing_rad` any
    # of them may be its own: several sounds were heard at once.
    other_bearings_rad: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LateEvidence:
    """What a server said of a frame that this robot was not sure of, after the frame was fused.

    No live sensor. The boxes are where things were at `stamp_ns`.
    """

    source: str  # whose frame
    modality: str
    tier: str  # which server, as configured
    stamp_ns: int  # acquisition stamp of the frame that the server saw
    asked_stamp_ns: int  # of the doubtful frame: a later one, where an earlier answer serves again
    round_trip_s: float  # of the question; UNKNOWN: an earlier answer
    doubt_bits: float  # of the robot's own decisions
    answer_doubt_bits: float  # of the server's
    model: ModelVersion
    hidden: int = 0  # regions of the image that the server did not see
    objects: tuple[DetectedObject, ...] = ()  # base frame of the moment of `stamp_ns`
    image_objects: tuple[ImageObject, ...] = ()
    sound_events: tuple[SoundEvent, ...] = ()
    crops: int = 0  # parts of the image that the server saw and speaks of; 0: it saw all


@dataclass(frozen=True, kw_only=True)
class FrameLatency:
    """Where the time of one frame went, seconds. NaN: not measured."""

    receive_s: float = UNKNOWN  # acquisition stamp to arrival, node clock
    queue_s: float = UNKNOWN  # this and the rest: steady clock
    preprocess_s: float = UNKNOWN
    inference_s: float = UNKNOWN
    postprocess_s: float = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Feature:
    """What an encoder knows of one frame."""

    stamp_ns: int
    frame_id: str
    source: str
    modality: str
    model: ModelVersion
    sequence: int
    dropped: int = 0
    refused: int = 0
    invalid_reason: str = ""  # empty: valid
    passing: bool = False  # what made it invalid is over: a driver started anew
    warning: str = ""  # usable, but its content is doubtful: value and limit
    # Under load: of the earlier frame whose tensors and decisions these are; 0: they are its own.
    inferred_stamp_ns: int = 0
    skipped: int = 0  # frames left out by load control
    given_up: str = ""  # what load control gives up; empty: nothing
    geometry: Geometry = field(default_factory=Geometry)
    tensors: Mapping[str, NDArray] = field(default_factory=dict)
    objects: tuple[DetectedObject, ...] = ()  # base frame
    image_objects: tuple[ImageObject, ...] = ()
    sound_events: tuple[SoundEvent, ...] = ()
    latency: FrameLatency = field(default_factory=FrameLatency)
    conditions: Conditions = NOT_KNOWN  # as this source sees them
    # T_to_from, (4, 4): boxes, points and geometry are in the base frame of another moment, grids
    # are still in that of `stamp_ns`. None: all are in the latter.
    displacement: NDArray[np.float64] | None = None

    @property
    def valid(self) -> bool:
        """Whether the frame was usable."""
        return not self.invalid_reason

    @property
    def evidence_ns(self) -> int:
        """Acquisition stamp of the frame that a model ran on: its own unless it is reused."""
        return self.inferred_stamp_ns or self.stamp_ns


class SourceState(IntEnum):
    """Health of one source; values as in SourceStatus.msg."""

    OK = 0
    LATE = 1
    STALE = 2
    MISSING = 3
    INVALID = 4


class Mode(IntEnum):
    """How much of the configured sensing stands behind a message; values as in the message."""

    NONE = 0
    MINIMAL = 1
    DEGRADED = 2
    FULL = 3


class FusionLevel(IntEnum):
    """Where the objects of a message come from; values as in FusedPerception.msg."""

    NONE = 0
    FEATURE = 1
    DECISION = 2


class ClosedBy(IntEnum):
    """Why a cycle ended; values as in FusedPerception.msg."""

    COMPLETE = 0
    DEADLINE = 1
    TIMER = 2


@dataclass(frozen=True, kw_only=True)
class SourceStatus:
    """What fusion knows of one source."""

    source: str
    modality: str
    state: SourceState
    reason: str = ""
    warning: str = ""  # its content is doubtful although it is used
    contributed: bool = False
    stamp_ns: int = 0
    age_s: float = UNKNOWN
    silence_s: float = UNKNOWN
    rate_hz: float = 0.0
    received: int = 0
    dropped: int = 0
    refused: int = 0
    late: int = 0
    # smallest arrival minus stamp lately: delay plus clock offset
    clock_offset_s: float = UNKNOWN
    latency: FrameLatency = field(default_factory=FrameLatency)
    inferred_stamp_ns: int = 0  # of an earlier frame whose outputs its newest feature has; 0: none
    skipped: int = 0  # frames left out by load control
    given_up: str = ""  # what load control of its encoder gives up; empty: nothing


@dataclass(frozen=True, kw_only=True)
class FusedView:
    """One fused view of the surroundings, before it becomes a FusedPerception message."""

    stamp_ns: int  # newest contributing acquisition stamp
    oldest_stamp_ns: int  # oldest contributing acquisition stamp a model ran on; 0: none
    frame_id: str
    sequence: int
    mode: Mode
    valid: bool
    reason: str
    level: FusionLevel
    level_reason: str
    closed_by: ClosedBy
    sources: tuple[SourceStatus, ...]
    objects: tuple[DetectedObject, ...]
    sound_events: tuple[SoundEvent, ...]
    models: tuple[ModelVersion, ...]
    opened_steady_ns: int
    wait_s: float
    fusion_s: float
    deadline_s: float = UNKNOWN  # from the opening of the cycle to publication
    confidence: float = UNKNOWN  # 0 to 1
    safe_stop_reason: str = ""  # why the policy asks for a safe stop; empty: it does not
    conditions: Conditions = NOT_KNOWN  # as all sources together see them
    speed_advice_mps: float = UNKNOWN  # at most, by the policy for the conditions; NaN: none
    late_evidence: tuple[LateEvidence, ...] = ()  # of servers; nothing else here rests on it

    def source(self, name: str) -> SourceStatus | None:
        """Return the status of a source; None: it is not one of this view's."""
        return next((status for status in self.sources if status.source == name), None)


@dataclass(frozen=True, kw_only=True)
class PublishedView:
    """A fused view as it was sent, or received."""

    view: FusedView
    at_ns: int  # of its publication or arrival, node clock
    end_to_end_s: float  # oldest contributing stamp to publication; NaN: none contributes
    deadline_missed: bool
