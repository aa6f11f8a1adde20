"""A virtual drive: numbers as an encoder would give them, each frame resembling the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE_HZ = 10.0
BLOCK = 100  # frames
CLASSES = ("car", "pedestrian", "truck")
CLASS_SHARES = (0.7, 0.2, 0.1)
OTHER_SHARES = (0.4, 0.5, 0.1)  # of a drive whose mix of classes has shifted
# Shift in spreads of the quantity; `feature_spread`: it scatters 5 times as much, same mean;
# `classes`: another mix.
SHIFTS = {
    "score": -1.5,
    "confidence": -1.5,
    "distance": 1.5,
    "size": 1.5,
    "feature_mean": 2.0,
    "feature_spread": 4.0,
    "brightness": 2.0,
    "latency": 2.0,
    "noise": 1.0,
    "constant": 1.0,
    "classes": 1.0,
}

Values = dict[str, NDArray[np.float64]]


class VirtualDrive:
    """Blocks of frames, the same for the same seed."""

    def __init__(self, seed: int, correlation: float = 0.9) -> None:
        self._rng = np.random.default_rng(seed)
        self._phi = correlation
        self._state: dict[str, float] = {}
        self.frame = 0

    @property
    def stamp_ns(self) -> int:
        """Stamp of the next frame."""
        return 10**15 + round(self.frame / RATE_HZ * 1e9)

    def block(self, shift: Mapping[str, float] | None = None) -> tuple[Values, tuple[str, ...]]:
        """Return values by quantity, five a frame of score and distance, and five classes a frame.

        Args:
            shift: moves a quantity by so many of its spreads.
        """
        shift = shift or {}

        def moved(name: str) -> float:
            return shift.get(name, 0.0)

        scene = self._walk("scene")[:, None] * 0.5
        each = self._rng.standard_normal((BLOCK, 5)) * np.sqrt(0.75)
        score = 1.0 / (1.0 + np.exp(-(scene + each + moved("score"))))
        values = {
            "score": score.ravel(),
            "confidence": score.max(axis=1) + 0.08 * moved("confidence"),
            "distance": np.exp(3.0 + 0.6 * (scene + each + moved("distance"))).ravel(),
            "size": np.exp(0.3 * (self._walk("size") + moved("size"))),
            "feature_mean": 0.1 + 0.02 * (self._walk("feature_mean") + moved("feature_mean")),
            "feature_spread": 1.0
            + 0.05 * self._walk("feature_spread") * (1.0 + moved("feature_spread")),
            "brightness": 110.0 + 12.0 * (self._walk("brightness") + moved("brightness")),
            "latency": np.log(0.02)
            + 0.1 * (self._walk("latency") + moved("latency"))
            + 0.5 * (self._rng.random(BLOCK) < 0.01),
            "noise": np.abs(self._rng.standard_normal(BLOCK)) + moved("noise"),
            "constant": np.full(BLOCK, 3.0 + moved("constant")),
        }
        shares = OTHER_SHARES if moved("classes") else CLASS_SHARES
        names = tuple(self._rng.choice(CLASSES, size=5 * BLOCK, p=shares))
        self.frame += BLOCK
        return values, names

    def _walk(self, name: str) -> NDArray[np.float64]:
        """Return the next values of an AR(1) process of unit spread."""
        steps = self._rng.standard_normal(BLOCK) * np.sqrt(1.0 - self._phi**2)
        state = self._state.get(name, self._rng.standard_normal())
        values, _ = lfilter([1.0], [1.0, -self._phi], steps, zi=[self._phi * state])
        self._state[name] = values[-1]
        return np.asarray(values)


def per_frame(values: Values, names: tuple[str, ...]) -> Iterator[tuple[Values, tuple[str, ...]]]:
    """Yield the values and classes of a block frame by frame."""
    each = {name: len(items) // BLOCK for name, items in values.items()}
    for at in range(BLOCK):
        frame = {
            name: items[at * each[name] : (at + 1) * each[name]] for name, items in values.items()
        }
        yield frame, names[at * 5 : at * 5 + 5]
