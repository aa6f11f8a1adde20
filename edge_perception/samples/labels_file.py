"""Labels of one's own recording: a JSON or YAML file, `ground_truth` beside it or named.

See docs/recordings.md. Stamps are acquisition stamps of LiDAR sweeps or images.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.fusion.label_names import (
    OTHER,
    OUR_CLASSES,
    check_own_names,
    class_of_label,
    told,
)
from edge_perception.recordings.reader import Recording
from edge_perception.samples.truth import (
    ATTACHMENT,
    STRAIGHT,
    GroundTruth,
    LabelledBox,
    LabelledFrame,
    Pose,
    Shown,
    ground_truth_of,
)

SCHEMA = "edge_perception/ground_truth/1"
SUFFIXES = (".ground_truth.yaml", ".ground_truth.yml", ".ground_truth.json")
_MAX_BYTES = 512 << 20
_UNIT = 0.01  # how far the length of a quaternion may be from one


@dataclass(frozen=True, kw_only=True)
class FileBox:
    """One labelled road user, base frame."""

    label: str  # as whoever labelled it calls it
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]  # length, width, height
    yaw_rad: float = 0.0
    points: int = parameter(-1, low=-1)  # LiDAR returns inside; -1: not counted


@dataclass(frozen=True, kw_only=True)
class FileFrame:
    """What is there at one stamp."""

    stamp_ns: int = parameter(low=1)
    name: str = ""
    boxes: tuple[FileBox, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileCamera:
    """The camera whose image bounds what is asked for; left out: that of the recording."""

    T_base_camera: Pose
    intrinsics: tuple[tuple[float, float, float], ...]  # (3, 3), px
    image_size: tuple[int, int]  # width, height


@dataclass(frozen=True, kw_only=True)
class LabelsFile:
    """A file of labels."""

    schema: str = parameter(choices=(SCHEMA,))
    frames: tuple[FileFrame, ...]
    origin: str = ""
    labelled_by: str = ""  # who looked at them
    base_frame: str = ""  # that the boxes are in; empty: that of the fused view
    # Stamps of labels may differ that much from those of messages.
    stamp_tolerance_s: float = parameter(0.001, unit="s", low=0.0, high=0.5)
    classes: Mapping[str, str] = field(default_factory=dict)  # label -> one of ours
    camera: FileCamera | None = None


@dataclass(frozen=True, kw_only=True)
class OwnLabels:
    """Labels as the package uses them."""

    truth: GroundTruth
    stamp_tolerance_s: float
    note: str = ""  # names that are not known, with counts; empty: all are


def find_labels(recording: Path) -> Path | None:
    """Return the file of labels beside a recording: drive.mcap → drive.ground_truth.yaml."""
    for suffix in SUFFIXES:
        path = recording.with_suffix(suffix)
        if path.is_file():
            return path
    return None


def labels_of(bag: Recording, named: Path | None = None) -> OwnLabels | None:
    """Return the labels of a recording: named, beside it, or inside it; None: there are none.

    Raises:
        ConfigurationError: labels are there and cannot be read.
    """
    file = named or find_labels(bag.path)
    if file is not None:
        return read_labels_file(file)
    try:
        text = bag.attachment(ATTACHMENT)
    except EdgePerceptionError:
        return None
    return with_our_classes(ground_truth_of(text, f"{bag.path}: {ATTACHMENT}"))


def with_our_classes(truth: GroundTruth) -> OwnLabels:
    """Return labels of a recording with our classes, and what is said of names nobody knows."""
    unknown: Counter[str] = Counter()
    frames = tuple(
        replace(frame, boxes=tuple(_named(box, unknown) for box in frame.boxes))
        for frame in truth.frames
    )
    return OwnLabels(truth=replace(truth, frames=frames), stamp_tolerance_s=0.0, note=told(unknown))


def read_labels_file(path: Path) -> OwnLabels:
    """Read a file of labels.

    Raises:
        ConfigurationError: missing, too large, or a field does not fit; it is named.
    """
    data = _load(path)
    if isinstance(data, dict) and "schema" not in data:
        raise ConfigurationError(f"{path}: schema: expected {SCHEMA}, got nothing")
    file = decode(LabelsFile, data, path.name)
    _check_numbers(file, path)
    check_own_names(file.classes, f"{path}: classes")
    stamps = [frame.stamp_ns for frame in file.frames]
    if len(set(stamps)) < len(stamps):
        twice = next(stamp for stamp in stamps if stamps.count(stamp) > 1)
        raise ConfigurationError(f"{path}: frames: stamp_ns {twice} is there twice")
    shown = tuple(
        Shown(stamp_ns=frame.stamp_ns, frame=index) for index, frame in enumerate(file.frames)
    )
    camera, unknown = file.camera, Counter[str]()
    truth = GroundTruth(
        origin=file.origin or path.name,
        base_frame=file.base_frame,
        T_base_camera=camera.T_base_camera if camera else STRAIGHT,
        T_base_lidar=STRAIGHT,
        lidar_ahead_s=0.0,
        intrinsics=camera.intrinsics if camera else (),
        image_size=camera.image_size if camera else (0, 0),
        frames=tuple(
            LabelledFrame(
                name=frame.name or str(frame.stamp_ns),
                boxes=tuple(_box(box, file.classes, unknown) for box in frame.boxes),
            )
            for frame in file.frames
        ),
        sweeps=shown,
        images=shown,
    )
    return OwnLabels(truth=truth, stamp_tolerance_s=file.stamp_tolerance_s, note=told(unknown))


def _check_numbers(file: LabelsFile, path: Path) -> None:
    """Refuse what no road user and no camera can have: nothing would ever match it."""
    for i, frame in enumerate(file.frames):
        for k, box in enumerate(frame.boxes):
            where = f"{path}: frames[{i}].boxes[{k}]"
            if not all(map(math.isfinite, (*box.center_m, box.yaw_rad))):
                raise ConfigurationError(
                    f"{where}: expected finite center_m and yaw_rad, got {box.center_m} and "
                    f"{box.yaw_rad}"
                )
            if not all(0.0 < side < math.inf for side in box.size_m):
                raise ConfigurationError(f"{where}: size_m: expected above 0 m, got {box.size_m}")
    camera = file.camera
    if camera is None:
        return
    length = math.hypot(*camera.T_base_camera[3:])
    if not all(map(math.isfinite, camera.T_base_camera)) or abs(length - 1.0) > _UNIT:
        raise ConfigurationError(
            f"{path}: camera.T_base_camera: expected x, y, z (m) and a unit quaternion x, y, z, w, "
            f"got {camera.T_base_camera}"
        )
    K = camera.intrinsics
    square = [len(row) for row in K] == [3] * 3
    if not (square and K[0][0] > 0 and K[1][1] > 0 and all(math.isfinite(v) for r in K for v in r)):
        raise ConfigurationError(
            f"{path}: camera.intrinsics: expected 3 x 3 numbers with focal lengths above 0, got {K}"
        )
    if min(camera.image_size) < 1:
        raise ConfigurationError(
            f"{path}: camera.image_size: expected width and height, got {camera.image_size}"
        )


def _named(box: LabelledBox, unknown: Counter[str]) -> LabelledBox:
    """Return a box of one of our classes: who wrote it into the recording may use another name."""
    if box.class_name in OUR_CLASSES:
        if box.class_name == OTHER and box.label and class_of_label(box.label) is None:
            unknown[box.label] += 1
        return box
    ours = class_of_label(box.class_name)
    if ours is None:
        unknown[box.class_name] += 1
    return replace(box, class_name=ours or OTHER)


def _box(box: FileBox, classes: Mapping[str, str], unknown: Counter[str]) -> LabelledBox:
    ours = class_of_label(box.label, classes)
    if ours is None:
        unknown[box.label] += 1
    return LabelledBox(
        label=box.label,
        class_name=ours or OTHER,
        center_m=box.center_m,
        size_m=box.size_m,
        yaw_rad=box.yaw_rad,
        points=box.points,
    )


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"{path}: expected at most {_MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{path}: expected labels: {error}") from error
