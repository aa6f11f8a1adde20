"""Sweeps that see less than they could: frozen, covered, almost empty, or with a sector gone."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.native import library
from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    Repeats,
    doubtful,
    frozen,
    worst,
    worthless,
)
from edge_perception.encoders.lidar.one_layer import one_layer_told
from edge_perception.encoders.lidar.road_below import RoadBelow
from edge_perception.encoders.lidar.sweep_parts import SweepParts

SAMPLE = 2048  # points looked at
SECTORS = 12  # of 30 degrees
_LEARN_FRAMES = 5  # frames until the usual share of a sector is trusted
_LEARN_RATE = 0.05
_FAR_M = 300.0  # no LiDAR has half of its points beyond it
_MIN_SHARE = 0.01  # a sector that usually holds less is not watched


@dataclass(frozen=True, kw_only=True)
class CloudContentLimits:
    """Thresholds of the sweep check."""

    frozen_frames: int = parameter(
        2,
        "exact repeats in a row that count as frozen; 0: off",
        unit="frames",
        low=0,
        high=1000,
        dynamic=True,
    )
    min_points: int = parameter(
        50, "fewer usable points are no sweep", unit="points", low=0, high=10_000_000, dynamic=True
    )
    min_range_m: float = parameter(
        0.5,
        "points nearer to the sensor are its own cover or housing, and not usable",
        unit="m",
        low=0.0,
        high=100.0,
        dynamic=True,
    )
    covered_share: float = parameter(
        0.5,
        "share of points nearer than min_range_m that raises a warning",
        low=0,
        high=1,
        dynamic=True,
    )
    usable_share: float = parameter(
        0.02, "less of the points usable raises a warning; 0: off", low=0, high=1, dynamic=True
    )
    sector_share: float = parameter(
        0.1,
        "a 30 degree sector below this part of its usual is lost; 0: off",
        low=0,
        high=1,
        dynamic=True,
    )
    lost_sectors_share: float = parameter(
        0.5, "more of the usual sectors lost: the sweep is refused", low=0, high=1, dynamic=True
    )


class CloudContentCheck:
    """Judges an even sample of 2048 points of each sweep.

    Usable is a point inside the model's range and not at the sensor itself: a covered LiDAR gives
    as many points as ever. Which sectors a sensor fills is learnt from its first sweeps and
    followed slowly, so that a sensor that looks ahead only is not blamed for what is behind it.
    """

    def __init__(self, limits: CloudContentLimits) -> None:
        self.limits = limits
        self._repeats = Repeats()
        self._usual = np.zeros(SECTORS)  # usable points a sweep
        self._frames = 0
        self._parts = SweepParts(SECTORS)
        self._road = RoadBelow()

    def check(
        self, frame: PointCloud, encoder: Any = None, geometry: Geometry | None = None
    ) -> Finding:
        """Return the worst finding.

        Args:
            frame: the sweep.
            encoder: whose `in_range` says what the model can use; None: everything.
            geometry: where the sensor sits.
        """
        points, limits = len(frame.xyz_m), self.limits
        step = max(1, points // SAMPLE)
        sample = frame.xyz_m[::step].copy()
        repeats = self._repeats.see(sample[:, :2])
        if 0 < limits.frozen_frames <= repeats:
            return worthless(frozen("sweep", repeats, limits.frozen_frames))
        near = np.einsum("ij,ij->i", sample, sample) < limits.min_range_m**2
        usable = ~near
        if encoder is not None and geometry is not None:
            usable &= encoder.in_range(sample, geometry)
        # Points a sector, not shares: a lost sector must not make the others look fuller.
        counts = sectors_of(sample, usable) * float(step)
        self._parts.see(sectors_of(sample, ~near))
        told = self._turned(sample, geometry), one_layer_told(sample[~near]), frame.doubt
        doubts = tuple(filter(None, told))
        if counts.sum() < limits.min_points:
            return worthless(
                f"{counts.sum():.0f} usable points of {points}, inside the model's range and "
                f"beyond content.min_range_m {limits.min_range_m:g} m "
                f"< content.min_points {limits.min_points}{self._why(sample)}"
                + "".join(f"; {text}" for text in doubts)
            )
        return worst(
            self._sectors_lost(counts),
            self._covered(float(near.mean()), float(usable.mean())),
            *map(doubtful, doubts),
        )

    def _turned(self, sample: NDArray[np.float32], geometry: Geometry | None) -> str:
        """Say that the pose turns the sweep; one that nobody gave is told as that."""
        if geometry is None or not geometry.pose_source:
            return ""
        return self._road.see(sample, geometry.T_base_sensor)

    def _why(self, sample: NDArray[np.float32]) -> str:
        """Say what can be the reason that a sweep has hardly a point for the model."""
        if self._parts.text:
            return f"; {self._parts.text}"
        median_m = float(np.median(np.linalg.norm(sample, axis=1))) if len(sample) else 0.0
        if median_m <= _FAR_M:
            return ""
        return f"; half of them are beyond {median_m:.0f} m: not in metres, or of another frame?"

    def _covered(self, near: float, usable: float) -> Finding:
        limits = self.limits
        if near > limits.covered_share:
            return doubtful(
                f"covered: {near:.0%} of the points nearer than content.min_range_m "
                f"{limits.min_range_m:g} m > content.covered_share {limits.covered_share:.0%}"
            )
        if usable < limits.usable_share:
            return doubtful(
                f"{usable:.1%} of the points inside the model's range "
                f"< content.usable_share {limits.usable_share:.1%}: is T_base_sensor right?"
            )
        return GOOD

    def _sectors_lost(self, counts: NDArray[np.float64]) -> Finding:
        limits = self.limits
        watched = self._usual > max(1.0, _MIN_SHARE * self._usual.sum())
        lost = watched & (counts < limits.sector_share * self._usual)
        if self._frames < _LEARN_FRAMES or not lost.any():
            self._learn(counts)
            return GOOD
        share = float(lost.sum()) / float(watched.sum())
        width = 360 // SECTORS
        first = int(np.argmax(lost * self._usual))
        text = (
            f"{lost.sum()} of {watched.sum()} sectors lost, at {first * width - 180} to "
            f"{(first + 1) * width - 180} deg {counts[first]:.0f} points "
            f"< {limits.sector_share * self._usual[first]:.0f} "
            f"(content.sector_share {limits.sector_share:g} of the usual)"
        )
        if self._parts.text:
            text = f"{self._parts.text} ({text})"
        if share > limits.lost_sectors_share:
            return worthless(
                f"{text}, {share:.0%} > content.lost_sectors_share {limits.lost_sectors_share:.0%}"
            )
        return doubtful(text)

    def _learn(self, counts: NDArray[np.float64]) -> None:
        self._frames += 1
        rate = max(_LEARN_RATE, 1.0 / self._frames)
        self._usual += rate * (counts - self._usual)


def sectors_of(xyz_m: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count the usable points, (N, 3), of each sector about the sensor, from -180 degrees on."""
    compiled = library()
    if compiled is None or not (xyz_m.flags.c_contiguous and usable.flags.c_contiguous):
        return sectors_numpy(xyz_m, usable)
    counts = np.empty(SECTORS, np.float64)
    points, sectors = ctypes.c_int64(len(xyz_m)), ctypes.c_int64(SECTORS)
    compiled.held.ep_sectors(xyz_m.ctypes, points, usable.ctypes, sectors, counts.ctypes)
    return counts


def sectors_numpy(xyz_m: NDArray[np.float32], usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the same, by NumPy alone."""
    azimuth = np.arctan2(xyz_m[usable, 1], xyz_m[usable, 0])
    index = ((azimuth + np.float32(np.pi)) * np.float32(SECTORS / (2 * np.pi))).astype(np.intp)
    return np.bincount(index % SECTORS, minlength=SECTORS).astype(np.float64)


CONTENT = ContentSpec(limits=CloudContentLimits, make=CloudContentCheck)
