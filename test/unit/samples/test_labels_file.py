"""A file of labels becomes ground truth; what does not fit is named."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import DetectedObject
from edge_perception.fusion.label_names import class_of_label
from edge_perception.samples.labels_file import SCHEMA, find_labels, labels_of, read_labels_file
from edge_perception.samples.matching import RULE_WITHOUT_CAMERA, Region, compare

CAR = {"label": "Car", "center_m": [12.0, 1.0, 0.8], "size_m": [4.4, 1.8, 1.5], "yaw_rad": 0.1}
FILE = {"schema": SCHEMA, "frames": [{"stamp_ns": 10, "boxes": [CAR]}, {"stamp_ns": 20}]}


def write(path, document):
    path.write_text(json.dumps(document) if path.suffix == ".json" else yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_file_beside_the_recording_is_found_and_read(tmp_path, suffix):
    path = write(tmp_path / f"drive.ground_truth{suffix}", FILE)
    assert find_labels(tmp_path / "drive.mcap") == path
    assert find_labels(tmp_path / "other.mcap") is None
    truth = read_labels_file(path).truth
    (box,) = truth.frames[0].boxes
    assert (box.label, box.class_name, box.center_m) == ("Car", "car", (12.0, 1.0, 0.8))
    assert [shown.stamp_ns for shown in truth.sweeps] == [10, 20]
    assert truth.images == truth.sweeps
    assert not truth.frames[1].boxes  # an empty street is a label, too


def test_labels_get_our_classes(tmp_path):
    boxes = [{**CAR, "label": name} for name in ("Person", "motorbike", "Van", "tree")]
    document = {**FILE, "classes": {"Van": "truck"}, "frames": [{"stamp_ns": 1, "boxes": boxes}]}
    truth = read_labels_file(write(tmp_path / "x.yaml", document)).truth
    names = [box.class_name for box in truth.frames[0].boxes]
    assert names == ["pedestrian", "cyclist", "truck", "other"]


@pytest.mark.parametrize(
    ("ours", "names"),
    [
        ("car", ("vehicle.car", "Car", "TYPE_VEHICLE", "Vehicle", "REGULAR_VEHICLE", "CAR")),
        ("truck", ("vehicle.truck", "Pickup Truck", "Semi-truck", "BOX_TRUCK", "Truck")),
        ("bus", ("vehicle.bus.rigid", "vehicle.bus.bendy", "SCHOOL_BUS", "school bus", "Bus")),
        (
            "pedestrian",
            ("human.pedestrian.adult", "human.pedestrian.police_officer", "Person_sitting"),
        ),
        ("pedestrian", ("TYPE_PEDESTRIAN", "Pedestrian with Object", "PEDESTRIAN", "person")),
        ("cyclist", ("vehicle.bicycle", "TYPE_CYCLIST", "BICYCLIST", "Motorcycle", "rider")),
        ("other", ("Van", "DontCare", "vehicle.trailer", "human.pedestrian.stroller", "TYPE_SIGN")),
        ("other", ("movable_object.trafficcone", "static_object.bicycle_rack", "Tram / Subway")),
        (None, ("tree", "vehicles", "", "auto", "car park")),
    ],
)
def test_names_of_well_known_data_sets(ours, names):
    assert [class_of_label(name) for name in names] == [ours] * len(names)


def test_names_that_are_not_known_are_told_with_their_counts(tmp_path):
    labels = ["vehicle.car", "tree", "Baum", "tree", "Lkw"]
    document = {
        **FILE,
        "classes": {"Lkw": "truck"},
        "frames": [{"stamp_ns": 1, "boxes": [{**CAR, "label": name} for name in labels]}],
    }
    found = read_labels_file(write(tmp_path / "x.yaml", document))
    names = [box.class_name for box in found.truth.frames[0].boxes]
    assert names == ["car", "other", "other", "other", "truck"]
    assert "'tree' (2), 'Baum' (1); `classes`" in found.note
    assert read_labels_file(write(tmp_path / "y.yaml", FILE)).note == ""


def test_labels_inside_a_recording_have_other_names_too(tmp_path):
    truth = read_labels_file(write(tmp_path / "x.yaml", FILE)).truth
    frame = truth.frames[0]
    others = tuple(
        replace(frame.boxes[0], class_name=name)
        for name in ("vehicle.bus.rigid", "car", "other", "tree")
    )
    inside = replace(truth, frames=(replace(frame, boxes=others), truth.frames[1]))
    bag = SimpleNamespace(path=tmp_path / "x.mcap", attachment=lambda _: inside.to_json())
    bag.path.with_name("x.yaml").unlink()
    found = labels_of(bag)
    names = [box.class_name for box in found.truth.frames[0].boxes]
    assert names == ["bus", "car", "other", "other"]
    assert "'tree' (1)" in found.note


def test_without_a_camera_the_region_is_a_sector_ahead(tmp_path):
    region = Region.of(read_labels_file(write(tmp_path / "x.yaml", FILE)).truth)
    assert region.rule == RULE_WITHOUT_CAMERA
    inside = [
        region.contains(c) for c in ((10, 0, 0), (10, 9, 0), (10, 11, 0), (41, 0, 0), (-1, 0, 0))
    ]
    assert inside == [True, True, False, False, False]


def test_a_camera_of_the_file_bounds_the_region(tmp_path):
    camera = {
        "T_base_camera": [0, 0, 1.5, -0.5, 0.5, -0.5, 0.5],
        "intrinsics": [[100, 0, 50], [0, 100, 50], [0, 0, 1]],
        "image_size": [100, 100],
    }
    truth = read_labels_file(write(tmp_path / "x.yaml", {**FILE, "camera": camera})).truth
    region = Region.of(truth)
    assert region.contains((10, 4, 1.5))
    assert not region.contains((10, 6, 1.5))
    found = compare(
        [
            DetectedObject(
                class_name="car", score=0.9, center_m=(12, 1, 0.8), size_m=(4, 2, 1.5), yaw_rad=0
            )
        ],
        truth.frames[0].boxes,
        region,
    )
    assert found.score.correct == 1


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({}, "schema: expected edge_perception/ground_truth/1, got nothing"),
        ({**FILE, "schema": "other/2"}, "schema: expected one of edge_perception/ground_truth/1"),
        ({**FILE, "frame": []}, r"frame: expected one of .*frames"),
        ({"schema": SCHEMA}, "frames: expected a value"),
        ({**FILE, "frames": [{"stamp_ns": 0}]}, r"frames\[0\]\.stamp_ns: expected 1 to inf, got 0"),
        ({**FILE, "frames": [{"stamp_ns": 1.5}]}, r"stamp_ns: expected an integer"),
        (
            {**FILE, "frames": [{"stamp_ns": 1, "boxes": [{**CAR, "size_m": [1, 2]}]}]},
            r"boxes\[0\]\.size_m: expected a list of 3",
        ),
        ({**FILE, "frames": [{"stamp_ns": 7}, {"stamp_ns": 7}]}, "stamp_ns 7 is there twice"),
        ({**FILE, "classes": {"Van": "lorry"}}, r"classes\.Van: expected one of car,.*got 'lorry'"),
        ({**FILE, "stamp_tolerance_s": 9.0}, "stamp_tolerance_s: expected"),
        ([], "expected a mapping"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, document, text):
    with pytest.raises(ConfigurationError, match=text):
        read_labels_file(write(tmp_path / "x.yaml", document))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{[", b"- [" * 3000])
def test_files_that_are_no_labels(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"x\.json"):
        read_labels_file(path)
    with pytest.raises(ConfigurationError, match="none"):
        read_labels_file(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"center_m": [float("nan"), 0, 0]}, "boxes[0]: expected finite center_m"),
        ({"yaw_rad": float("inf")}, "yaw_rad"),
        ({"size_m": [4.4, 0, 1.5]}, "size_m: expected above 0 m"),
        ({"size_m": [4.4, -1.8, 1.5]}, "size_m: expected above 0 m"),
        ({"size_m": [4.4, float("nan"), 1.5]}, "size_m: expected above 0 m"),
    ],
)
def test_boxes_that_nothing_can_have_are_refused(tmp_path, change, named):
    document = {**FILE, "frames": [{"stamp_ns": 1, "boxes": [{**CAR, **change}]}]}
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        read_labels_file(write(tmp_path / "x.yaml", document))


@pytest.mark.parametrize(
    "change",
    [
        {"T_base_camera": [0, 0, 1.5, 0, 0, 0, 0]},
        {"T_base_camera": [0, 0, float("nan"), -0.5, 0.5, -0.5, 0.5]},
        {"intrinsics": [[0, 0, 50], [0, 100, 50], [0, 0, 1]]},
        {"intrinsics": [[100, 0, 50], [0, 100, 50]]},
        {"image_size": [0, 100]},
    ],
)
def test_a_camera_that_is_none_is_refused(tmp_path, change):
    camera = {
        "T_base_camera": [0, 0, 1.5, -0.5, 0.5, -0.5, 0.5],
        "intrinsics": [[100, 0, 50], [0, 100, 50], [0, 0, 1]],
        "image_size": [100, 100],
        **change,
    }
    with pytest.raises(ConfigurationError, match=f"camera.{next(iter(change))}"):
        read_labels_file(write(tmp_path / "x.yaml", {**FILE, "camera": camera}))
