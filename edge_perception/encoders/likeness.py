"""Whether a frame hardly differs from another one, by a small sketch of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LikenessSpec:
    """How frames of a modality are compared: cell by cell, and the worst cell counts.

    A mean would hide what changes in one place only, such as somebody who steps out.
    """

    sketch: Callable[[Any], NDArray]  # sensor frame to float32 cells, a copy
    limit: float  # difference of a cell up to which a frame hardly differs
    unit: str  # of it

    def difference(self, a: NDArray, b: NDArray) -> float:
        """Return the largest difference of a cell; infinite where sketches have other shapes."""
        if a.shape != b.shape or not a.size:
            return float("inf")
        return float(np.abs(a - b).max())
