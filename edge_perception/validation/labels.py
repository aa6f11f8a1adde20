"""Labels of a recording against what a run says, frame by frame."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import DetectedObject
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.replay.binding import bind
from edge_perception.replay.poses import placed_geometry, transforms_at
from edge_perception.replay.remaps import parse_remaps
from edge_perception.running.vehicle_plan import read_plan
from edge_perception.samples.labels_file import labels_of
from edge_perception.samples.matching import Region, Score, compare
from edge_perception.samples.truth import GroundTruth, Shown, pose_of
from edge_perception.validation.settings import ReplaySettings

NS = 1_000_000_000
BINS = 50  # of scores


class Labels:
    """Objects against the labels of a recording."""

    def __init__(
        self, truth: GroundTruth, *, stamp_tolerance_s: float = 0.0, note: str = ""
    ) -> None:
        self._truth, self.note = truth, note
        self._region = Region.of(truth)
        tolerance_ns = round(stamp_tolerance_s * NS)
        self._sweeps = _Stamps(truth.sweeps, tolerance_ns)
        self._images = _Stamps(truth.images, tolerance_ns)
        self.correct = np.zeros(BINS, np.int64)  # detections by score
        self.false = np.zeros(BINS, np.int64)
        self.score = Score()
        self.frames = 0
        self.shown: set[int] = set()  # labelled frames that a message showed

    @property
    def rule(self) -> str:
        """What counts as correct, in words."""
        return self._region.rule

    @property
    def base_frame(self) -> str:
        """Frame that the labels say they are in; empty: they do not say."""
        return self._truth.base_frame

    @property
    def total(self) -> int:
        """Labelled frames there are."""
        return len(self._truth.frames)

    def add(self, record: Mapping[str, Any]) -> Score | None:
        """Compare one message with the labels of the frame it shows; None: it shows none."""
        frame = self.frame_of(record)
        if frame is None:
            return None
        objects = [_object(item) for item in record["objects"]]
        found = compare(objects, self._truth.frames[frame].boxes, self._region)
        for index, _ in found.pairs:
            self.correct[bin_of(objects[index].score)] += 1
        for index in found.false:
            self.false[bin_of(objects[index].score)] += 1
        self.score = self.score + found.score
        self.frames += 1
        self.shown.add(frame)
        return found.score

    def frame_of(self, record: Mapping[str, Any]) -> int | None:
        """Return the labelled frame a message shows: that of its sweep, or else of its image."""
        stamps = {s["modality"]: s["stamp_ns"] for s in record["sources"] if s["contributed"]}
        frame = self._sweeps.frame_at(stamps.get("lidar", -1))
        return self._images.frame_at(stamps.get("camera", -1)) if frame is None else frame

    def boxes(self, frame: int) -> Sequence[Any]:
        """Return the labels of a frame."""
        return self._truth.frames[frame].boxes

    def curve(self) -> NDArray[np.float64]:
        """Return recall and precision by falling score threshold, (N, 2)."""
        correct = np.cumsum(self.correct[::-1])
        false = np.cumsum(self.false[::-1])
        shown = correct + false > 0
        labelled = max(self.score.labelled, 1)
        return np.stack([correct[shown] / labelled, correct[shown] / (correct + false)[shown]], 1)

    def average_precision(self) -> float:
        """Return the area below the curve, each recall at its best later precision."""
        curve = self.curve()
        if not len(curve):
            return 0.0
        best = np.maximum.accumulate(curve[::-1, 1])[::-1]
        steps = np.diff(np.concatenate([[0.0], curve[:, 0]]))
        return float((steps * best).sum())


class _Stamps:
    """Labelled frames by the stamp of the message that shows them."""

    def __init__(self, shown: Sequence[Shown], tolerance_ns: int) -> None:
        ordered = sorted(shown, key=lambda item: item.stamp_ns)
        self._stamps = [item.stamp_ns for item in ordered]
        self._frames = [item.frame for item in ordered]
        self._tolerance_ns = tolerance_ns

    def frame_at(self, stamp_ns: int) -> int | None:
        """Return the frame nearest to a stamp, within the tolerance."""
        index = bisect_left(self._stamps, stamp_ns)
        near = [i for i in (index - 1, index) if 0 <= i < len(self._stamps)]
        if not near:
            return None
        best = min(near, key=lambda i: abs(self._stamps[i] - stamp_ns))
        if abs(self._stamps[best] - stamp_ns) > self._tolerance_ns:
            return None
        return self._frames[best]


def labels_for(settings: ReplaySettings) -> Labels | None:
    """Return the labels of a recording: named, beside it, or inside it; None: there are none.

    Raises:
        ConfigurationError: labels are there and cannot be read.
    """
    bag = open_recording(Path(settings.bag))
    found = labels_of(bag, Path(settings.ground_truth) if settings.ground_truth else None)
    if found is None:
        return None
    truth = found.truth
    if not any(truth.image_size):
        truth = _with_camera(truth, settings, bag)
    return Labels(truth, stamp_tolerance_s=found.stamp_tolerance_s, note=found.note)


def _with_camera(truth: GroundTruth, settings: ReplaySettings, bag: Recording) -> GroundTruth:
    """Let the recording's own first camera bound the region; without one it stays unbounded."""
    plan = read_plan(
        settings.all_params_files(), overrides=settings.overrides, namespace=settings.namespace
    )
    decoder = MessageDecoder(bag.definitions())
    try:
        binding = bind(bag, plan, decoder, parse_remaps(settings.remaps))
        topics = {source: topic for topic, source in binding.calibrations.items()}
        source = next(s for s in plan.sources if s.name in topics and s.spec.read_calibration)
        message = next(iter(bag.messages([topics[source.name]])))
        info = decoder.decode(message.data, message.type)
        calibrated = source.spec.calibration_of(info, binding.topics_of(source.name))
    except (StopIteration, EdgePerceptionError):
        return truth
    tree = transforms_at(bag, binding, decoder, message.log_time_ns)
    frame_id = str(info.header.frame_id)
    placed = placed_geometry(source, tree, frame_id, message.log_time_ns, calibrated)
    if not placed.pose_source or placed.intrinsics is None or placed.image_size is None:
        return truth
    return replace(
        truth,
        T_base_camera=pose_of(placed.T_base_sensor),
        intrinsics=tuple(tuple(row) for row in placed.intrinsics.tolist()),
        image_size=placed.image_size,
    )


def bin_of(score: float) -> int:
    """Return the bin of a score."""
    return min(int(score * BINS), BINS - 1)


def _object(item: Mapping[str, Any]) -> DetectedObject:
    return DetectedObject(
        class_name=item["class_name"],
        score=item["score"],
        center_m=tuple(item["center_m"]),
        size_m=tuple(item["size_m"]),
        yaw_rad=item["yaw_rad"],
    )
