"""Kept moments for a labelling tool: images, sweeps, and what was seen in them as a first guess.

The recorder keeps seconds around doubtful moments. For each of them the fused view nearest to it
that has a LiDAR sweep is exported, with its boxes as pre-labels: COCO for images, and tables in the
manner of nuScenes for boxes in space. `returned.py` takes the labels back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError, UnknownNameError
from edge_perception.core.json_file import read_json_object
from edge_perception.evaluation.recorded import RecordedFrame, RecordedFrames
from edge_perception.fusion.geometry import box_corners, image_rectangles
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.samples.labels_file import SCHEMA
from edge_perception.samples.truth import LabelledBox

FUSED = "edge_perception/msg/FusedPerception"
PRELABELS, COCO, NUSCENES = "prelabels", "coco.json", "nuscenes.json"
CATEGORIES = ("car", "truck", "bus", "pedestrian", "cyclist", "other")
ROBOT = ".sample.json"  # beside a recording that was collected from a fleet: where it is from
_MODEL = ("role", "name", "version", "sha256")
_LEAST_SHARE = 0.1  # of a box in the image, to be drawn there


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One kept moment."""

    stamp_ns: int  # of the LiDAR sweep
    reasons: tuple[str, ...]
    boxes: tuple[LabelledBox, ...]  # as fusion saw them, base frame
    scores: tuple[float, ...]
    models: tuple[dict[str, str], ...] = ()  # that saw so: role, name, version, sha256


def moments_of(recording: Recording) -> list[Moment]:
    """Return the moments of a file of the recorder, a stamp each.

    Raises:
        ConfigurationError: it has no events, or no fused view with a sweep.
    """
    try:
        events = [_event(text) for text in recording.metadata("events").values()]
    except (UnknownNameError, ValueError) as error:
        raise ConfigurationError(
            f"{recording.path}: expected a file of `record`, with its events"
        ) from error
    topics = [name for name, topic in recording.topics.items() if topic.type == FUSED]
    decoder = MessageDecoder(recording.definitions())
    views: list[tuple[int, int, Any]] = []  # arrival, stamp of the sweep, message
    for message in recording.messages(topics) if topics else ():
        view = decoder.decode(message.data, message.type)
        for status in view.sources:
            if status.modality == "lidar" and status.contributed:
                stamp_ns = status.stamp.sec * 10**9 + status.stamp.nanosec
                views.append((message.log_time_ns, stamp_ns, view))
                break
    if not views:
        raise ConfigurationError(f"{recording.path}: expected a fused view with a lidar, got none")
    chosen: dict[int, tuple[list[str], Any]] = {}
    for at_ns, reason in events:
        _, stamp_ns, view = min(views, key=lambda item: abs(item[0] - at_ns))
        chosen.setdefault(stamp_ns, ([], view))[0].append(reason)
    return [
        Moment(
            stamp_ns=stamp_ns,
            reasons=tuple(reasons),
            boxes=tuple(map(_box, view.objects)),
            scores=tuple(float(item.score) for item in view.objects),
            models=tuple({name: str(getattr(m, name)) for name in _MODEL} for m in view.models),
        )
        for stamp_ns, (reasons, view) in sorted(chosen.items())
    ]


def _event(text: str) -> tuple[int, str]:
    at, _, reason = text.partition(": ")
    return int(at), reason


def _box(item: Any) -> LabelledBox:
    return LabelledBox(
        label=item.class_name,
        class_name=item.class_name if item.class_name in CATEGORIES else "other",
        center_m=(item.center.x, item.center.y, item.center.z),
        size_m=(item.size.x, item.size.y, item.size.z),
        yaw_rad=float(item.yaw),
        points=-1,
    )


class MinedSet:
    """Collects moments into one folder.

    Args:
        folder: made where it is missing; a set that is there is refused.
    """

    def __init__(self, folder: Path) -> None:
        if (folder / COCO).exists():
            raise ConfigurationError(f"{folder}: holds a set already; take another folder")
        for name in ("images", "sweeps", PRELABELS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keys: set[str] = set()
        self._images: list[dict[str, Any]] = []
        self._flat: list[dict[str, Any]] = []  # annotations of images
        self._samples: list[dict[str, Any]] = []
        self._boxes: list[dict[str, Any]] = []  # annotations in space
        self.left_out: list[str] = []

    def add(self, path: Path, params_files: Sequence[Path] = ()) -> int:
        """Export the moments of a recording; return how many.

        Raises:
            EdgePerceptionError: it cannot be read, or has no moments.
        """
        key = self._key(path)
        recording = open_recording(path)
        moments = {moment.stamp_ns: moment for moment in moments_of(recording)}
        prelabels = prelabels_path(self._folder, key)
        prelabels.write_text(json.dumps(_labels(path, moments), indent=1), encoding="utf-8")
        frames = RecordedFrames(path, prelabels, params_files)
        count = 0
        for frame in frames:
            moment = moments.get(int(frame.name))
            if moment is not None:
                self._add(path, key, frame, moment)
                count += 1
        self.left_out += [f"{path.name}: {text}" for text in frames.left_out]
        return count

    def add_if_usable(self, path: Path, params_files: Sequence[Path] = ()) -> int:
        """Export the moments of one recording of many; one that cannot be used is `left_out`."""
        try:
            return self.add(path, params_files)
        except EdgePerceptionError as error:
            self.left_out.append(str(error))
            return 0

    def _key(self, path: Path) -> str:
        """Return what a recording is called in this set: files of two robots may share a name."""
        robot = origin_of(path).get("robot", "")
        key = f"{robot}_{path.stem}" if robot else path.stem
        if key in self._keys:
            raise ConfigurationError(f"{path}: another recording is called {key} already")
        self._keys.add(key)
        return key

    def _add(self, path: Path, key: str, frame: RecordedFrame, moment: Moment) -> None:
        import cv2

        name = f"{key}_{moment.stamp_ns}"
        image, sweep = f"images/{name}.png", f"sweeps/{name}.bin"
        cv2.imwrite(str(self._folder / image), frame.image.bgr)
        _write_sweep(self._folder / sweep, frame)
        height, width = frame.image.bgr.shape[:2]
        number = len(self._images) + 1
        about = {
            "recording": str(path.resolve()),
            "key": key,
            "robot": origin_of(path).get("robot", ""),
            "stamp_ns": moment.stamp_ns,
            "reasons": list(moment.reasons),
            "models": list(moment.models),
        }
        self._images.append(
            {"id": number, "file_name": image, "width": width, "height": height, **about}
        )
        self._samples.append({"token": name, "image": image, "sweep": sweep, **about})
        rectangles, shares = image_rectangles(box_corners(list(moment.boxes)), frame.camera)  # type: ignore[arg-type]
        for index, (box, score) in enumerate(zip(moment.boxes, moment.scores, strict=True)):
            self._boxes.append(_in_space(name, index, box, score))
            if shares[index] >= _LEAST_SHARE:
                self._flat.append(
                    _in_image(len(self._flat) + 1, number, index, box, score, rectangles[index])
                )

    def write(self) -> None:
        """Write the tables."""
        names = [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)]
        coco = {
            "info": {"description": "pre-labels of fused views; attributes.box tells the 3-D box"},
            "images": self._images,
            "categories": names,
            "annotations": self._flat,
        }
        nuscenes = {
            "frame": "base frame at the stamp of the sweep: x forward, y left, z up",
            "sample": self._samples,
            "category": [{"token": name, "name": name} for name in CATEGORIES],
            "sample_annotation": self._boxes,
        }
        for file, data in ((COCO, coco), (NUSCENES, nuscenes)):
            (self._folder / file).write_text(json.dumps(data, indent=1), encoding="utf-8")


def _labels(path: Path, moments: Mapping[int, Moment]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "origin": f"pre-labels of {path.name}: as fusion saw it, nobody has looked at them",
        "frames": [
            {
                "stamp_ns": stamp_ns,
                "name": str(stamp_ns),
                "boxes": [file_box(box) for box in moment.boxes],
            }
            for stamp_ns, moment in moments.items()
        ],
    }


def file_box(box: LabelledBox) -> dict[str, Any]:
    """Return a box as a file of labels has it."""
    return {
        "label": box.class_name,
        "center_m": list(box.center_m),
        "size_m": list(box.size_m),
        "yaw_rad": box.yaw_rad,
    }


def _in_space(sample: str, index: int, box: LabelledBox, score: float) -> dict[str, Any]:
    length, width, height = box.size_m
    half = box.yaw_rad / 2.0
    return {
        "token": f"{sample}_{index}",
        "sample_token": sample,
        "category_name": box.class_name,
        "translation": list(box.center_m),
        "size": [width, length, height],  # nuScenes' order
        "rotation": [float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],  # w, x, y, z
        "score": score,
    }


def _in_image(
    number: int, image: int, index: int, box: LabelledBox, score: float, rectangle: Any
) -> dict[str, Any]:
    x0, y0, x1, y1 = map(float, rectangle)
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORIES.index(box.class_name) + 1,
        "bbox": [round(x0, 1), round(y0, 1), round(x1 - x0, 1), round(y1 - y0, 1)],
        "area": round((x1 - x0) * (y1 - y0), 1),
        "iscrowd": 0,
        "score": score,
        "attributes": {"box": index},
    }


def _write_sweep(path: Path, frame: RecordedFrame) -> None:
    """Write x, y, z (base frame), intensity and ring as float32, as nuScenes' .pcd.bin."""
    cloud, T = frame.cloud, frame.lidar.T_base_sensor
    points = np.zeros((len(cloud.xyz_m), 5), np.float32)
    points[:, :3] = cloud.xyz_m @ T[:3, :3].T + T[:3, 3]
    if cloud.intensity is not None:
        points[:, 3] = cloud.intensity
    if cloud.ring is not None:
        points[:, 4] = cloud.ring
    points.tofile(path)


def recordings_in(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield recordings: files, and those in folders of the recorder or of `fleet collect`."""
    for path in paths:
        found = sorted(path.rglob("event_*.mcap")) if path.is_dir() else [path]
        if not found:
            raise ConfigurationError(f"{path}: expected event_*.mcap of `record`, found none")
        yield from found


def origin_of(recording: Path) -> dict[str, Any]:
    """Return where a recording is from; empty: it was not collected from a fleet.

    Raises:
        ConfigurationError: what is beside it cannot be read.
    """
    path = recording.with_name(recording.name.removesuffix(".mcap") + ROBOT)
    return read_json_object(path) if path.is_file() else {}


def prelabels_path(folder: Path, key: str) -> Path:
    """Return where the pre-labels of a recording are in a set."""
    return folder / PRELABELS / f"{key}.json"


def labels_path(recording: Path) -> Path:
    """Return where `evaluate` and `validate` look for the labels of a recording."""
    return recording.with_suffix(".ground_truth.json")
