"""Whether messages hold parts of a rotation in turn, and no whole sweeps.

Some drivers publish what comes in a packet, or every so many milliseconds, and leave it to others
to put a rotation together (recordings of Cartographer, Isaac Sim without full scans, Livox). Each
message by itself looks like a sensor that has lost sectors, another one each time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FILLED = 0.04  # of the points of a message; an even sweep has 0.08 in each of 12 sectors
_FORGET = 0.98  # a message: a tenth of a rotation comes back in 10
_TURNS = 1.5  # how often a sector came back, of late


class SweepParts:
    """Counts how often sectors that were empty come back."""

    def __init__(self, sectors: int) -> None:
        self._full = np.zeros(sectors, bool)
        self._came_back = np.zeros(sectors)

    def see(self, counts: NDArray[np.float64]) -> None:
        """Take in the points of each sector of a message, wherever the model looks."""
        filled = counts > _FILLED * counts.sum()
        self._came_back *= _FORGET
        self._came_back[filled & ~self._full] += 1.0
        self._full = (self._full | filled) & (counts > 0)

    @property
    def text(self) -> str:
        """Say that they are parts; empty: they are not."""
        turning = int((self._came_back > _TURNS).sum())
        if 2 * turning <= len(self._full):
            return ""
        width = 360 * int(self._full.sum()) // len(self._full)
        return (
            f"messages hold about {width} deg of a rotation in turn: let the driver publish whole "
            "sweeps"
        )
