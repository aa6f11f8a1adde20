"""A virtual drive: numbers as an encoder would give them, each frame resembling the one before."""

import numpy as np
from scipy.signal import lfilter

RATE_HZ = 10.0
BLOCK = 100  # frames
CLASSES = ("car", "pedestrian", "truck")
CLASS_SHARES = (0.7, 0.2, 0.1)


class VirtualDrive:
    """Blocks of frames; `shift` moves one quantity by a number of its spreads."""

    def __init__(self, seed, correlation=0.9):
        self._rng = np.random.default_rng(seed)
        self._phi = correlation
        self._state = {}
        self.frame = 0

    def _walk(self, name):
        """AR(1) of unit spread."""
        steps = self._rng.standard_normal(BLOCK) * np.sqrt(1.0 - self._phi**2)
        state = self._state.get(name, self._rng.standard_normal())
        values, _ = lfilter([1.0], [1.0, -self._phi], steps, zi=[self._phi * state])
        self._state[name] = values[-1]
        return values

    def block(self, shift=None):
        """Values by quantity, one a frame but for score and distance, and classes."""
        shift = shift or {}
        moved = lambda name: shift.get(name, 0.0)  # noqa: E731
        scene = self._walk("scene")[:, None] * 0.5
        each = self._rng.standard_normal((BLOCK, 5)) * np.sqrt(0.75)
        score = 1.0 / (1.0 + np.exp(-(scene + each + moved("score"))))
        values = {
            "score": score.ravel(),
            "confidence": score.max(axis=1) + 0.08 * moved("confidence"),
            "distance": np.exp(3.0 + 0.6 * (scene + each)).ravel()
            * np.exp(0.6 * moved("distance")),
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
        weights = np.array(CLASS_SHARES)
        if moved("classes"):
            weights = np.array([0.4, 0.5, 0.1])
        names = tuple(self._rng.choice(CLASSES, size=5 * BLOCK, p=weights))
        self.frame += BLOCK
        return values, names

    @property
    def stamp_ns(self):
        return 10**15 + round(self.frame / RATE_HZ * 1e9)


def per_frame(values, names):
    """One mapping and its classes a frame."""
    for at in range(BLOCK):
        frame = {}
        for name, items in values.items():
            each = len(items) // BLOCK
            frame[name] = items[at * each : (at + 1) * each]
        yield frame, names[at * 5 : at * 5 + 5]
