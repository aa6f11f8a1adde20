"""What the sensors saw at a message of a run, read from the recording again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import DetectedObject, Geometry
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.encoders.lidar.obstacles import to_base
from edge_perception.fusion.geometry import box_corners, image_rectangles
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.stamps import NS, read_stamp_ns
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.poses import placed_geometry, transforms_at
from edge_perception.replay.remaps import parse_remaps
from edge_perception.running.vehicle_plan import VehiclePlan, read_plan
from edge_perception.validation import plots
from edge_perception.validation.settings import ReplaySettings

_NEAR_NS = 2_000_000_000


class Scene:
    """What the sensors saw at a message, read from the recording again."""

    def __init__(self, settings: ReplaySettings) -> None:
        self._bag: Recording = open_recording(Path(settings.bag), on_damage=_told_already)
        self._decoder = MessageDecoder(self._bag.definitions())
        self._plan: VehiclePlan = read_plan(
            settings.all_params_files(),
            overrides=settings.overrides,
            subset=settings.subset,
            namespace=settings.namespace,
        )
        self._binding: Binding = bind(
            self._bag, self._plan, self._decoder, parse_remaps(settings.remaps)
        )

    def points(self, record: Mapping[str, Any]) -> NDArray[np.float32] | None:
        """Return the sweep of a message in the base frame, (N, 3)."""
        message, source = self._message(record, "lidar")
        if message is None:
            return None
        geometry = self._placed(source, message, record)
        try:
            return to_base(cloud_from_msg(message).xyz_m, geometry)
        except EdgePerceptionError:
            return None

    def photo(
        self,
        record: Mapping[str, Any],
        now: Mapping[str, Any] | None,
        then: Mapping[str, Any] | None,
    ) -> str:
        """Return the image of a message with the objects of this run and of the baseline."""
        message, source = self._message(record, "camera")
        if message is None:
            return ""
        calibrated = self._calibration(source)
        geometry = None
        if calibrated is not None:
            geometry = self._placed(source, message, record, calibrated)
        try:
            bgr = image_from_msg(message).bgr
            return plots.photo(bgr, _outlines(now, geometry), _outlines(then, geometry))
        except EdgePerceptionError:
            return ""

    def _placed(
        self,
        source: str,
        message: Any,
        record: Mapping[str, Any],
        calibrated: Geometry | None = None,
    ) -> Geometry:
        """Return where a sensor sat when it sent a message."""
        plan = next(s for s in self._plan.sources if s.name == source)
        tree = transforms_at(self._bag, self._binding, self._decoder, record["published_ns"])
        stamp = message.header.stamp
        stamp_ns = int(stamp.sec) * NS + int(stamp.nanosec)
        return placed_geometry(plan, tree, str(message.header.frame_id), stamp_ns, calibrated)

    def _calibration(self, source: str) -> Geometry | None:
        """Return how a camera sees; None: the recording does not say."""
        plan = next(s for s in self._plan.sources if s.name == source)
        topics = [t for t, name in self._binding.calibrations.items() if name == source]
        first = next(self._bag.messages(topics), None) if topics else None
        if first is None or plan.spec.read_calibration is None:
            return None
        info = self._decoder.decode(first.data, first.type)
        return plan.spec.calibration_of(info, self._binding.topics_of(source))

    def _message(self, record: Mapping[str, Any], modality: str) -> tuple[Any, str]:
        status = next((s for s in record["sources"] if s["modality"] == modality), None)
        if status is None or not status["stamp_ns"]:
            return None, ""
        topics = [t for t, name in self._binding.inputs.items() if name == status["source"]]
        at_ns = record["published_ns"]
        for message in self._bag.messages(topics, start_ns=at_ns - _NEAR_NS, end_ns=at_ns + 1):
            if read_stamp_ns(message.data) == status["stamp_ns"]:
                return self._decoder.decode(message.data, message.type), status["source"]
        return None, ""


def _outlines(record: Mapping[str, Any] | None, geometry: Geometry | None) -> NDArray[np.float64]:
    """Return the outlines of a message's objects in an image, (N, 4) px."""
    if record is None or geometry is None or not record["objects"]:
        return np.empty((0, 4))
    boxes = [
        DetectedObject(
            class_name=item["class_name"],
            score=item["score"],
            center_m=tuple(item["center_m"]),
            size_m=tuple(item["size_m"]),
            yaw_rad=item["yaw_rad"],
        )
        for item in record["objects"]
    ]
    rectangles, inside = image_rectangles(box_corners(boxes), geometry)
    return rectangles[inside > 0.0]


def _told_already(_text: str) -> None:
    """Leave damage out of the pictures: the findings name it."""
