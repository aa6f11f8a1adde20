"""Folders of KITTI, nuScenes and PandaSet become recordings in which everything fits together."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path

import cv2
import datasets_mini as mini
import numpy as np
import pytest
import yaml

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.transforms import TransformTree, transforms_of
from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.samples.datasets import Wanted, datasets
from edge_perception.samples.datasets._pandas_pickle import read_table
from edge_perception.samples.labels_file import labels_of
from edge_perception.samples.truth import points_in_box, read_ground_truth

TABLES = Path(__file__).with_name("pandaset_tables")


class Converted:
    """A recording of a miniature, decoded."""

    def __init__(self, kind, folder):
        self.dataset, make = mini.MAKERS[kind]
        self.folder = folder / "data"
        self.expected = make(self.folder)
        self.path = folder / "out.mcap"
        sequence = ["--sequence", "scene-0061"] if kind == "nuscenes" else []
        code = main(["convert", self.dataset, str(self.folder), str(self.path), *sequence])
        assert code == 0
        self.recording = Recording(self.path)
        self.decoder = MessageDecoder()
        self.truth = read_ground_truth(self.recording)

    def messages(self, topic):
        return [self.decoder.decode(m.data, m.type) for m in self.recording.messages([topic])]

    def pose(self, frame_id):
        tree = TransformTree()
        for message in self.messages("/tf_static"):
            for transform in transforms_of(message):
                tree.add(transform, static=True)
        return tree.lookup("base_link", frame_id, 0).T


@pytest.fixture(scope="module", params=list(mini.MAKERS))
def converted(request, tmp_path_factory):
    return Converted(request.param, tmp_path_factory.mktemp(request.param))


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_the_car_is_where_it_is(converted):
    assert converted.truth.frames
    for frame in converted.truth.frames:
        (box,) = frame.boxes
        assert (box.class_name, box.points) in (("car", mini.INSIDE), ("car", -1))
        assert box.center_m == pytest.approx(mini.CENTER, abs=2e-3)
        assert box.size_m == pytest.approx(mini.SIZE)
        assert box.yaw_rad == pytest.approx(mini.YAW, abs=2e-3)


def test_poses_are_those_of_the_sensors(converted):
    clouds, images = converted.messages("/lidar/points"), converted.messages("/camera/camera_info")
    for message, T in (
        (clouds[0], converted.expected.T_base_lidar),
        (images[0], converted.expected.T_base_camera),
    ):
        np.testing.assert_allclose(converted.pose(message.header.frame_id), T, atol=1e-4)


def test_every_labelled_sweep_has_the_points_of_the_car_in_its_box(converted):
    sweeps = {stamp_ns(message): message for message in converted.messages("/lidar/points")}
    assert sorted(sweeps) == pytest.approx(converted.expected.lidar_stamps_ns, abs=200)
    for shown in converted.truth.sweeps:
        message = sweeps[shown.stamp_ns]
        T = converted.pose(message.header.frame_id)
        xyz_m = mini.moved(T, cloud_from_msg(message).xyz_m.astype(np.float64))
        (box,) = converted.truth.frames[shown.frame].boxes
        inside = points_in_box(xyz_m, box.center_m, box.size_m, box.yaw_rad)
        assert inside.sum() == mini.INSIDE


def test_the_camera_sees_the_car_where_its_calibration_says(converted):
    info = converted.messages("/camera/camera_info")[0]
    T = np.linalg.inv(converted.pose(info.header.frame_id))
    point = mini.moved(T, np.array(converted.truth.frames[0].boxes[0].center_m))
    u, v, _ = np.array(info.k).reshape(3, 3) @ point / point[2]
    true = mini.moved(np.linalg.inv(converted.expected.T_base_camera), mini.CENTER)
    expected = mini.K @ true / true[2]
    assert (u, v) == pytest.approx(expected[:2], abs=0.05)
    assert 0 < u < mini.WIDTH
    images = converted.messages("/camera/image_raw/compressed")
    assert {image_from_msg(m).bgr.shape for m in images} == {(mini.HEIGHT, mini.WIDTH, 3)}
    stamps = {stamp_ns(m) for m in images}
    assert {shown.stamp_ns for shown in converted.truth.images} <= stamps


def test_odometry_is_the_way_of_the_base(converted):
    if not converted.expected.odometry:
        assert "/odometry" not in converted.recording.topics
        return
    poses = [message.pose.pose for message in converted.messages("/odometry")]
    way = [(p.position.x, p.position.y, p.position.z) for p in poses]
    expected = [(index * mini.PER_FRAME_M, 0, 0) for index in range(mini.FRAMES)]
    np.testing.assert_allclose(way, expected, atol=2e-3)


def test_the_parameters_name_the_sensors_that_are_there(converted):
    document = yaml.safe_load(converted.path.with_suffix(".params.yaml").read_text())
    fusion = document["/**/fusion"]["ros__parameters"]
    assert fusion["sources"] == ["camera", "lidar"]
    assert ("odometry_topic" in fusion) is converted.expected.odometry


def test_tf_static_is_latched_and_first(converted):
    first = next(iter(converted.recording.messages()))
    assert first.topic == "/tf_static"
    assert converted.recording.topics["/tf_static"].qos.durability == "transient_local"


# -- which part, and what is not there --


def test_a_part_of_a_drive(tmp_path):
    mini.kitti_raw(tmp_path)
    spec = datasets()["kitti"]
    log = spec.load(tmp_path, Wanted(first=1, count=2))
    assert [item.name[-2:] for item in log.labels] == ["01", "02"]
    with pytest.raises(ConfigurationError, match="frames within 0 to 3"):
        spec.load(tmp_path, Wanted(first=9))


def test_several_sequences_are_listed_and_one_has_to_be_named(tmp_path, capsys):
    mini.pandaset(tmp_path, "001")
    mini.pandaset(tmp_path, "019")
    assert main(["convert", "pandaset", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.split() == ["001", "019"]
    assert main(["convert", "pandaset", str(tmp_path), str(tmp_path / "x.mcap")]) == 2
    assert "name one with --sequence: 001, 019" in capsys.readouterr().err
    arguments = ["--sequence", "007"]
    assert main(["convert", "pandaset", str(tmp_path), str(tmp_path / "x.mcap"), *arguments]) == 2
    assert "has no sequence '007'; it has 001, 019" in capsys.readouterr().err
    assert not (tmp_path / "x.mcap").exists()
    log = datasets()["pandaset"].load(tmp_path / "019", Wanted())  # the sequence itself
    assert log.name == "019"


def test_a_drive_without_labels_says_so(tmp_path, capsys):
    mini.kitti_raw(tmp_path)
    next(tmp_path.rglob("tracklet_labels.xml")).unlink()
    assert main(["convert", "kitti", str(tmp_path), str(tmp_path / "x.mcap")]) == 0
    out = capsys.readouterr().out
    assert "no labels" in out
    assert "labels inside: 0 frames" in out


def test_labels_of_names_that_nobody_knows_are_told(tmp_path, capsys):
    """Labels of somebody's own in the form of KITTI: no figure can come of them."""
    mini.kitti_object(tmp_path)
    for file in tmp_path.rglob("label_2/*.txt"):
        file.write_text(file.read_text().replace("Car", "palm"))
    assert main(["convert", "kitti", str(tmp_path), str(tmp_path / "x.mcap")]) == 0
    assert f"count as other: 'palm' ({mini.FRAMES})" in capsys.readouterr().out
    labels = labels_of(Recording(tmp_path / "x.mcap"))
    assert labels is not None
    assert f"'palm' ({mini.FRAMES})" in labels.note


def test_a_nuscenes_scene_without_annotations_has_no_labels(tmp_path, capsys):
    """Of the test set nobody knows what is there: that is not an empty road."""
    mini.nuscenes(tmp_path)
    (tmp_path / "v1.0-mini" / "sample_annotation.json").write_text("[]")
    next((tmp_path / "sweeps" / "LIDAR_TOP").iterdir()).unlink()
    arguments = ["convert", "nuscenes", str(tmp_path), str(tmp_path / "a.mcap")]
    assert main([*arguments, "--sequence", "scene-0061"]) == 0
    said = capsys.readouterr().out
    assert "labels inside: 0 frames" in said
    assert "scene-0061 has no annotations: no labels" in said
    assert "1 files of LIDAR_TOP are in the tables and not there" in said


@pytest.mark.parametrize("part", ["lidar/01.pkl", "camera/front_camera/01.jpg"])
def test_a_missing_frame_of_pandaset_gives_no_other_one_its_pose(tmp_path, capsys, part):
    mini.pandaset(tmp_path, "001")
    (tmp_path / "001" / part).unlink()
    arguments = ["convert", "pandaset", str(tmp_path), str(tmp_path / "a.mcap")]
    assert main([*arguments, "--count", "2"]) == 2
    assert "expected the file of frame 1" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["kitti", "nuscenes", "pandaset"])
def test_another_folder_is_refused_with_the_layout(dataset, tmp_path, capsys):
    assert main(["convert", dataset, str(tmp_path), str(tmp_path / "x.mcap")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert main(["convert", dataset, str(tmp_path / "none"), str(tmp_path / "x.mcap")]) == 2
    assert "expected a folder" in capsys.readouterr().err


def _damages(kind, folder):
    """Yield what may be broken of a miniature, one at a time."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.stem.lstrip("0") in ("2", "3") and path.suffix != ".json":
            continue  # the first frames stand for all
        whole = path.read_bytes()
        for content in (None, b"", whole[: len(whole) // 2], b"\x00[{'" + whole[:40]):
            yield path, content


@pytest.mark.parametrize("kind", list(mini.MAKERS))
def test_damaged_and_missing_files_are_named_and_never_a_stack_trace(kind, tmp_path):
    dataset, make = mini.MAKERS[kind]
    make(tmp_path / "whole")
    spec = datasets()[dataset]
    wanted = Wanted(sequence="scene-0061" if kind == "nuscenes" else "")
    refused = []
    for path, content in _damages(kind, tmp_path / "whole"):
        kept = path.read_bytes()
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        try:
            log = spec.load(tmp_path / "whole", wanted)
            for lidar in log.lidars:
                for index in range(len(lidar.stamps_ns)):
                    lidar.load(index)
        except ConfigurationError as error:
            refused.append(str(error))
        finally:
            path.write_bytes(kept)
    assert len(refused) > 10
    assert not [text for text in refused if str(tmp_path) not in text]
    shutil.rmtree(tmp_path / "whole")


def _each(pattern, change):
    """Return a change of the text of all files of a pattern."""

    def spoil(folder):
        files = sorted(folder.rglob(pattern))
        assert files
        for file in files:
            file.write_text(change(file.read_text()))

    return spoil


def _rows(pattern, **values):
    def change(text):
        rows = json.loads(text)
        for row in rows if isinstance(rows, list) else [rows]:
            row.update(values)
        return json.dumps(rows)

    return _each(pattern, change)


def _points(columns, shape):
    """Return a change of points of `columns` float32 to another layout."""

    def spoil(folder):
        for file in folder.rglob("*.bin"):
            values = np.fromfile(file, "<f4").reshape(-1, columns)
            whole = len(values) // columns * columns
            np.ascontiguousarray(shape(values)[:whole]).tofile(file)

    return spoil


def _row_of(name, numbers):
    def change(text):
        lines = text.splitlines()
        return "\n".join(f"{name}: {numbers}" if x.startswith(name) else x for x in lines)

    return change


CAR = "Car 0.00 0 0.10 10 20 30 40 "


def _turned(row):
    """Return a row of nuScenes whose rotation is given in the other order."""
    w, *xyz = row.get("rotation", [None])
    return {**row, "rotation": [*xyz, w]} if xyz else row


ODD = {
    "a label that is nan": (
        "kitti_object",
        _each("label_2/*.txt", lambda t: t + CAR + "nan 1 1 1 1 1 0\n"),
        "expected a finite place",
    ),
    "a label without sides": (
        "kitti_object",
        _each("label_2/*.txt", lambda t: t + CAR + "0 0 0 1 1 9 0\n"),
        "size expects above 0 m",
    ),
    "five columns": (
        "kitti_object",
        _points(4, lambda v: np.pad(v, ((0, 0), (0, 1)))),
        "points of another layout",
    ),
    "float64": ("kitti_object", _points(4, lambda v: v.astype("<f8")), "points of another layout"),
    "no rotation": (
        "kitti_object",
        _each("calib/*.txt", _row_of("R0_rect", "0 " * 9)),
        "expected rotations from Velodyne to camera",
    ),
    "no focal length": (
        "kitti_object",
        _each("calib/*.txt", _row_of("P2", "0 " * 12)),
        "P2 expects focal lengths above 0",
    ),
    "oxts that are nan": (
        "kitti_raw",
        _each("oxts/data/*.txt", lambda t: t.replace("49.0", "nan")),
        "expected numbers of oxts",
    ),
    "a tracklet without height": (
        "kitti_raw",
        _each("tracklet_labels.xml", lambda t: t.replace("<h>1.6", "<h>0")),
        "size expects above 0 m",
    ),
    "a box without a side": (
        "nuscenes",
        _rows("sample_annotation.json", size=[0, 0, 0]),
        "size expects above 0 m",
    ),
    "a box without a rotation": (
        "nuscenes",
        _rows("sample_annotation.json", rotation=[0, 0, 0, 0]),
        "expected a place and a quaternion",
    ),
    "a vehicle nowhere": (
        "nuscenes",
        _rows("ego_pose.json", translation=[float("nan")] * 3),
        "expected a place and a quaternion",
    ),
    "rotations as x, y, z, w": (
        "nuscenes",
        _each("v1.0-mini/*.json", lambda t: json.dumps([_turned(row) for row in json.loads(t)])),
        "ego_pose.json: rotation expects w, x, y, z: read as x, y, z, w the vehicle is upright",
    ),
    "no intrinsics": (
        "nuscenes",
        _rows("calibrated_sensor.json", camera_intrinsic=[[0] * 3] * 3),
        "focal lengths above 0",
    ),
    "four columns": ("nuscenes", _points(5, lambda v: v[:, :4]), "points of another layout"),
    "a pose without a rotation": (
        "pandaset",
        _rows("lidar/poses.json", heading=dict.fromkeys("wxyz", 0)),
        "expected a place and a quaternion",
    ),
    "a focal length of zero": ("pandaset", _rows("intrinsics.json", fx=0), "focal lengths above 0"),
    "a focal length of letters": ("pandaset", _rows("intrinsics.json", fx="a"), "expected numbers"),
    "stamps in nanoseconds": (
        "pandaset",
        _each("lidar/timestamps.json", lambda t: json.dumps([s * 1e9 for s in json.loads(t)])),
        "not in the unit",
    ),
}


@pytest.mark.parametrize(("kind", "spoil", "said"), ODD.values(), ids=list(ODD))
def test_content_that_nothing_would_ever_fit_is_refused_by_name(
    tmp_path, capsys, kind, spoil, said
):
    dataset, make = mini.MAKERS[kind]
    make(tmp_path / "data")
    spoil(tmp_path / "data")
    sequence = ["--sequence", "scene-0061"] if kind == "nuscenes" else []
    out = tmp_path / "out.mcap"
    assert main(["convert", dataset, str(tmp_path / "data"), str(out), *sequence]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_labels_of_kitti_as_tools_of_others_write_them(tmp_path):
    """Small letters, a mark in front, a score behind, and what is known in the image alone."""
    mini.kitti_object(tmp_path)

    def change(text):
        car = text.splitlines()[0].replace("Car", "car") + " 0.98"
        nothing = "dontcare" + text.splitlines()[1].removeprefix("DontCare")
        return f"\ufeff{car}\n{nothing}\n{CAR}-1 -1 -1 -1000 -1000 -1000 -10\n"

    _each("label_2/*.txt", change)(tmp_path)
    log = datasets()["kitti"].load(tmp_path, Wanted())
    assert [[b.class_name for b in moment.boxes] for moment in log.labels] == [["car"]] * 4
    np.testing.assert_allclose(log.labels[0].boxes[0].center_m, mini.CENTER, atol=1e-4)


def test_images_of_kitti_have_the_calibration_and_the_size_of_their_own_day(tmp_path):
    """The frames of the object benchmark are of several days and cameras' sizes."""
    mini.kitti_object(tmp_path)
    calibration = tmp_path / "training" / "calib" / "000002.txt"
    text = calibration.read_text()
    row = next(line for line in text.splitlines() if line.startswith("P2"))
    P = np.array(row.split()[1:], np.float64).reshape(3, 4)
    P[:2] *= 1.5
    calibration.write_text(text.replace(row, f"P2: {mini.numbers(P)}"))
    image = tmp_path / "training" / "image_2" / "000002.png"
    cv2.imwrite(str(image), cv2.resize(cv2.imread(str(image)), (192, 144)))
    path = tmp_path / "out.mcap"
    assert main(["convert", "kitti", str(tmp_path), str(path)]) == 0
    decoder, recording = MessageDecoder(), Recording(path)
    infos = [decoder.decode(m.data, m.type) for m in recording.messages(["/camera/camera_info"])]
    assert [(i.width, i.height) for i in infos] == [(128, 96), (128, 96), (192, 144), (128, 96)]
    assert [i.k[0] for i in infos] == pytest.approx([90, 90, 135, 90])


def test_images_of_nuscenes_tell_their_size_where_the_tables_do_not(tmp_path):
    mini.nuscenes(tmp_path)
    _rows("sample_data.json", width=0, height=0)(tmp_path)
    log = datasets()["nuscenes"].load(tmp_path, Wanted(sequence="scene-0061"))
    assert log.cameras[0].image_size == (mini.WIDTH, mini.HEIGHT)


def test_reflectance_of_0_to_255_is_not_made_brighter_still(tmp_path):
    mini.kitti_object(tmp_path)
    log = datasets()["kitti"].load(tmp_path, Wanted())
    before = log.lidars[0].load(0).intensity
    for file in tmp_path.rglob("*.bin"):
        values = np.fromfile(file, "<f4").reshape(-1, 4)
        values[:, 3] *= 255
        values.tofile(file)
    np.testing.assert_allclose(log.lidars[0].load(0).intensity, before, rtol=1e-6)


@pytest.mark.parametrize("lost", ["velodyne_points", "image_02", "oxts"])
def test_a_frame_that_kitti_lost_gives_no_other_one_its_stamp(tmp_path, lost):
    """tomas789/kitti2bag#4: the line of a frame that was lost is empty, and its file not there."""
    expected = mini.kitti_raw(tmp_path)
    drive = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync"
    stamps = drive / lost / "timestamps.txt"
    first, _, *others = stamps.read_text().splitlines()
    stamps.write_text("\n".join([first, "", *others]) + "\n")
    next((drive / lost / "data").glob("0000000001.*")).unlink()
    log = datasets()["kitti"].load(tmp_path, Wanted())
    whole, lidar, camera = (
        expected.lidar_stamps_ns,
        log.lidars[0].stamps_ns,
        log.cameras[0].stamps_ns,
    )
    left = [whole[0], *whole[2:]]
    assert list(lidar) == (left if lost == "velodyne_points" else whole)
    assert list(camera) == (whole if lost == "oxts" else left)
    assert [pose.stamp_ns for pose in log.poses] == (whole if lost == "image_02" else left)


def test_stamps_that_do_not_grow_and_sweeps_without_one_are_told(tmp_path, capsys):
    mini.kitti_raw(tmp_path)
    _each("velodyne_points/timestamps.txt", lambda t: (t.splitlines()[0] + "\n") * 3)(tmp_path)
    assert main(["convert", "kitti", str(tmp_path), str(tmp_path / "out.mcap")]) == 0
    said = capsys.readouterr().out
    assert "1 sweeps of 2011_09_26_drive_0001_sync have no stamp: left out" in said
    assert "lidar: 2 of 3 stamps do not grow" in said


# -- pickles --


@pytest.mark.parametrize("version", ["0.25.3", "1.5.3", "2.2.3", "3.0"])
def test_tables_of_every_pandas_are_read_without_it(version):
    points = read_table(TABLES / f"lidar_{version}.pkl.gz")
    assert sorted(points) == ["d", "i", "t", "x", "y", "z"]
    assert points["i"].tolist() == list(range(40))
    assert points["x"][:2].tolist() == [-16.574, 3.286]
    assert np.count_nonzero(points["d"] == 1) == 10
    cuboids = read_table(TABLES / f"cuboids_{version}.pkl.gz")
    assert cuboids["label"].tolist() == ["Car", "Pedestrian", "Pickup Truck"]
    assert cuboids["dimensions.y"].tolist() == [4.5, 0.7, 5.6]


class Evil:
    """Runs a command where it is unpickled blindly."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("suffix", [".pkl", ".pkl.gz"])
def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(tmp_path, suffix):
    marker, path = tmp_path / "ran", tmp_path / f"x{suffix}"
    data = pickle.dumps({"table": Evil(marker)})
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(ConfigurationError, match=r"x\.pkl.*names (posix|nt)\.system"):
        read_table(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "numpy.load", "os.system"])
def test_names_of_no_table_are_refused(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = tmp_path / "x.pkl"
    path.write_bytes(b"c" + f"{module}\n{function}\n".encode() + b".")
    with pytest.raises(ConfigurationError, match=f"names {name}"):
        read_table(path)


def test_a_pickle_of_something_else_is_no_table(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(json.loads('{"a": [1, 2]}')))
    with pytest.raises(ConfigurationError, match="expected a pandas table, got dict"):
        read_table(path)
