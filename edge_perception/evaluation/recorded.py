"""A model set on labelled recordings: the same figures as on simulated frames, of real ones.

Each labelled sweep is taken with the image nearest to it in time and goes through the encoders and
fusion once; what came before it, and sound, is not looked at. So a moment that a recording shows
again says nothing new: it is taken once, or figures would look surer than they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    Geometry,
    ImageFrame,
    PointCloud,
)
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.evaluation.ahead import ahead_table, ahead_targets, judge_ahead
from edge_perception.evaluation.boxes import BoxTruth, JudgedFrame, judge_boxes
from edge_perception.evaluation.frames import LEAST_HITS, Truth
from edge_perception.evaluation.matching import Judged, class_asked_for, judge_frame
from edge_perception.evaluation.recorded_tables import subset_table
from edge_perception.evaluation.rig import Rig, load_set, shipped_thresholds, subset_of
from edge_perception.evaluation.trials import in_view
from edge_perception.fusion.geometry import box_corners, image_rectangles
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.stamps import NS, read_stamp_ns
from edge_perception.replay.binding import Binding, bind
from edge_perception.replay.poses import placed_geometry, transforms_at
from edge_perception.running.vehicle_plan import SourcePlan, VehiclePlan, read_plan
from edge_perception.samples.labels_file import OwnLabels, labels_of
from edge_perception.samples.truth import LabelledBox

AUTOMATIC, AROUND, VIEW = "auto", "around", "view"  # where objects are labelled
LEVELS = ("feature", "decision")
SUBSETS = ("camera+lidar", "lidar", "camera")
APART_NS = NS // 10  # an image further from the sweep is none of its
_LABELS_THAT_TELL = 10  # all of so many in the images: who labels around has others
_FRAMED = 0.5  # share of a detection in the image from which it may be false
_TELLING = 0.25  # share of a box in the image from which the camera is asked for it


@dataclass(frozen=True, kw_only=True)
class RecordedFrame:
    """One labelled moment of a recording."""

    name: str
    cloud: PointCloud
    image: ImageFrame
    lidar: Geometry
    camera: Geometry
    truth: BoxTruth
    boxes: tuple[LabelledBox, ...] = ()  # that the truth is of

    @property
    def content(self) -> bytes:
        """What tells it from others: what the sensors saw, from where, and the labels."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(
            repr([(b.class_name, b.center_m, b.size_m, b.yaw_rad) for b in self.boxes]).encode()
        )
        arrays: list[NDArray[Any] | None] = [self.cloud.xyz_m, self.cloud.intensity, self.image.bgr]
        for geometry in (self.lidar, self.camera):
            arrays += [geometry.T_base_sensor, geometry.intrinsics]
        for array in arrays:
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.digest()


class RecordedFrames:
    """The labelled frames of one recording.

    Args:
        path: the recording.
        ground_truth: file of its labels; None: beside it or inside it.
        params_files: poses and topics, where they are not those of its own parameter file.

    Raises:
        ConfigurationError: it cannot be read, has no labels, or no camera and LiDAR.
    """

    def __init__(
        self, path: Path, ground_truth: Path | None = None, params_files: Sequence[Path] = ()
    ) -> None:
        self._bag: Recording = open_recording(path)
        self._decoder = MessageDecoder(self._bag.definitions())
        self._plan: VehiclePlan = read_plan(with_own_parameters(path, params_files))
        self._binding: Binding = bind(self._bag, self._plan, self._decoder, {})
        labels = labels_of(self._bag, ground_truth)
        if labels is None:
            raise ConfigurationError(f"{path}: expected labels beside it or inside it, got none")
        self._labels: OwnLabels = labels
        self._lidar, self._camera = self._source("lidar"), self._source("camera")
        # Labelled moments that cannot be used, and why; labels of unknown names.
        self.left_out: list[str] = [labels.note] if labels.note else []
        self.repeated = 0  # labelled moments that were shown before

    def _source(self, modality: str) -> SourcePlan:
        for source in self._plan.sources:
            if source.spec.modality == modality and source.name in self._binding.inputs.values():
                return source
        raise ConfigurationError(f"{self._bag.path}: expected a {modality}, the recording has none")

    def __iter__(self) -> Iterator[RecordedFrame]:
        """Yield the frames in the order of the recording, each once."""
        return self.some(len(self))

    def __len__(self) -> int:
        """Return how many labelled moments there are, usable or not."""
        return len(self._labels.truth.sweeps)

    def some(self, most: int, known: set[bytes] | None = None) -> Iterator[RecordedFrame]:
        """Yield so many frames at most, evenly over the recording; the others are not decoded.

        Args:
            most: of those that are decoded.
            known: content of frames that are not wanted again; those that come are added.
        """
        known = set() if known is None else known
        self.repeated = 0
        every = max(1, -(-len(self) // max(most, 1)))
        sweeps = {shown.stamp_ns: shown.frame for shown in self._labels.truth.sweeps}
        stamps = np.array(sorted(sweeps), np.int64)
        images = self._stamps(self._camera)
        tolerance_ns = round(self._labels.stamp_tolerance_s * NS)
        calibrated = self._calibration()
        turn = -1
        for message in self._bag.messages(self._topics(self._lidar)):
            stamp_ns = read_stamp_ns(message.data)
            nearest = int(stamps[np.abs(stamps - stamp_ns).argmin()]) if len(stamps) else 0
            if not nearest or abs(nearest - stamp_ns) > tolerance_ns:
                continue
            turn += 1
            if turn % every != every // 2:
                continue
            labelled = self._labels.truth.frames[sweeps[nearest]]
            try:
                frame = self._frame(message, labelled.name, labelled.boxes, images, calibrated)
            except EdgePerceptionError as error:
                self.left_out.append(f"{labelled.name}: {error}")
                continue
            if frame.content in known:
                self.repeated += 1
                continue
            known.add(frame.content)
            yield frame

    def _frame(
        self,
        message: Any,
        name: str,
        boxes: Sequence[LabelledBox],
        images: dict[int, int],
        calibrated: Geometry,
    ) -> RecordedFrame:
        cloud = cloud_from_msg(self._decoder.decode(message.data, message.type))
        image_ns = min(images, key=lambda s: abs(s - cloud.stamp_ns), default=0)
        if abs(image_ns - cloud.stamp_ns) > APART_NS:
            raise ConfigurationError(f"no image within {APART_NS / NS:g} s of the sweep")
        image = self._image(image_ns, images[image_ns])
        tree = transforms_at(self._bag, self._binding, self._decoder, message.log_time_ns)
        lidar = placed_geometry(self._lidar, tree, cloud.frame_id, cloud.stamp_ns)
        camera = placed_geometry(self._camera, tree, image.frame_id, image.stamp_ns, calibrated)
        for source, geometry in ((self._lidar, lidar), (self._camera, camera)):
            if not geometry.pose_source:
                raise ConfigurationError(f"{source.name}: neither parameters nor tf give its pose")
        return RecordedFrame(
            name=name,
            cloud=cloud,
            image=image,
            lidar=lidar,
            camera=camera,
            truth=_truth(boxes, camera),
            boxes=tuple(boxes),
        )

    def _image(self, stamp_ns: int, log_time_ns: int) -> ImageFrame:
        topics = self._topics(self._camera)
        for message in self._bag.messages(topics, start_ns=log_time_ns, end_ns=log_time_ns + 1):
            if read_stamp_ns(message.data) == stamp_ns:
                return image_from_msg(self._decoder.decode(message.data, message.type))
        raise ConfigurationError(f"the image of stamp {stamp_ns} is gone")

    def _topics(self, source: SourcePlan) -> list[str]:
        return self._binding.topics_of(source.name)

    def _stamps(self, source: SourcePlan) -> dict[int, int]:
        """Return arrival by stamp."""
        messages = self._bag.messages(self._topics(source))
        return {read_stamp_ns(message.data): message.log_time_ns for message in messages}

    def _calibration(self) -> Geometry:
        topics = [t for t, name in self._binding.calibrations.items() if name == self._camera.name]
        first = next(iter(self._bag.messages(topics)), None) if topics else None
        if first is None:
            raise ConfigurationError(f"{self._bag.path}: {self._camera.name} has no calibration")
        info = self._decoder.decode(first.data, first.type)
        return self._camera.spec.calibration_of(info, self._topics(self._camera))


def _truth(boxes: Sequence[LabelledBox], camera: Geometry) -> BoxTruth:
    """Say who could know of each object: the LiDAR with enough points on it, the camera in view."""
    shares = np.zeros(0)
    if boxes:
        shares = image_rectangles(box_corners(list(boxes)), camera)[1]  # type: ignore[arg-type]
    return BoxTruth(
        boxes=tuple(
            DetectedObject(
                class_name=class_asked_for(box),
                score=1.0,
                center_m=box.center_m,
                size_m=box.size_m,
                yaw_rad=box.yaw_rad,
            )
            for box in boxes
        ),
        class_name=np.array([class_asked_for(box) for box in boxes], dtype="U16"),
        center_m=np.array([box.center_m for box in boxes], np.float32).reshape(-1, 3),
        in_lidar=np.array([box.points < 0 or box.points >= LEAST_HITS for box in boxes], bool),
        in_camera=np.asarray(shares > _TELLING, bool),
        in_image=np.asarray(shares > 0.0, bool),
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What fusion made of one frame, by level and subset."""

    truth: BoxTruth
    camera: Geometry
    objects: Mapping[tuple[str, str], Sequence[DetectedObject]]


def evaluate_recordings(
    models: Path, recordings: Sequence[RecordedFrames], *, labelled: str = AUTOMATIC
) -> dict[str, Any]:
    """Return the figures of KITTI and nuScenes for every subset of camera and LiDAR.

    Args:
        models: folder of the set.
        recordings: with labels.
        labelled: `around`, or `view`: only what the camera shows, as KITTI; elsewhere nothing is
            asked for, and no detection is false. `auto`: `view` where no label of a recording lies
            outside of its images.

    Raises:
        ModelError: a bundle of the set cannot be used.
        ConfigurationError: no labelled frame can.
    """
    loaded = load_set(models)
    rig = Rig(loaded)
    found: dict[tuple[str, str], list[JudgedFrame]] = {}
    ahead: list[Mapping[str, Judged]] = []
    frames, where = 0, []
    known: set[bytes] = set()
    try:
        for recording in recordings:
            seen = [_see(rig, frame) for frame in recording.some(len(recording), known)]
            frames += len(seen)
            where.append(_coverage(seen) if labelled == AUTOMATIC else labelled)
            for item in seen:
                _judge(item, found, in_view_only=where[-1] == VIEW)
                ahead.append(_cars_ahead(item, in_view_only=where[-1] == VIEW))
    finally:
        rig.close()
    left_out = [text for recording in recordings for text in recording.left_out]
    if not frames:
        raise ConfigurationError(
            "no labelled frame can be used: "
            + (left_out[0] if left_out else "no sweep has the stamp of a label")
        )
    # Of encoders alone nobody promises that a score is a share: that is what fusion's model does.
    published = {"feature": {s: shipped_thresholds(loaded.fusion, s) for s in SUBSETS}}
    tables = {
        level: {
            subset: subset_table(
                found[level, subset], thresholds=published.get(level, {}).get(subset)
            )
            for subset in SUBSETS
        }
        for level in LEVELS
    }
    cars = ahead_table(ahead)
    return {
        "models": str(models),
        "frames": frames,
        "repeated": sum(recording.repeated for recording in recordings),
        "left_out": left_out,
        "labelled": where,
        **tables,
        "cars_ahead": cars,
        "targets": ahead_targets(cars),
    }


def _see(rig: Rig, frame: RecordedFrame) -> _Seen:
    features = {
        "camera": rig.feature("camera", frame.image, frame.camera),
        "lidar": rig.feature("lidar", frame.cloud, frame.lidar),
    }
    return _Seen(
        truth=frame.truth,
        camera=frame.camera,
        objects={
            (level, subset): rig.fuse(
                subset_of(features, subset), with_model=level == "feature"
            ).objects
            for level in LEVELS
            for subset in SUBSETS
        },
    )


def _coverage(seen: Sequence[_Seen]) -> str:
    """Return what labels say themselves of where they are: all in the images, or around."""
    shown = np.concatenate([item.truth.in_image for item in seen]) if seen else np.zeros(0, bool)
    return VIEW if len(shown) >= _LABELS_THAT_TELL and shown.all() else AROUND


def _judge(
    seen: _Seen, found: dict[tuple[str, str], list[JudgedFrame]], *, in_view_only: bool
) -> None:
    for (level, subset), objects in seen.objects.items():
        asked = _asked_for(subset, objects, seen.truth, seen.camera)
        if in_view_only and asked["detected_in"] is None:
            shares = image_rectangles(box_corners(list(objects)), seen.camera)[1]
            asked = {
                "wanted": asked["wanted"] & seen.truth.in_image,
                "detected_in": shares > _FRAMED,
            }
        found.setdefault((level, subset), []).append(judge_boxes(objects, seen.truth, **asked))


def _cars_ahead(seen: _Seen, *, in_view_only: bool) -> dict[str, Judged]:
    objects = {subset: seen.objects["feature", subset] for subset in SUBSETS}
    labelled = seen.truth.in_image if in_view_only else np.ones(len(seen.truth.boxes), bool)
    framed = {subset: np.ones(len(found), bool) for subset, found in objects.items()}
    if in_view_only:
        framed = {
            subset: image_rectangles(box_corners(list(found)), seen.camera)[1] > _FRAMED
            for subset, found in objects.items()
            if found
        } | {subset: np.zeros(0, bool) for subset, found in objects.items() if not found}
    return judge_ahead(objects, seen.truth, labelled, framed)


def _asked_for(
    subset: str, objects: Sequence[DetectedObject], truth: Truth, camera: Geometry
) -> dict[str, Any]:
    """Return what a subset is asked for: the camera alone what it can see, and no more."""
    if subset == "camera":
        return {"wanted": truth.in_camera, "detected_in": in_view(objects, camera)}
    return {"wanted": truth.in_camera | truth.in_lidar, "detected_in": None}


def judge_features(
    rig: Rig,
    features: Mapping[str, Feature],
    truth: Truth,
    camera: Geometry,
    *,
    subsets: Sequence[str] = SUBSETS,
) -> Iterator[tuple[tuple[str, str], Judged]]:
    """Yield what fusion makes of a frame's features, judged, by level and subset."""
    for level in LEVELS:
        for subset in subsets:
            view = rig.fuse(subset_of(features, subset), with_model=level == "feature")
            asked = _asked_for(subset, view.objects, truth, camera)
            judged = judge_frame(view.objects, truth, **asked)
            yield (level, subset), judged
