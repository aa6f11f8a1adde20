"""Kept moments go to a labelling tool with pre-labels, and the labels come back."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from copies import another_drive

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.evaluation.recorded import RecordedFrames
from edge_perception.evaluation.training_set import (
    TRAIN,
    SetFrame,
    SetRecording,
    _grouped,
    _parted,
    file_sha256,
    frames_of,
    read_set,
)
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.samples.truth import read_ground_truth

FUSED = Topic(name="/perception/fused", type="edge_perception/msg/FusedPerception")


def fused(stamp_ns, boxes):
    from rclpy.serialization import serialize_message

    from edge_perception import msg
    from edge_perception.nodes.conversion import header_msg

    header = header_msg(stamp_ns, "base_link")
    status = msg.SourceStatus(source="lidar", modality="lidar", contributed=True)
    status.stamp = header.stamp
    view = msg.FusedPerception(header=header, sources=[status])
    view.models = [msg.ModelVersion(role="fusion", name="bev_lite_fusion", version="0.5.0")]
    for box in boxes:
        item = msg.DetectedObject(class_name=box.class_name, score=0.6, yaw=box.yaw_rad)
        item.center.x, item.center.y, item.center.z = map(float, box.center_m)
        item.size.x, item.size.y, item.size.z = map(float, box.size_m)
        view.objects.append(item)
    return bytes(serialize_message(view))


@pytest.fixture(scope="module")
def kept(drive, tmp_path_factory):
    """A file of the recorder: the drive, fused views, two events. And the boxes of both moments."""
    path = tmp_path_factory.mktemp("events") / "event_1_margin.mcap"
    recording = Recording(drive)
    truth = read_ground_truth(recording)
    sweeps = truth.sweeps[5:30]
    with RecordingWriter(path) as writer:
        for topic in (*recording.topics.values(), FUSED):
            writer.add_topic(topic)
        views = {
            shown.stamp_ns + 50_000_000: fused(shown.stamp_ns, truth.frames[shown.frame].boxes)
            for shown in sweeps
        }
        for message in recording.messages():
            for at_ns in [at for at in views if at <= message.log_time_ns]:
                writer.write(FUSED.name, views.pop(at_ns), log_time_ns=at_ns)
            writer.write(message.topic, message.data, log_time_ns=message.log_time_ns)
        times = [sweeps[3].stamp_ns + 50_000_000, sweeps[12].stamp_ns + 55_000_000]
        events = ("margin: car scores 0.51", "condition: fog came", "doubt: car alone")
        named = zip((times[0], times[0], times[1]), events, strict=True)
        writer.add_metadata("events", {str(i): f"{at}: {t}" for i, (at, t) in enumerate(named)})
    parameters_path(path).write_text(parameters_path(drive).read_text())
    boxes = {s.stamp_ns: truth.frames[s.frame].boxes for s in (sweeps[3], sweeps[12])}
    return path, boxes


@pytest.fixture
def exported(kept, tmp_path):
    out = tmp_path / "set"
    assert main(["mine", "export", str(kept[0].parent), "--out", str(out)]) == 0
    yield out
    kept[0].with_suffix(".ground_truth.json").unlink(missing_ok=True)


def tables(out):
    return [json.loads((out / name).read_text()) for name in ("coco.json", "nuscenes.json")]


def taken(kept):
    """Return the classes and centres that `evaluate` gets, by stamp."""
    return {
        int(frame.name): list(zip(frame.truth.class_name, frame.truth.center_m, strict=True))
        for frame in RecordedFrames(kept[0])
    }


def test_moments_are_exported_with_images_sweeps_and_pre_labels(kept, exported, capsys):
    coco, nuscenes = tables(exported)
    assert [image["reasons"] for image in coco["images"]] == [
        ["margin: car scores 0.51", "condition: fog came"],
        ["doubt: car alone"],
    ]
    boxes = [box for found in kept[1].values() for box in found]
    assert len(nuscenes["sample_annotation"]) == len(boxes) > 3
    assert 0 < len(coco["annotations"]) <= len(boxes)
    for image in coco["images"]:
        import cv2

        pixels = cv2.imread(str(exported / image["file_name"]))
        assert pixels.shape[:2] == (image["height"], image["width"])
    for item in coco["annotations"]:
        image = coco["images"][item["image_id"] - 1]
        x, y, width, height = item["bbox"]
        assert 0 <= x <= x + width <= image["width"] + 0.2
        assert 0 <= y <= y + height <= image["height"] + 0.2
    sample = nuscenes["sample"][0]
    points = np.fromfile(exported / sample["sweep"], np.float32).reshape(-1, 5)
    assert len(points) > 1000
    assert np.abs(np.percentile(points[:, 2], 20)) < 0.3, "base frame: the road is at 0"
    # A set that is there is not written over.
    assert main(["mine", "export", str(kept[0]), "--out", str(exported)]) == 2
    assert "holds a set already" in capsys.readouterr().err


def test_boxes_in_space_come_back_as_they_were_edited(kept, exported):
    _, nuscenes = tables(exported)
    removed = nuscenes["sample_annotation"].pop(0)
    moved = nuscenes["sample_annotation"][0]
    moved["translation"][0] += 1.5
    moved["category_name"] = "truck"
    file = exported / "nuscenes.json"
    file.write_text(json.dumps(nuscenes))
    assert main(["mine", "take", str(file)]) == 0
    stamp_ns = nuscenes["sample"][0]["stamp_ns"]
    found = taken(kept)
    assert len(found) == 2
    before = kept[1][stamp_ns]
    assert len(found[stamp_ns]) == len(before) - 1
    name, center = found[stamp_ns][0]
    assert name == "truck"
    np.testing.assert_allclose(center, moved["translation"], atol=1e-3)
    assert not any(np.allclose(c, removed["translation"], atol=1e-3) for _, c in found[stamp_ns])


def test_images_tell_what_a_box_is_and_what_has_no_box_in_space_is_counted(kept, exported, capsys):
    coco, _ = tables(exported)
    first = coco["annotations"].pop(0)  # nothing is there
    renamed, shifted = coco["annotations"][0], coco["annotations"][1]
    renamed["category_id"] = 3
    shifted["bbox"][0] += shifted["bbox"][2]
    coco["annotations"].append({**renamed, "id": 999, "attributes": {}})
    file = exported / "edited.json"
    file.write_text(json.dumps(coco))
    assert main(["mine", "take", str(file)]) == 1
    said = capsys.readouterr().out
    assert "annotation 999: drawn in the image, it has no box in space" in said
    assert f"annotation {shifted['id']}: moved in the image" in said
    found = taken(kept)
    wanted = sum(map(len, kept[1].values())) - 2
    assert sum(map(len, found.values())) == wanted
    stamp_ns = coco["images"][renamed["image_id"] - 1]["stamp_ns"]
    assert "bus" in {name for name, _ in found[stamp_ns]}
    assert first["image_id"] == 1


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda d: d.clear(), "expected 'images' and 'annotations'"),
        (lambda d: d["sample_annotation"][0].pop("size"), "sample_annotation[0]: expected 'size'"),
        (lambda d: d["sample_annotation"][0].update(size=[1, 0, 2]), "size_m: expected above 0 m"),
        (lambda d: d["sample_annotation"][0].update(rotation="x"), "rotation: expected 4 numbers"),
        (lambda d: d["sample_annotation"][0].update(sample_token="?"), "no sample has the token ?"),
    ],
)
def test_broken_labels_are_refused_by_name(kept, exported, edit, said, capsys):
    data = tables(exported)[1]
    edit(data)
    file = exported / "broken.json"
    file.write_text(json.dumps(data))
    assert main(["mine", "take", str(file)]) == 2
    assert said in capsys.readouterr().err
    assert not list(kept[0].parent.glob("*.json")), "nothing half-written"


def test_a_recording_that_is_none_of_the_recorder_is_left_out_and_said(drive, tmp_path, capsys):
    assert main(["mine", "export", str(drive), "--out", str(tmp_path / "set")]) == 1
    assert "expected a file of `record`, with its events" in capsys.readouterr().out


def collected(kept, folder, robot, number):
    """The recording as `fleet collect` brings it, of a robot of its own."""
    path = folder / robot / kept[0].name
    path.parent.mkdir(parents=True)
    shutil.copy(kept[0], path)
    shutil.copy(parameters_path(kept[0]), parameters_path(path))
    origin = {
        "robot": robot,
        "sha256": file_sha256(path),
        "storage": "s3://x",
        "uploaded_ns": number,
    }
    path.with_name(path.name.replace(".mcap", ".sample.json")).write_text(json.dumps(origin))
    return path


def test_a_training_set_says_of_each_frame_where_it_is_from(kept, tmp_path, capsys):
    path = collected(kept, tmp_path / "collected", "robot-7", 1)
    out, made = tmp_path / "set", tmp_path / "made.json"
    assert main(["mine", "export", str(tmp_path / "collected"), "--out", str(out)]) == 0
    coco, nuscenes = tables(out)
    assert {image["robot"] for image in coco["images"]} == {"robot-7"}
    assert nuscenes["sample"][0]["token"].startswith("robot-7_event_1_margin_")
    # Labels without a name of who looked are nobody's.
    assert main(["mine", "gather", str(tmp_path / "collected"), "--out", str(made)]) == 2
    assert "expected labelled recordings" in capsys.readouterr().err
    nuscenes["sample_annotation"][0]["num_lidar_pts"] = 0  # nobody can see it
    (out / "nuscenes.json").write_text(json.dumps(nuscenes))
    assert main(["mine", "take", str(out / "nuscenes.json")]) == 0
    assert main(["mine", "gather", str(tmp_path / "collected"), "--out", str(made)]) == 2
    assert "who looked at these labels" in capsys.readouterr().err
    assert main(["mine", "take", str(out / "nuscenes.json"), "--by", "ann"]) == 0
    assert main(["mine", "gather", str(tmp_path / "collected"), "--out", str(made)]) == 0
    found = read_set(made)
    (row,) = found.recordings
    assert (row.robot, row.labelled_by, row.sha256) == ("robot-7", "ann", file_sha256(path))
    assert [frame.reasons for frame in row.frames] == [
        ("margin: car scores 0.51", "condition: fog came"),
        ("doubt: car alone",),
    ]
    assert row.frames[0].decided_by[0].name == "bev_lite_fusion"
    ((group, frames),) = frames_of(made, found, TRAIN)
    assert group == row.group
    first = next(iter(frames))
    assert first.boxes[0].points == 0
    assert not first.truth.in_lidar[0]
    assert len(first.boxes) == row.frames[0].boxes
    # What changed since is no longer what the set says.
    labels = path.with_suffix(".ground_truth.json")
    labels.write_text(labels.read_text().replace("ann", "bob"))
    with pytest.raises(ConfigurationError, match="changed since the set was made"):
        read_set(made)
    with path.open("ab") as file:
        file.write(b"x")
    assert main(["mine", "gather", str(tmp_path / "collected"), "--out", str(made)]) == 2
    assert "changed since it was collected" in capsys.readouterr().err


def test_recordings_of_one_drive_stay_together():
    def row(robot, number, at_s):
        return SetRecording(
            path=f"{robot}{number}",
            robot=robot,
            sha256=f"{robot}{number}",
            labels="",
            labels_sha256="",
            labelled_by="ann",
            frames=(SetFrame(stamp_ns=at_s * 10**9, boxes=1),),
        )

    rows = [row(f"r{n}", k, 1000 * n + 60 * k) for n in range(8) for k in range(3)]
    rows.append(row("r0", 9, 50_000))  # another day of this robot
    parted = list(_parted(_grouped(rows), 0.25))
    groups = {r.group: {x.part for x in parted if x.group == r.group} for r in parted}
    assert len(groups) == 9
    assert all(len(parts) == 1 for parts in groups.values())
    held = [g for g, parts in groups.items() if parts == {"held_out"}]
    assert len(held) == 3  # a quarter, rounded up
    again = list(_parted(_grouped(list(reversed(rows))), 0.25))
    assert {r.path: r.part for r in again} == {r.path: r.part for r in parted}
    alone = list(_parted(_grouped([row("r1", 1, 1)]), 0.5))
    assert [r.part for r in alone] == ["train"]


def test_a_candidate_is_better_by_the_margin_or_the_reason_is_said(
    kept, exported, tmp_path, capsys
):
    """The bundled fusion against one whose weights are spoilt, and the other way round."""
    from edge_perception.core.errors import RegistryError
    from edge_perception.core.share import share_file
    from edge_perception.evaluation.candidate import EVIDENCE
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.repacking import repack

    pytest.importorskip("tuf", reason="tuf is not installed: `make setup-fleet` (extra `fleet`)")
    from edge_perception.fleet import publishing

    assert publishing.EVIDENCE == EVIDENCE
    assert main(["mine", "take", str(exported / "nuscenes.json"), "--by", "ann"]) == 0
    good = share_file("models/bev_lite")
    bad = tmp_path / "bad"
    for role in ("camera", "lidar", "audio"):
        (bad / role).parent.mkdir(exist_ok=True)
        (bad / role).symlink_to(good / role)
    spoilt = repack(
        load_bundle(good / "fusion"), bad / "fusion", changes={"version": "9.9.9"}, scale=0.3
    )
    files = []
    for number in range(5):
        path = tmp_path / f"drive_{number}.mcap"
        another_drive(kept[0], path, number, labels=False)
        labels = kept[0].with_suffix(".ground_truth.json")
        path.with_suffix(".ground_truth.json").symlink_to(labels)
        files += ["--recording", str(path)]
    told = tmp_path / "evidence.json"
    asked = ["evaluate", *files, "--json", str(told), "--margin", "2"]
    assert main([*asked, "--models", str(bad), "--candidate", str(good / "fusion")]) == 0
    assert "\nbetter: mAP" in capsys.readouterr().out
    found = json.loads(told.read_text())
    assert found["better"]
    assert (found["frames"], found["groups"]) == (10, 5)
    publishing.check_evidence(found, load_bundle(good / "fusion"))
    with pytest.raises(RegistryError, match="of another fusion"):
        publishing.check_evidence(found, spoilt)
    assert main([*asked, "--models", str(good), "--candidate", str(spoilt.path)]) == 1
    assert "\nnot better: mAP" in capsys.readouterr().out
    with pytest.raises(RegistryError, match="not better"):
        publishing.check_evidence(json.loads(told.read_text()), spoilt)
    assert main([*asked, "--models", str(good), "--candidate", str(good / "fusion")]) == 2
    assert "is what serves already" in capsys.readouterr().err
    assert main([*asked[:5], "--models", str(bad), "--candidate", str(good / "fusion")]) == 2
    assert "at least 5 recordings" in capsys.readouterr().err
