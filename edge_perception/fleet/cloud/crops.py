"""Sends of a doubtful frame what is in doubt: sharp there, coarse everywhere else.

The image keeps its size and place, so any server takes it and what it says needs no way back: a box
lies where it lies in the frame. Coarse parts are next to nothing in a compressed question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edge_perception.core.doubt import entropy_bits
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Feature, Geometry, ImageFrame, ImageObject
from edge_perception.encoders import EncoderOutput
from edge_perception.fleet.cloud.options import FRAME, CloudOptions
from edge_perception.fleet.cloud.privacy import coarsen
from edge_perception.fleet.cloud.regions import (
    Area,
    Box,
    UnplacedError,
    area_of,
    grown,
    image_box,
    solid_box,
)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Which parts of an image a server sees."""

    boxes: tuple[Box, ...]  # of what is in doubt, within the image
    areas: tuple[Area, ...]  # the same with what is around it

    def cover(self, other: Crops) -> bool:
        """Whether all that another frame is in doubt of is in what was sent of this one."""
        return all(any(_within(box, area) for area in self.areas) for box in other.boxes)

    def show(self, box: Box | None) -> bool:
        """Whether the middle of a box is in what was sent."""
        if box is None:
            return False
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return any(_within((x, y, x, y), area) for area in self.areas)


class CropCutter:
    """Cuts what is in doubt out of images of one source."""

    def __init__(self, options: CloudOptions, *, has_images: bool) -> None:
        """Check the options.

        Args:
            options: how much around it is sent.
            has_images: whether frames of the source are images.

        Raises:
            ConfigurationError: there is no image to cut anything out of.
        """
        self._margin, self._context_px = options.crop_margin, options.crop_context_px
        if not has_images and options.send != FRAME:
            raise ConfigurationError(
                f"cloud.send: frames of this source are no images, expected '{FRAME}', got "
                f"'{options.send}'"
            )

    def find(self, frame: Any, feature: Feature, geometry: Geometry, *, least_bits: float) -> Crops:
        """Return where what is in doubt lies in an image.

        Args:
            frame: of the source.
            feature: what the robot saw in it.
            geometry: of the sensor.
            least_bits: decisions of at least this entropy; the most doubtful one in any case.

        Raises:
            UnplacedError: it cannot be told where one lies, or none is in the image.
        """
        if not isinstance(frame, ImageFrame):
            raise UnplacedError("no image")
        height, width = frame.bgr.shape[:2]
        decided = feature.objects or feature.image_objects
        limit = min(least_bits, max((entropy_bits(item.score) for item in decided), default=0.0))
        boxes, areas = [], []
        for item in decided:
            if entropy_bits(item.score) < limit:
                continue
            box = _box_of(item, frame, geometry)
            inside = None if box is None else area_of(box, width, height)
            if box is None or inside is None:
                continue
            area = area_of(grown(box, self._margin), width, height)
            assert area is not None
            boxes.append(tuple(map(float, inside)))
            areas.append(area)
        if not areas:
            raise UnplacedError("nothing in doubt lies in the image")
        return Crops(boxes=tuple(boxes), areas=tuple(areas))  # type: ignore[arg-type]

    def cut(self, frame: ImageFrame, crops: Crops) -> ImageFrame:
        """Return an image that is sharp in its crops only; the one given is not changed."""
        height, width = frame.bgr.shape[:2]
        image = frame.bgr.copy()
        cells = max(width, height) if self._context_px else 0
        coarsen(image, (0, 0, width, height), cells=cells, least=self._context_px)
        for x0, y0, x1, y1 in crops.areas:
            image[y0:y1, x0:x1] = frame.bgr[y0:y1, x0:x1]
        return replace(frame, bgr=image)


def within_crops(
    output: EncoderOutput, crops: Crops, frame: ImageFrame, geometry: Geometry
) -> EncoderOutput:
    """Return what a server said of its crops: of the rest it saw too little to say anything."""

    def shown(item: Any) -> bool:
        try:
            return crops.show(_box_of(item, frame, geometry))
        except UnplacedError:
            return False

    return replace(
        output,
        objects=tuple(item for item in output.objects if shown(item)),
        image_objects=tuple(item for item in output.image_objects if shown(item)),
    )


def _box_of(item: Any, frame: ImageFrame, geometry: Geometry) -> Box | None:
    if isinstance(item, ImageObject):
        return image_box(item, frame, geometry)
    return solid_box(item, frame, geometry)


def _within(box: Box, area: Area) -> bool:
    return area[0] <= box[0] <= box[2] <= area[2] and area[1] <= box[1] <= box[3] <= area[3]
