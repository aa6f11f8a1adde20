"""What is assumed of tracked road users: how they move, how well they are placed, how they jump.

Orders of magnitude of road traffic and of detectors; the filter scales the noise of a track by what
it sees.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.classes import PERSON

CAMERA = "camera"  # modality that knows directions better than ranges


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How road users move, and how far from where it is expected one may be found."""

    acceleration: float  # spectral density, m²/s³
    speed_mps: float  # standard deviation of the velocity of one that was just found
    place_m: float  # standard deviation of a centre where more than cameras tell it
    known_m: float  # reach once its velocity is known
    new_m: float  # reach of one seen once or twice
    fastest_mps: float  # and how that grows with time


_VEHICLE = Kind(
    acceleration=0.3, speed_mps=12.0, place_m=0.15, known_m=2.0, new_m=1.0, fastest_mps=30.0
)
_PERSON = Kind(
    acceleration=0.2, speed_mps=3.0, place_m=0.12, known_m=1.0, new_m=0.6, fastest_mps=8.0
)
_KINDS = (_VEHICLE, _PERSON)
_OF_KINDS = {
    item.name: np.array([getattr(kind, item.name) for kind in _KINDS]) for item in fields(Kind)
}
# A camera alone knows the direction and guesses the range, by what a road user measures.
_CAMERA_RANGE, _CAMERA_ACROSS = 0.07, 0.015  # of the range
_CAMERA_RANGE_M, _CAMERA_ACROSS_M = 0.5, 0.2  # at least


def kind_of(group: str) -> int:
    """Return the number of what is assumed of a group of classes (see `fusion.classes`)."""
    return 1 if group == PERSON else 0


def assumed(name: str, kinds: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return one number of every kind asked for, (N,)."""
    found: NDArray[np.float64] = _OF_KINDS[name][kinds]
    return found


def place_noise(
    objects: Sequence[DetectedObject], kinds: NDArray[np.integer], cameras: Collection[str]
) -> NDArray[np.float64]:
    """Return the covariances of the objects' centres on the ground, m², base frame.

    Args:
        objects: of a view.
        kinds: of each.
        cameras: sources that know directions better than ranges.

    Returns:
        (3, N): xx, xy, yy.
    """
    x, y = np.array([item.center_m[:2] for item in objects]).reshape(-1, 2).T
    coarse = np.array(
        [bool(item.sources) and all(name in cameras for name in item.sources) for item in objects],
        bool,
    )
    near = assumed("place_m", kinds) ** 2
    measured = np.stack([near, np.zeros(len(near)), near])
    if not coarse.any():
        return measured
    range2 = np.maximum(x * x + y * y, 1e-12)
    along = np.maximum(_CAMERA_RANGE**2 * range2, _CAMERA_RANGE_M**2)
    across = np.maximum(_CAMERA_ACROSS**2 * range2, _CAMERA_ACROSS_M**2)
    longer = (along - across) / range2
    noise = np.stack([across + longer * x * x, longer * x * y, across + longer * y * y])
    return np.where(coarse, noise, measured)
