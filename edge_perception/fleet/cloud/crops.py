"""Sends of a doubtful frame what is in doubt; of the rest next to nothing.

The frame keeps its size and place, so any server takes it and what it says needs no way back: a box
lies where it lies in the frame. What is left of the rest takes little in a compressed question.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edge_perception.core.doubt import entropy_bits
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Feature, Geometry
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.fleet.cloud.cropped import Croppable, CroppedImage, CroppedSweep
from edge_perception.fleet.cloud.options import FRAME, CloudOptions
from edge_perception.fleet.cloud.regions import Box, UnplacedError

_CLOUD_TYPES = ("sensor_msgs/msg/PointCloud2",)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Which parts of a frame a server sees: px of an image, m along x and y of the base frame."""

    boxes: tuple[Box, ...]  # of what is in doubt, within the frame
    areas: tuple[Box, ...]  # the same with what is around it

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
    """Cuts what is in doubt out of frames of one source."""

    def __init__(self, options: CloudOptions, spec: EncoderSpec) -> None:
        """Check the options.

        Args:
            options: how much around it is sent.
            spec: modality of the source.

        Raises:
            ConfigurationError: nothing can be cut out of such frames.
        """
        self._kind: Croppable | None = None
        if spec.calibration is not None:
            self._kind = CroppedImage(options.crop_margin, options.crop_context_px)
        elif any(topic.type in _CLOUD_TYPES for topic in spec.topics):
            self._kind = CroppedSweep(options.crop_margin)
        if self._kind is None and options.send != FRAME:
            raise ConfigurationError(
                f"cloud.send: frames of modality {spec.modality} are neither images nor sweeps, "
                f"expected '{FRAME}', got '{options.send}'"
            )

    def find(self, frame: Any, feature: Feature, geometry: Geometry, *, least_bits: float) -> Crops:
        """Return where what is in doubt lies in a frame.

        Args:
            frame: of the source.
            feature: what the robot saw in it.
            geometry: of the sensor.
            least_bits: decisions of at least this entropy; the most doubtful one in any case.

        Raises:
            UnplacedError: it cannot be told where one lies, or none is in the frame.
        """
        kind = self._kind
        if kind is None or not kind.takes(frame):
            raise UnplacedError("a frame of another kind")
        decided = feature.objects or feature.image_objects
        limit = min(least_bits, max((entropy_bits(item.score) for item in decided), default=0.0))
        boxes, areas = [], []
        for item in decided:
            if entropy_bits(item.score) < limit:
                continue
            box = kind.box(item, frame, geometry)
            area = None if box is None else kind.crop(box, frame, geometry)
            if area is not None:
                boxes.append(area.inside)
                areas.append(area.around)
        if not areas:
            raise UnplacedError("nothing in doubt lies in the frame")
        return Crops(boxes=tuple(boxes), areas=tuple(areas))

    def cut(self, frame: Any, crops: Crops, geometry: Geometry) -> Any:
        """Return a frame that is whole in its crops only; the one given is not changed."""
        assert self._kind is not None
        return self._kind.cut(frame, crops.areas, geometry)

    def within(
        self, output: EncoderOutput, crops: Crops, frame: Any, geometry: Geometry
    ) -> EncoderOutput:
        """Return what a server said of its crops: of the rest it saw too little to say anything."""
        kind = self._kind
        assert kind is not None

        def shown(item: Any) -> bool:
            try:
                return crops.show(kind.box(item, frame, geometry))
            except UnplacedError:
                return False

        return replace(
            output,
            objects=tuple(item for item in output.objects if shown(item)),
            image_objects=tuple(item for item in output.image_objects if shown(item)),
        )


def _within(box: Box, area: Box) -> bool:
    return area[0] <= box[0] <= box[2] <= area[2] and area[1] <= box[1] <= box[3] <= area[3]
