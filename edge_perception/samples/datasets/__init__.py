"""Published data sets as recordings: one file a data set, each exporting SPEC.

A file reads the folders of its data set as they are published and gives a `Log`; `writing` makes a
recording of any log. All poses are in the base frame of REP-105 (x forward, y left, z up).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.registry import Discovery, Registry
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.samples.truth import LabelledBox

BASE_FRAME = "base_link"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Points of one turn of a LiDAR."""

    xyz_m: NDArray[np.float32]  # (N, 3), sensor frame
    intensity: NDArray[np.float32]  # (N,), 0 to 255
    time_offset_s: NDArray[np.float32] | None = None  # (N,), against the stamp; None: not known
    ring: NDArray[np.uint16] | None = None  # (N,)


@dataclass(frozen=True, kw_only=True)
class LidarStream:
    """A LiDAR and its sweeps; points are read when they are written."""

    T_base_sensor: NDArray[np.float64]  # (4, 4)
    stamps_ns: Sequence[int]
    load: Callable[[int], Sweep]  # by index
    source: str = "lidar"
    duration_s: float = 0.1  # last point to stamp, where the points have no time


@dataclass(frozen=True, kw_only=True)
class CameraStream:
    """A camera and its image files, kept as they are."""

    T_base_sensor: NDArray[np.float64]  # (4, 4), optical frame
    K: NDArray[np.float64]  # (3, 3), px
    image_size: tuple[int, int]  # width, height
    stamps_ns: Sequence[int]
    files: Sequence[Path]  # JPEG or PNG
    source: str = "camera"
    distortion: tuple[float, ...] = ()  # plumb_bob; empty: rectified
    # K and size of each image, where they are not those of all; empty: they are
    of_each: Sequence[tuple[NDArray[np.float64], tuple[int, int]]] = ()


@dataclass(frozen=True, kw_only=True)
class LabelledMoment:
    """The boxes of one moment, in the base frame of that moment."""

    name: str
    lidar_stamp_ns: int
    image_stamp_ns: int  # of the first camera; 0: it has no image
    boxes: tuple[LabelledBox, ...]


@dataclass(frozen=True, kw_only=True)
class Log:
    """One drive of a data set."""

    name: str
    origin: str  # data set, authors, licence
    lidars: tuple[LidarStream, ...]
    cameras: tuple[CameraStream, ...]  # the first is the one that labels are looked at in
    labels: tuple[LabelledMoment, ...] = ()
    poses: tuple[Pose, ...] = ()  # of the base; empty: the data set has no odometry
    lidar_ahead_s: float = 0.0  # when a sweep passes straight ahead, against its stamp
    notes: tuple[str, ...] = field(default=())  # what the recording is not

    @property
    def streams(self) -> tuple[CameraStream | LidarStream, ...]:
        """All its sensors."""
        return (*self.cameras, *self.lidars)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which part of a data set."""

    sequence: str = ""  # empty: the only one
    cameras: tuple[str, ...] = ()  # names of the data set; empty: the front camera
    first: int = 0  # frame
    count: int | None = None  # frames; None: all


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What a data set's file exports."""

    name: str
    layout: str  # what its folder looks like, for people
    sequences: Callable[[Path], list[str]]  # drives of a folder; raises ConfigurationError
    load: Callable[[Path, Wanted], Log]  # raises ConfigurationError


_DISCOVERY = Discovery(
    __name__,
    kind="data set",
    group="datasets",
    spec_type=DatasetSpec,
    name_of=lambda spec: spec.name,
)


def datasets() -> Registry[DatasetSpec]:
    """All data sets that can be read here, and why the others cannot."""
    return _DISCOVERY.registry()
