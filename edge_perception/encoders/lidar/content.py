"""Sweeps that see less than they did: frozen, almost empty, or with a sector gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.core.types import PointCloud
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    Repeats,
    doubtful,
    worthless,
)

SAMPLE = 2048  # points looked at
SECTORS = 12  # of 30 degrees
_LEARN_FRAMES = 5  # frames until the usual share of a sector is trusted
_LEARN_RATE = 0.05
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
        50, "fewer points are no sweep", unit="points", low=0, high=10_000_000, dynamic=True
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

    Which sectors a sensor fills is learnt from its first sweeps and followed slowly, so that a
    sensor that looks ahead only is not blamed for what is behind it.
    """

    def __init__(self, limits: CloudContentLimits) -> None:
        self.limits = limits
        self._repeats = Repeats()
        self._usual = np.zeros(SECTORS)  # share of the sample, or points a sweep / SAMPLE
        self._frames = 0

    def check(self, frame: PointCloud) -> Finding:
        """Return the worst finding."""
        points = len(frame.xyz_m)
        if points < self.limits.min_points:
            return worthless(f"{points} points < {self.limits.min_points}")
        step = max(1, points // SAMPLE)
        sample = frame.xyz_m[::step][:, :2].copy()
        repeats = self._repeats.see(sample)
        if 0 < self.limits.frozen_frames <= repeats:
            return worthless(
                f"frozen: the same sweep for {repeats + 1} frames > {self.limits.frozen_frames}"
            )
        # Points a sector, not shares: a lost sector must not make the others look fuller.
        counts = _sectors(sample) * float(step)
        return self._sectors_lost(counts)

    def _sectors_lost(self, counts: NDArray[np.float64]) -> Finding:
        watched = self._usual > max(1.0, _MIN_SHARE * self._usual.sum())
        lost = watched & (counts < self.limits.sector_share * self._usual)
        if self._frames < _LEARN_FRAMES or not lost.any():
            self._learn(counts)
            return GOOD
        share = float(lost.sum()) / float(watched.sum())
        width = 360 // SECTORS
        first = int(np.argmax(lost * self._usual))
        text = (
            f"{lost.sum()} of {watched.sum()} sectors lost, at {first * width - 180} to "
            f"{(first + 1) * width - 180} deg {counts[first]:.0f} points "
            f"< {self.limits.sector_share * self._usual[first]:.0f}"
        )
        return worthless(text) if share > self.limits.lost_sectors_share else doubtful(text)

    def _learn(self, counts: NDArray[np.float64]) -> None:
        self._frames += 1
        rate = max(_LEARN_RATE, 1.0 / self._frames)
        self._usual += rate * (counts - self._usual)


def _sectors(xy_m: NDArray[np.float32]) -> NDArray[np.float64]:
    """Count the points of each sector about the sensor, from -180 degrees on."""
    azimuth = np.arctan2(xy_m[:, 1], xy_m[:, 0])
    index = ((azimuth + np.float32(np.pi)) * np.float32(SECTORS / (2 * np.pi))).astype(np.intp)
    return np.bincount(index % SECTORS, minlength=SECTORS).astype(np.float64)


CONTENT = ContentSpec(limits=CloudContentLimits, make=CloudContentCheck)
