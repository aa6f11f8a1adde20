"""How sure a figure of few frames is: bootstrap over the frames (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

FEW = 200  # frames; of fewer an interval is given
_DRAWS = 100
_TAIL = 5.0  # per cent on either side

T = TypeVar("T")


def interval(frames: Sequence[T], figure: Callable[[Sequence[T]], float]) -> list[float] | None:
    """Return low and high end of the interval of nine in ten sets of as many frames.

    Frames that follow one another are alike, which makes the true one wider.

    Args:
        frames: what the figure is made of; drawn with replacement, always the same way.
        figure: of some frames; NaN: not known of these.

    Returns:
        None where fewer than two frames, or no draw, tell anything.
    """
    if len(frames) < 2:
        return None
    rng = np.random.default_rng(0)
    drawn = [
        figure([frames[i] for i in rng.integers(0, len(frames), len(frames))])
        for _ in range(_DRAWS)
    ]
    known = [value for value in drawn if np.isfinite(value)]
    if not known:
        return None
    low, high = np.percentile(known, [_TAIL, 100.0 - _TAIL])
    return [float(low), float(high)]
