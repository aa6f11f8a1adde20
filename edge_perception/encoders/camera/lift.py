"""The sampling grid that lifts image features to the bird's-eye grid of the base frame.

It depends on the calibration only, so it is computed once for each geometry and then fed to the
graph with every image: the network itself knows nothing of a particular camera or mounting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import UncalibratedError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import DetectedObject, Geometry
from edge_perception.encoders.camera.calibration import project

OUTSIDE = -2.0  # a normalised coordinate that GridSample answers with zeros
SEEN = "seen"  # tensor of a feature: the cells that its image shows
_MIN_DEPTH_M = 0.1


@dataclass(frozen=True, kw_only=True)
class LiftConfig:
    """The bird's-eye grid: rows follow +x, columns +y, one layer for each height."""

    x_range_m: tuple[float, float] = (-25.6, 51.2)
    y_range_m: tuple[float, float] = (-25.6, 25.6)
    cell_m: float = parameter(0.8, unit="m", low=0.05, high=10.0)
    heights_m: tuple[float, ...] = (0.0,)  # base frame

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (x) and columns (y) of the grid."""
        return (
            round((self.x_range_m[1] - self.x_range_m[0]) / self.cell_m),
            round((self.y_range_m[1] - self.y_range_m[0]) / self.cell_m),
        )

    def centers_m(self) -> NDArray[np.float64]:
        """Return the cell centres, (heights, rows, columns, 3), base frame."""
        rows, columns = self.shape
        x = self.x_range_m[0] + (np.arange(rows) + 0.5) * self.cell_m
        y = self.y_range_m[0] + (np.arange(columns) + 0.5) * self.cell_m
        z, x, y = np.meshgrid(np.asarray(self.heights_m), x, y, indexing="ij")
        return np.stack([x, y, z], axis=-1)


@dataclass(frozen=True, kw_only=True)
class ImagePlacement:
    """Where an image lies in the network's input: network px = scale * image px + offset.

    Both in continuous coordinates, where the first pixel spans 0 to 1.
    """

    size: tuple[int, int]  # width, height of the network input, px
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


def lift_grid(
    geometry: Geometry, config: LiftConfig, placement: ImagePlacement
) -> NDArray[np.float32]:
    """Return where each grid point is seen, (1, heights * rows, columns, 2), float32.

    The last axis is x, y in the convention of ONNX GridSample with align_corners=0: -1 to 1 from
    edge to edge of the network input. Points behind the camera or outside the image hold
    `OUTSIDE`, also where the letterbox padding would be sampled.

    Args:
        geometry: T_base_sensor of the optical frame (z forward, x right, y down), intrinsics in
            pixels of the original image (pixel centres at integers), image_size.
        config: the bird's-eye grid.
        placement: how the image was resized and padded.

    Raises:
        UncalibratedError: intrinsics or image size are not known.
    """
    if geometry.intrinsics is None or geometry.image_size is None:
        raise UncalibratedError(
            "lifting to the bird's-eye grid expects intrinsics and image size, got none"
        )
    T_sensor_base = np.linalg.inv(geometry.T_base_sensor)
    points = config.centers_m() @ T_sensor_base[:3, :3].T + T_sensor_base[:3, 3]
    depth = points[..., 2]
    pixels = project(points, geometry) + 0.5  # NaN where the lens does not look
    u, v = pixels[..., 0], pixels[..., 1]
    width, height = geometry.image_size
    seen = (depth > _MIN_DEPTH_M) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    x = (u * placement.scale[0] + placement.offset[0]) * 2 / placement.size[0] - 1
    y = (v * placement.scale[1] + placement.offset[1]) * 2 / placement.size[1] - 1
    grid = np.where(seen[..., None], np.stack([x, y], axis=-1), OUTSIDE)
    return np.ascontiguousarray(grid.reshape(1, -1, config.shape[1], 2), dtype=np.float32)


def seen_cells(grid: NDArray[np.float32], config: LiftConfig) -> NDArray[np.uint8]:
    """Return which cells a camera sees at any height, (1, 1, rows, columns), 0 or 1.

    Args:
        grid: of `lift_grid`.
        config: the bird's-eye grid.
    """
    inside = grid[0, :, :, 0] != OUTSIDE
    layers = inside.reshape(len(config.heights_m), *config.shape)
    return np.ascontiguousarray(layers.any(axis=0)[None, None], np.uint8)


def shown(
    objects: Sequence[DetectedObject], seen: NDArray[np.uint8], config: LiftConfig
) -> tuple[DetectedObject, ...]:
    """Return the objects of which a camera sees the ground or what is above it.

    What a network says of the other cells nobody has taught it, as nobody could know.

    Args:
        objects: base frame.
        seen: of `seen_cells`.
        config: the bird's-eye grid.
    """
    return tuple(item for item in objects if _is_shown(item, seen[0, 0], config))


def _is_shown(item: DetectedObject, seen: NDArray[np.uint8], config: LiftConfig) -> bool:
    if not all(map(math.isfinite, (*item.center_m, *item.size_m))):
        return True  # refused by name where objects are checked
    reach = 0.5 * math.hypot(*item.size_m[:2])
    spans = []
    for axis, low in enumerate((config.x_range_m[0], config.y_range_m[0])):
        at = item.center_m[axis] - low
        first = max(math.floor((at - reach) / config.cell_m), 0)
        spans.append(slice(first, max(math.ceil((at + reach) / config.cell_m), first)))
    return bool(seen[spans[0], spans[1]].any())
