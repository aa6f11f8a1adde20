"""The YOLOX decoder against a decoder of plain loops, OpenCV's suppression and real pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import manifest_of

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.schema import decode
from edge_perception.core.types import Geometry, ImageObject
from edge_perception.encoders import encoders
from edge_perception.encoders.camera.letterbox import fit
from edge_perception.models.adapters._boxes import suppress
from edge_perception.models.adapters.yolox import YoloxDecoder
from edge_perception.models.manifest import Manifest
from edge_perception.releases.importing import import_model

SIZE = (96, 64)
STRIDES = (8, 16, 32)
CELLS = sum((96 // s) * (64 // s) for s in STRIDES)
LABELS = ("person", "car", "kite")


def manifest(labels: tuple[str, ...] = LABELS, **options: Any) -> Manifest:
    fields = manifest_of(
        "camera",
        "yolox",
        {"images": (1, 3, SIZE[1], SIZE[0])},
        {"output": (1, CELLS, 5 + len(LABELS))},
        labels=list(labels),
        postprocessing=options,
        schema_version=1,
        runtime={"opset": 17},
        files={"model.onnx": {"sha256": "", "size": 0}},
    )
    return decode(Manifest, fields, "manifest")


def random_head(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    head = np.empty((1, CELLS, 8), np.float32)
    head[..., :2] = rng.uniform(-0.5, 1.5, (1, CELLS, 2))
    head[..., 2:4] = rng.uniform(0.0, 1.5, (1, CELLS, 2))
    head[..., 4:] = rng.uniform(0, 1, (1, CELLS, 4)) ** 2
    return head


def by_loops(head: np.ndarray, threshold: float) -> list[tuple[int, float, list[float]]]:
    """(label, score, corners in px of the input), cell by cell."""
    found, at = [], 0
    for stride in STRIDES:
        for row in range(SIZE[1] // stride):
            for column in range(SIZE[0] // stride):
                x, y, w, h, objectness, *scores = head[0, at].astype(float)
                at += 1
                label = int(np.argmax(scores))
                score = objectness * scores[label]
                if score >= threshold:
                    cx, cy = (column + x) * stride, (row + y) * stride
                    w, h = np.exp(w) * stride, np.exp(h) * stride
                    corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                    found.append((label, score, corners))
    return sorted(found, key=lambda item: -item[1])


def corners(item: ImageObject) -> list[float]:
    return [item.x_min, item.y_min, item.x_max, item.y_max]


def test_decoding_is_that_of_plain_loops() -> None:
    head = random_head()
    decoder = YoloxDecoder(
        manifest(score_threshold=0.3, overlap_threshold=1.0, duplicate_threshold=1.0)
    )
    letterbox = fit((960, 640), SIZE)
    objects = decoder({"output": head}, letterbox).image_objects
    expected = by_loops(head, 0.3)
    assert 10 < len(expected) == len(objects)
    for item, (label, score, box) in zip(objects, expected, strict=True):
        assert item.class_name == LABELS[label]
        assert item.score == pytest.approx(score, rel=1e-6)
        image_box = np.clip(np.array(box) * 10, 0, [960, 640, 960, 640]) - 0.5
        assert corners(item) == pytest.approx(image_box.tolist(), abs=1e-3)


def test_boxes_of_a_graph_that_decodes_itself() -> None:
    head = np.zeros((1, CELLS, 8), np.float32)
    head[0, 50] = [48, 32, 20, 10, 1.0, 0.0, 0.9, 0.0]
    (item,) = YoloxDecoder(manifest(decoded=True))({"output": head}, fit(SIZE, SIZE)).image_objects
    assert corners(item) == pytest.approx([37.5, 26.5, 57.5, 36.5])


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.05, 0.95))
def test_suppression_is_opencv_s(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (40, 2))], axis=1)
    scores = np.sort(rng.uniform(0.1, 1, 40))[::-1]
    classes = rng.integers(0, 3, 40)
    kept = suppress(boxes, classes, threshold)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    theirs = cv2.dnn.NMSBoxesBatched(
        sizes.tolist(), scores.tolist(), classes.tolist(), 0.0, threshold
    )
    assert sorted(kept) == sorted(np.asarray(theirs).ravel())


def test_one_object_in_two_classes_is_published_once() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 98], [0, 0, 100, 60]], float)
    classes = np.array([1, 0, 0])
    assert suppress(boxes, classes, 0.45, 0.8).tolist() == [0, 2]
    assert suppress(boxes, classes, 0.45).tolist() == [0, 1]


def test_labels_become_the_classes_of_the_manifest() -> None:
    head = np.zeros((1, CELLS, 8), np.float32)
    for label, cell in enumerate((0, 5, 60)):
        head[0, cell] = [0.5, 0.5, 0, 0, 1.0, *np.eye(3)[label]]
    decoder = YoloxDecoder(manifest(classes={"person": "pedestrian", "car": "car"}))
    objects = decoder({"output": head}, fit(SIZE, SIZE)).image_objects
    assert sorted(item.class_name for item in objects) == ["car", "pedestrian"]


def test_most_objects_are_kept_to_the_limit_strongest_first() -> None:
    decoder = YoloxDecoder(manifest(max_objects=3, score_threshold=0.1))
    scores = [o.score for o in decoder({"output": random_head()}, fit(SIZE, SIZE)).image_objects]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_box_in_the_padding_is_left_out() -> None:
    head = np.zeros((1, CELLS, 8), np.float32)
    head[0, 11] = [0.5, 0.5, -1, -1, 1, 0, 1, 0]  # last column; the image has the left 64 px
    assert YoloxDecoder(manifest())({"output": head}, fit((640, 640), SIZE)).image_objects == ()


def test_nothing_found() -> None:
    empty = np.zeros((1, CELLS, 8), np.float32)
    assert YoloxDecoder(manifest())({"output": empty}, fit(SIZE, SIZE)).image_objects == ()


def test_absurd_sizes_stay_finite() -> None:
    head = np.zeros((1, CELLS, 8), np.float32)
    head[0, 0] = [0.5, 0.5, 500, 500, 1, 0, 1, 0]
    (item,) = YoloxDecoder(manifest())({"output": head}, fit(SIZE, SIZE)).image_objects
    assert corners(item) == [-0.5, -0.5, 95.5, 63.5]


@pytest.mark.parametrize("outputs", [{}, {"output": np.zeros((1, 10, 8), np.float32)}])
def test_output_that_does_not_fit(outputs: dict) -> None:
    with pytest.raises(InvalidOutputError, match=rf"expects \(1, {CELLS}, 8\)"):
        YoloxDecoder(manifest())(outputs, fit(SIZE, SIZE))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"output": "x"}, r"postprocessing.output: expected one of \['output'\]"),
        ({"strides": [8, 16]}, "with 3 labels and strides"),
        ({"strides": [0]}, "positive strides"),
        ({"labels": ("car",)}, "with 1 labels"),
        ({"classes": {"lorry": "truck"}}, "classes.lorry: expected a label"),
        ({"score_threshold": 0.0}, "score_threshold: expected 0.001 to 1"),
        ({"nms": 0.3}, "postprocessing.nms"),
    ],
)
def test_manifest_that_does_not_fit(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        YoloxDecoder(manifest(**changes))


# -- the real model on real pictures --


@pytest.fixture(scope="module")
def nano(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bundle = import_model(
        data_dir / "models" / "yolox_nano.onnx",
        adapter="yolox",
        into=tmp_path_factory.mktemp("models"),
    )
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    return encoders()["camera"].make_encoder(bundle.manifest, backend)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def labelled_cars(path: Path) -> list[np.ndarray]:
    """Boxes in the image of cars within 25 m that lie wholly in it, nearest first."""
    data = np.load(path)
    cars = []
    for label, center, size, yaw in zip(
        data["box_label"],
        data["box_center_m"],
        data["box_size_m"],
        data["box_yaw_rad"],
        strict=True,
    ):
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        points = center + (signs * size / 2) @ turn.T
        seen = points @ data["T_camera_lidar"][:3, :3].T + data["T_camera_lidar"][:3, 3]
        if label != "Car" or seen[:, 2].min() < 1 or center[0] > 25:
            continue
        pixels = seen @ data["camera_K"].T
        pixels = pixels[:, :2] / pixels[:, 2:]
        if np.all(pixels > 0) and np.all(pixels < [1920, 1080]):
            cars.append((center[0], np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])))
    return [box for _, box in sorted(cars, key=lambda car: car[0])]


@pytest.mark.parametrize("name", [f"{s}/{f:02}" for s in ("001", "002") for f in range(4)])
def test_nearest_labelled_car_is_found(nano: Any, data_dir: Path, name: str) -> None:
    path = data_dir / "pandaset" / f"{name}.jpg"
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera")
    message = SimpleNamespace(header=header, format="jpeg", data=path.read_bytes())
    frame = encoders()["camera"].make_intake(None).frame(message)
    inputs = nano.preprocess(frame, Geometry())
    output = nano.postprocess(nano.infer(inputs), frame, Geometry())
    assert output.tensors["neck"].shape == (1, 256, 13, 13)
    found = [np.array(corners(o)) for o in output.image_objects if o.class_name == "car"]
    nearest = labelled_cars(path.with_suffix(".npz"))[0]
    assert max(overlap(nearest, box) for box in found) > 0.6
