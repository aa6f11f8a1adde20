"""Hides regions of an image before it leaves the robot: nothing of their pixels but coarse means.

Where it cannot be told where a class lies in the image, the frame is refused, not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, FleetError, UnknownNameError
from edge_perception.core.types import DetectedObject, Feature, Geometry, ImageFrame, ImageObject
from edge_perception.encoders.camera.calibration import geometry_of_image, project
from edge_perception.fleet.cloud.options import NONE, PIXELATE, CloudOptions
from edge_perception.fusion.geometry import box_corners, to_sensor
from edge_perception.models.manifest import Manifest

GREY = 128
_PARTS = ("top", "bottom")
_ALONG = 9  # points along each side of a box
_NEAR_M = 0.1  # of the image plane
Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max, px


class PrivacyError(FleetError):
    """What is to be hidden cannot be found in the image, so the image must not leave."""


@dataclass(frozen=True, kw_only=True)
class HiddenClass:
    """A class whose boxes are hidden, or which part of them."""

    name: str
    part: str = ""  # top, bottom; empty: all of it
    share: float = 1.0

    def of(self, box: Box) -> Box:
        """Return the part of a box that is hidden."""
        x0, y0, x1, y1 = box
        height = (y1 - y0) * self.share
        if self.part == "top":
            return x0, y0, x1, y0 + height
        return (x0, y1 - height, x1, y1) if self.part == "bottom" else box


def hidden_class(text: str) -> HiddenClass:
    """Read CLASS, CLASS:top:SHARE or CLASS:bottom:SHARE.

    Raises:
        ConfigurationError: it is none of them.
    """
    name, *rest = text.split(":")
    if not rest and name:
        return HiddenClass(name=name)
    try:
        part, share = rest[0], float(rest[1])
    except (IndexError, ValueError):
        part, share = "", 0.0
    if not name or len(rest) != 2 or part not in _PARTS or not 0.0 < share <= 1.0:
        raise ConfigurationError(
            f"cloud.privacy_classes: expected CLASS, CLASS:top:SHARE or CLASS:bottom:SHARE, got "
            f"'{text}'"
        )
    return HiddenClass(name=name, part=part, share=share)


class PrivacyFilter:
    """Hides what the options name, of images of one source."""

    def __init__(self, options: CloudOptions, *, has_images: bool) -> None:
        """Check the options.

        Args:
            options: what is hidden.
            has_images: whether frames of the source are images.

        Raises:
            ConfigurationError: a class or a region is none, or there is no image to hide
                anything in.
        """
        self._options = options
        self._classes = [hidden_class(text) for text in options.privacy_classes]
        if not has_images and options.privacy != NONE:
            raise ConfigurationError(
                f"cloud.privacy: frames of this source are no images, '{options.privacy}' hides "
                f"nothing in them; '{NONE}' sends them as they are"
            )
        self._shares = _regions(options.privacy_regions)

    def check(self, manifest: Manifest) -> None:
        """Refuse the robot's own model where it does not know what is to be hidden.

        Raises:
            UnknownNameError: a class that it never publishes would never be hidden.
        """
        published = manifest.postprocessing.get("classes") or {}
        known = sorted(set(published.values())) if published else list(manifest.labels)
        for hidden in self._classes:
            if hidden.name not in known:
                raise UnknownNameError(
                    kind=f"class of cloud.privacy_classes with {manifest.name}",
                    name=hidden.name,
                    known=known,
                )

    def apply(self, frame: Any, feature: Feature, geometry: Geometry) -> tuple[Any, int]:
        """Return a frame without what is hidden, and how many regions that are.

        Args:
            frame: of the source; an image is not changed, the one returned is another.
            feature: what the robot saw in it.
            geometry: of the sensor.

        Raises:
            PrivacyError: it cannot be told where a class lies in the image.
        """
        options = self._options
        if options.privacy == NONE:
            return frame, 0
        if not isinstance(frame, ImageFrame):
            raise PrivacyError("no image")
        image = frame.bgr.copy()
        height, width = image.shape[:2]
        if options.privacy == PIXELATE:
            _hide(
                image,
                (0, 0, width, height),
                cells=max(width, height),
                least=options.privacy_cell_px,
            )
            return replace(frame, bgr=image), 1
        boxes = [
            (x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in self._shares
        ]
        boxes += [
            _grown(box, options.privacy_margin) for box in self._found(frame, feature, geometry)
        ]
        for x0, y0, x1, y1 in boxes:
            area = (
                max(int(np.floor(x0)), 0),
                max(int(np.floor(y0)), 0),
                min(int(np.ceil(x1)), width),
                min(int(np.ceil(y1)), height),
            )
            if area[0] < area[2] and area[1] < area[3]:
                _hide(image, area, cells=options.privacy_cells, least=options.privacy_cell_px)
        return replace(frame, bgr=image), len(boxes)

    def _found(self, frame: ImageFrame, feature: Feature, geometry: Geometry) -> Iterator[Box]:
        for hidden in self._classes:
            flat = [item for item in feature.image_objects if item.class_name == hidden.name]
            solid = [item for item in feature.objects if item.class_name == hidden.name]
            for item in flat:
                yield hidden.of(_image_box(item, frame, geometry))
            for thing in solid:
                box = _solid_box(thing, frame, geometry)
                if box is not None:
                    yield hidden.of(box)


def _regions(shares: Sequence[float]) -> list[Box]:
    regions = [tuple(shares[at : at + 4]) for at in range(0, len(shares), 4)]
    for region in regions:
        if len(region) != 4 or not (
            0.0 <= region[0] < region[2] <= 1.0 and 0.0 <= region[1] < region[3] <= 1.0
        ):
            raise ConfigurationError(
                "cloud.privacy_regions: expected x_min, y_min, x_max, y_max in shares of the "
                f"image, 0 to 1, got {list(region)}"
            )
    return regions  # type: ignore[return-value]


def _hide(
    image: NDArray[np.uint8], area: tuple[int, int, int, int], *, cells: int, least: int
) -> None:
    """Replace an area by the means of its cells, or by grey; in place."""
    x0, y0, x1, y1 = area
    part = image[y0:y1, x0:x1]
    if cells == 0:
        part[:] = GREY
        return
    size = max(least, int(np.ceil(max(part.shape[:2]) / cells)))
    rows, columns = (_edges(length, size) for length in part.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(part.astype(np.int64), rows[:-1], 0), columns[:-1], 1)
    high, wide = np.diff(rows), np.diff(columns)
    means = sums // (high[:, None] * wide[None, :])[..., None]
    part[:] = np.repeat(np.repeat(means, high, axis=0), wide, axis=1)


def _edges(length: int, size: int) -> NDArray[np.intp]:
    """Return where cells begin and end; none is smaller than `size`, unless the whole is."""
    return np.linspace(0, length, max(length // size, 1) + 1).astype(np.intp)


def _grown(box: Box, margin: float) -> Box:
    x0, y0, x1, y1 = box
    by_x, by_y = max((x1 - x0) * margin, 2.0), max((y1 - y0) * margin, 2.0)
    return x0 - by_x, y0 - by_y, x1 + by_x, y1 + by_y


def _image_box(item: ImageObject, frame: ImageFrame, geometry: Geometry) -> Box:
    """Return where a box of the pinhole image lies in the image itself."""
    size = (frame.bgr.shape[1], frame.bgr.shape[0])
    K = geometry.intrinsics
    if K is None or (geometry.distortion is None and geometry.image_size in (None, size)):
        return item.x_min, item.y_min, item.x_max + 1.0, item.y_max + 1.0
    share = np.linspace(0.0, 1.0, _ALONG)
    x, y = np.meshgrid(
        item.x_min + share * (item.x_max - item.x_min),
        item.y_min + share * (item.y_max - item.y_min),
    )
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    box = _around(_pixels(rays, geometry, size), size)
    if box is None:
        raise PrivacyError(f"{item.class_name}: its box is outside of what the lens maps")
    return box


def _solid_box(item: DetectedObject, frame: ImageFrame, geometry: Geometry) -> Box | None:
    """Return the outline of a box in space in the image; None: it is not in it."""
    if geometry.intrinsics is None or not geometry.is_placed:
        raise PrivacyError(
            f"{item.class_name}: where it lies in the image is not known without "
            f"{'calibration' if geometry.intrinsics is None else 'pose'} of the camera"
        )
    size = (frame.bgr.shape[1], frame.bgr.shape[0])
    corners, share = box_corners([item])[0], np.linspace(0.0, 1.0, _ALONG)[:, None]
    sides = [(a, b) for a in range(8) for b in range(a + 1, 8) if a ^ b in (1, 2, 4)]
    lines = [corners[a] * (1.0 - share) + corners[b] * share for a, b in sides]
    points = to_sensor(np.concatenate(lines), geometry)
    points_before = points[points[:, 2] > _NEAR_M]
    pixels = _pixels(points_before, geometry, size)
    pixels = pixels[np.isfinite(pixels[:, 0])]
    if not len(pixels):
        return None
    (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0) + 1.0
    if len(pixels) == len(points):
        return float(x0), float(y0), float(x1), float(y1)
    # Partly beside the camera or beyond its lens: all the height, to the edge on its side.
    left = float(points[:, 0].mean()) < 0.0
    return 0.0 if left else float(x0), 0.0, float(x1) if left else float(size[0]), float(size[1])


def _pixels(rays: NDArray, geometry: Geometry, size: tuple[int, int]) -> NDArray:
    fitted = geometry_of_image(geometry, size)
    return project(rays, replace(fitted, image_size=fitted.image_size or size))


def _around(pixels: NDArray, size: tuple[int, int]) -> Box | None:
    """Return what is around pixels, (R, C, 2); sides that the lens lost reach the edge."""
    known = np.isfinite(pixels[..., 0])
    if not known.any():
        return None
    found = pixels[known]
    x0, y0 = found.min(axis=0)
    x1, y1 = found.max(axis=0) + 1.0
    if known.all():
        return float(x0), float(y0), float(x1), float(y1)
    if not known[:, 0].all():
        x0 = 0.0
    if not known[:, -1].all():
        x1 = float(size[0])
    if not known[0].all():
        y0 = 0.0
    if not known[-1].all():
        y1 = float(size[1])
    return float(x0), float(y0), float(x1), float(y1)
