"""Hides regions of an image before it leaves the robot: nothing of their pixels but coarse means.

Where it cannot be told where a class lies in the image, the frame is refused, not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.core.types import Feature, Geometry, ImageFrame
from edge_perception.fleet.cloud.options import NONE, PIXELATE, CloudOptions
from edge_perception.fleet.cloud.regions import (
    Area,
    Box,
    UnplacedError,
    area_of,
    grown,
    image_box,
    solid_box,
)
from edge_perception.models.manifest import Manifest

GREY = 128
_PARTS = ("top", "bottom")


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
            UnplacedError: it cannot be told where a class lies in the image.
        """
        options = self._options
        if options.privacy == NONE:
            return frame, 0
        if not isinstance(frame, ImageFrame):
            raise UnplacedError("no image")
        image = frame.bgr.copy()
        height, width = image.shape[:2]
        if options.privacy == PIXELATE:
            coarsen(
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
            grown(box, options.privacy_margin) for box in self._found(frame, feature, geometry)
        ]
        for box in boxes:
            area = area_of(box, width, height)
            if area is not None:
                coarsen(image, area, cells=options.privacy_cells, least=options.privacy_cell_px)
        return replace(frame, bgr=image), len(boxes)

    def _found(self, frame: ImageFrame, feature: Feature, geometry: Geometry) -> Iterator[Box]:
        for hidden in self._classes:
            flat = [item for item in feature.image_objects if item.class_name == hidden.name]
            solid = [item for item in feature.objects if item.class_name == hidden.name]
            for item in flat:
                yield hidden.of(image_box(item, frame, geometry))
            for thing in solid:
                box = solid_box(thing, frame, geometry)
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


def coarsen(image: NDArray[np.uint8], area: Area, *, cells: int, least: int) -> None:
    """Replace an area by the means of its cells, or by grey; in place.

    Args:
        image: (H, W, 3).
        area: of it.
        cells: of the longer side at most; 0: grey.
        least: size of a cell, px.
    """
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
