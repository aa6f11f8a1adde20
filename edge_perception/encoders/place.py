"""Where a sensor sits and how it is calibrated, frame by frame."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from edge_perception.core.errors import InvalidFrameError, UncalibratedError
from edge_perception.core.types import Geometry
from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.pose import Placed, SensorPose, located

# The first frame may arrive before its calibration, sent at the same moment on another topic.
FIRST_CALIBRATION_S = 0.5


class SensorPlace:
    """Keeps the newest calibration, and the pose of the frame in work."""

    def __init__(self, spec: EncoderSpec, geometry: Geometry, pose: SensorPose | None) -> None:
        """Begin with what is configured.

        Args:
            spec: the modality.
            geometry: where the sensor sits.
            pose: where it sits, frame by frame; None: where `geometry` says.
        """
        self._spec, self._pose = spec, pose
        self._told = threading.Event()  # of a calibration, used or not
        if spec.calibration is None or geometry.intrinsics is not None:
            self._told.set()
        self.calibrated = geometry
        self.fault = ""  # of the newest calibration; empty: it is used
        self._placed: Placed | None = None  # of the frame in work; inference thread only
        self._located = (geometry, geometry)  # as calibrated, and the same at its pose

    @property
    def located(self) -> Geometry:
        """The calibration at the pose of the newest frame; the same object while both hold."""
        known, placed = self.calibrated, self._placed
        if placed is None:
            return known
        before, at_pose = self._located
        if before is not known or located(at_pose, placed) is not at_pose:
            at_pose = located(known, placed)
            self._located = (known, at_pose)
        return at_pose

    @property
    def doubt(self) -> str:
        """Why positions of the frame in work are not to be trusted; empty: they are."""
        return self._placed.doubt if self._placed is not None else ""

    def why(self, error: Exception) -> str:
        """Return what is to be said of a frame that was refused, and of its calibration."""
        if not isinstance(error, UncalibratedError) or self._spec.calibration is None:
            return "; ".join(filter(None, (str(error), self.fault)))
        name = self._spec.calibration.topic.rpartition("/")[2]
        none = f"{name} was refused: {self.fault}" if self.fault else f"no {name} yet"
        return f"{error}: {none}"

    def look_up(self, frame_id: str, stamp_ns: int) -> None:
        """Find the pose of a frame; inference thread only."""
        if self._pose is not None:
            self._placed = self._pose.at(frame_id, stamp_ns)

    def await_calibration(self) -> None:
        """Wait for the first calibration, once and for `FIRST_CALIBRATION_S` at most."""
        if not self._told.is_set():
            self._told.wait(FIRST_CALIBRATION_S)
            self._told.set()  # whoever sends none is not waited for again

    def calibrate(self, message: Any, topics: Iterable[str] = ()) -> None:
        """Take a calibration; of one that cannot be used the frames after it tell.

        Args:
            message: of the modality's `calibration`.
            topics: of the frames, as the driver calls them.

        Raises:
            InvalidFrameError: it cannot be used; the one before stays.
        """
        try:
            self._calibrate(message, topics)
        finally:
            self._told.set()

    def _calibrate(self, message: Any, topics: Iterable[str]) -> None:
        try:
            calibrated = self._spec.calibration_of(message, topics)
        except InvalidFrameError as error:
            kept = " (the one before is used)" if self.calibrated.intrinsics is not None else ""
            self.fault = f"{error}{kept}"
            raise
        self.fault = ""
        found = calibrated.at_pose_of(self.calibrated)
        if not found.says_the_same(self.calibrated):  # else the same object: nothing is made anew
            self.calibrated = found
