"""Labels of one's own recording, and of converted data sets, judge a replay."""

import json

import datasets_mini as mini
import pytest
import yaml
from copies import copy_recording

from edge_perception.cli.main import main
from edge_perception.recordings.reader import Recording
from edge_perception.samples.labels_file import SCHEMA
from edge_perception.samples.truth import read_ground_truth


@pytest.fixture(scope="module")
def bare(drive, tmp_path_factory):
    """The drive without what it knows about itself, and its labels."""
    path = copy_recording(drive, tmp_path_factory.mktemp("bare") / "bare.mcap")
    return path, read_ground_truth(Recording(drive))


def document(truth, shift_ns=0, **changes):
    frames = []
    shown_at = {shown.stamp_ns: shown for shown in (*truth.images, *truth.sweeps)}
    for shown in shown_at.values():
        boxes = [
            {"label": b.class_name, "center_m": list(b.center_m), "size_m": list(b.size_m),
             "yaw_rad": b.yaw_rad}
            for b in truth.frames[shown.frame].boxes
        ]  # fmt: skip
        frames.append({"stamp_ns": shown.stamp_ns + shift_ns, "boxes": boxes})
    return {"schema": SCHEMA, "frames": frames, **changes}


def figures(result):
    return {name: result.figures.metrics().get(name) for name in ("labelled", "correct", "recall")}


def test_a_named_file_judges_as_the_labels_inside_do(replay, plain, bare, tmp_path):
    path, truth = bare
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(document(truth)))
    result = replay(bag=path, ground_truth=str(file))
    assert figures(plain)["labelled"] > 10
    assert figures(result) == figures(plain)


def test_a_file_beside_the_recording_is_found_and_labels_that_nothing_shows_fail(replay, bare):
    path, truth = bare
    beside = path.with_suffix(".ground_truth.yaml")
    beside.write_text(yaml.safe_dump(document(truth, shift_ns=40_000_000)))
    try:
        result = replay(bag=path)
    finally:
        beside.unlink()
    assert not result.passed
    assert "0 of 80 labelled frames were shown" in " ".join(f.line() for f in result.findings)


def test_a_broken_file_is_refused_before_it_judges(replay, bare, tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text("schema: edge_perception/ground_truth/1\nframes: none\n")
    result = replay(bag=bare[0], ground_truth=str(file))
    assert result.usage
    assert "labels.yaml.frames: expected a list" in result.failure


@pytest.mark.parametrize("kind", ["kitti_raw", "nuscenes"])
def test_a_converted_drive_is_validated_with_its_labels(kind, tmp_path):
    dataset, make = mini.MAKERS[kind]
    make(tmp_path / "data")
    bag = tmp_path / "drive.mcap"
    sequence = ["--sequence", "scene-0061"] if kind == "nuscenes" else []
    assert main(["convert", dataset, str(tmp_path / "data"), str(bag), *sequence]) == 0
    assert main(["validate", str(bag), "--out", str(tmp_path / "report"), "--quiet"]) == 0
    told = json.loads((tmp_path / "report" / "result.json").read_text())
    metrics = told["metrics"]
    assert metrics["labelled_frames_shown"] == metrics["labelled_frames"] >= 2
    assert metrics["labelled"] >= metrics["labelled_frames"]  # one car, in the image
    assert not [note for note in told["notes"] if "T_base_sensor" in note]


def test_evaluate_gives_the_figures_of_a_labelled_recording(bare, tmp_path, capsys):
    path, truth = bare
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(document(truth)))
    report = tmp_path / "report.json"
    arguments = ["evaluate", "--recordings", str(path), "--json", str(report)]
    assert main([*arguments, "--ground-truth", str(labels)]) == 0
    told = json.loads(report.read_text())
    assert told["frames"] == len(truth.sweeps)
    assert not told["left_out"]
    for level in ("feature", "decision"):
        for subset in ("camera+lidar", "lidar", "camera"):
            assert 0.0 <= told[level][subset]["map"] <= 1.0
    seen = told["feature"]["camera+lidar"]
    assert seen["ap_2m"]["car"] > 0.5
    assert seen["kitti"]["car"]["bev_loose"]["all"] > 0.3
    assert 0.0 < seen["errors"]["car"]["all"]["translation_m"] < 1.0
    assert "kitti.car.3d" in seen["intervals"]
    assert "objects: " in capsys.readouterr().out

    assert main(arguments) == 2
    assert "expected labels beside it or inside it" in capsys.readouterr().err


def test_evaluate_names_frames_that_it_cannot_use(bare, tmp_path, capsys):
    path, truth = bare
    copy = tmp_path / "nowhere.mcap"  # without the parameters that give the poses
    copy.write_bytes(path.read_bytes())
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(document(truth)))
    arguments = ["evaluate", "--recording", str(copy), "--ground-truth", str(labels)]
    assert main(arguments) == 2
    assert "neither parameters nor tf give its pose" in capsys.readouterr().err
    labels.write_text(json.dumps(document(truth, shift_ns=40_000_000)))
    assert main(arguments) == 2
    assert "no sweep has the stamp of a label" in capsys.readouterr().err
