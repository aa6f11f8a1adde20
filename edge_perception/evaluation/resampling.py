"""How sure a figure of few frames is: bootstrap over the frames (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

FEW = 200  # frames; of fewer an interval is given
_DRAWS = 100
_TAIL = 5.0  # per cent on either side

T = TypeVar("T")


def interval(frames: Sequence[T], figure: Callable[[Sequence[T]], float]) -> list[float] | None:
    """Return low and high end of one figure; as `intervals`."""
    return intervals(frames, lambda some: {"": figure(some)}).get("")


def intervals(
    frames: Sequence[T], figures: Callable[[Sequence[T]], Mapping[str, float]]
) -> dict[str, list[float] | None]:
    """Return low and high end of the interval of nine in ten sets of as many frames, by name.

    Frames that follow one another are alike, which makes the true one wider.

    Args:
        frames: what the figures are made of; drawn with replacement, always the same way.
        figures: of some frames; NaN or left out: not known of these.

    Returns:
        None for a figure that no draw tells; of fewer than two frames nothing is known.
    """
    if len(frames) < 2:
        return {}
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {}
    for _ in range(_DRAWS):
        some = [frames[i] for i in rng.integers(0, len(frames), len(frames))]
        for name, value in figures(some).items():
            drawn.setdefault(name, []).append(value)
    return {name: _between(values) for name, values in drawn.items()}


def _between(values: Sequence[float]) -> list[float] | None:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return None
    low, high = np.percentile(known, [_TAIL, 100.0 - _TAIL])
    return [float(low), float(high)]
