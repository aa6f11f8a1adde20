"""What a crop is, of an image and of a sweep.

Of an image what is around crops becomes coarse cells. Of a sweep it is left out: the ground below
and around an object, which its height is measured from, is in the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import (
    DetectedObject,
    Geometry,
    ImageFrame,
    ImageObject,
    PointCloud,
)
from edge_perception.fleet.cloud.privacy import coarsen
from edge_perception.fleet.cloud.regions import Box, area_of, grown, image_box, solid_box
from edge_perception.fusion.geometry import box_corners

# A pedestrian's crop has ground and what stands beside in it, too; with 2 m a seventh of what a
# server says of the whole sweep in these places is another (`bench fleet --cloud`).
_LEAST_AROUND_M = 4.0


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One part of a frame."""

    inside: Box  # of what is in doubt, within the frame
    around: Box  # the same with what is around it


class Croppable(Protocol):
    """One kind of frames."""

    def takes(self, frame: Any) -> bool:
        """Whether a frame is of this kind."""
        ...

    def box(self, item: Any, frame: Any, geometry: Geometry) -> Box | None:
        """Return where a decision lies; None: not in the frame.

        Raises:
            UnplacedError: it cannot be told.
        """
        ...

    def crop(self, box: Box, frame: Any, geometry: Geometry) -> Crop | None:
        """Return the part of a frame for what lies there; None: it is beside the frame."""
        ...

    def cut(self, frame: Any, areas: Sequence[Box], geometry: Geometry) -> Any:
        """Return a frame that is whole in some areas only; the one given is not changed."""
        ...


class CroppedImage:
    """Images: sharp in crops, the rest in cells.

    Args:
        margin: by which share of its size a crop is larger on each side.
        context_px: cells of the rest; 0: grey.
    """

    def __init__(self, margin: float, context_px: int) -> None:
        self._margin, self._context_px = margin, context_px

    def takes(self, frame: Any) -> bool:
        """Whether it is an image."""
        return isinstance(frame, ImageFrame)

    def box(self, item: Any, frame: ImageFrame, geometry: Geometry) -> Box | None:
        """Return the outline in the image, px."""
        if isinstance(item, ImageObject):
            return image_box(item, frame, geometry)
        return solid_box(item, frame, geometry)

    def crop(self, box: Box, frame: ImageFrame, _geometry: Geometry) -> Crop | None:
        """Return whole pixels."""
        height, width = frame.bgr.shape[:2]
        inside, around = (area_of(part, width, height) for part in (box, grown(box, self._margin)))
        if inside is None or around is None:
            return None
        return Crop(inside=inside, around=around)

    def cut(self, frame: ImageFrame, areas: Sequence[Box], _geometry: Geometry) -> ImageFrame:
        """Return an image that is sharp in some areas only."""
        height, width = frame.bgr.shape[:2]
        image = frame.bgr.copy()
        cells = max(width, height) if self._context_px else 0
        coarsen(image, (0, 0, width, height), cells=cells, least=self._context_px)
        for area in areas:
            x0, y0, x1, y1 = map(int, area)
            image[y0:y1, x0:x1] = frame.bgr[y0:y1, x0:x1]
        return replace(frame, bgr=image)


class CroppedSweep:
    """Sweeps: the points above and below a rectangle of the base frame, no others.

    Args:
        margin: by which share of its size a crop is larger on each side.
    """

    def __init__(self, margin: float) -> None:
        self._margin = margin

    def takes(self, frame: Any) -> bool:
        """Whether it is a sweep."""
        return isinstance(frame, PointCloud)

    def box(self, item: Any, _frame: PointCloud, _geometry: Geometry) -> Box | None:
        """Return the rectangle along x and y of the base frame around a box, m."""
        if not isinstance(item, DetectedObject):
            return None
        corners = box_corners([item])[0, :, :2]
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def crop(self, box: Box, frame: PointCloud, geometry: Geometry) -> Crop | None:
        """Return what is around it, where it has points."""
        around = grown(box, self._margin, least=_LEAST_AROUND_M)
        if not _in_any(frame, (box,), geometry).any():
            return None
        return Crop(inside=box, around=around)

    def cut(self, frame: PointCloud, areas: Sequence[Box], geometry: Geometry) -> PointCloud:
        """Return a sweep of the points in some areas only."""
        kept = _in_any(frame, areas, geometry)

        def of(values: NDArray | None) -> NDArray | None:
            return None if values is None else values[kept]

        return replace(
            frame,
            xyz_m=frame.xyz_m[kept],
            intensity=of(frame.intensity),
            ring=of(frame.ring),
            time_offset_s=of(frame.time_offset_s),
        )


def _in_any(frame: PointCloud, areas: Sequence[Box], geometry: Geometry) -> NDArray[np.bool_]:
    """Return which points, (N,), lie in one of the rectangles of the base frame."""
    T = geometry.T_base_sensor
    xyz = frame.xyz_m.astype(np.float64)
    x, y = (xyz @ T[axis, :3] + T[axis, 3] for axis in (0, 1))
    kept = np.zeros(len(xyz), bool)
    for x0, y0, x1, y1 in areas:
        kept |= (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
    return kept
