"""Replay takes the poses of sensors from /tf_static and /tf of a recording, as the node does."""

import json

import pytest
import yaml

from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.qos import TopicQos
from edge_perception.recordings.reader import Recording, open_recording
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.replay.binding import bind
from edge_perception.replay.latched import late_transforms
from edge_perception.replay.poses import placed_geometry, transforms_at
from edge_perception.running.vehicle_plan import read_plan
from edge_perception.validation.merging import read_lines

TF = "tf2_msgs/msg/TFMessage"
LATCHED = TopicQos(durability="transient_local")
DEFINITION = MessageDecoder().definition(TF)


def tf_bytes(*steps):
    """Return a TFMessage of (parent, child, pose, stamp_ns)."""
    codec = MessageDecoder()
    made = []
    for parent, child, pose, stamp_ns in steps:
        stamp = codec.message(
            "builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        x, y, z, qx, qy, qz, qw = pose
        made.append(
            codec.message(
                "geometry_msgs/msg/TransformStamped",
                header=codec.message("std_msgs/msg/Header", stamp=stamp, frame_id=parent),
                child_frame_id=child,
                transform=codec.message(
                    "geometry_msgs/msg/Transform",
                    translation=codec.message("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                    rotation=codec.message("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
                ),
            )
        )
    return codec.encode(codec.message(TF, transforms=made), TF)


def poses_of(drive):
    document = yaml.safe_load(parameters_path(drive).read_text())
    return {
        name: document[f"/**/{name}_encoder"]["ros__parameters"]["T_base_sensor"]
        for name in ("camera", "lidar")
    }


def with_tf(drive, path, *, static=(), moving=(), prefix="", late_ns=-(10**6)):
    """Copy a recording with transforms and without its poses as parameters."""
    recording = Recording(drive)
    with RecordingWriter(path) as writer:
        for topic in recording.topics.values():
            writer.add_topic(topic)
        names = {"static": f"{prefix}/tf_static", "moving": f"{prefix}/tf"}
        rows = []
        for kind, steps in (("static", static), ("moving", moving)):
            if steps:
                qos = LATCHED if kind == "static" else TopicQos()
                writer.add_topic(Topic(name=names[kind], type=TF, qos=qos, definition=DEFINITION))
        if static:
            rows.append((recording.start_ns + late_ns, names["static"], tf_bytes(*static)))
        for step in moving:
            rows.append((step[3], names["moving"], tf_bytes(step)))
        rows += [(m.log_time_ns, m.topic, m.data) for m in recording.messages()]
        for time_ns, topic, data in sorted(rows, key=lambda row: row[0]):
            writer.write(topic, data, log_time_ns=time_ns)
    document = yaml.safe_load(parameters_path(drive).read_text())
    for name in ("camera", "lidar"):
        del document[f"/**/{name}_encoder"]
    parameters_path(path).write_text(yaml.safe_dump(document))
    return path


def fused(result):
    return list(read_lines(result.folder / "fused.jsonl"))


def objects(result):
    return [record["objects"] for record in fused(result)]


@pytest.fixture(scope="module")
def latched(drive, tmp_path_factory):
    poses = poses_of(drive)
    steps = [("/base_link", name, pose, 0) for name, pose in poses.items()]
    return with_tf(drive, tmp_path_factory.mktemp("tf") / "latched.mcap", static=steps)


def test_poses_of_tf_static_give_what_the_same_parameters_give(replay, plain, latched):
    result = replay(bag=latched)
    assert not result.failure
    assert objects(result) == objects(plain)
    assert not any(s["warning"] for r in fused(result) for s in r["sources"])


def test_poses_that_a_recorder_got_late_are_told(drive, latched, tmp_path):
    steps = [("/base_link", "lidar", poses_of(drive)["lidar"], 0)]
    late = with_tf(drive, tmp_path / "late.mcap", static=steps, late_ns=2 * 10**9)
    for path, told in ((latched, 0), (late, 1)):
        bag = Recording(path)
        plan = read_plan([parameters_path(path)])
        binding = bind(bag, plan, MessageDecoder(bag.definitions()), {})
        notes = late_transforms(bag, binding)
        assert len(notes) == told
        assert all("/tf_static: its first message came 2.00 s after" in text for text in notes)


def test_every_segment_knows_the_poses_that_were_told_once(replay, plain, latched):
    # warm-up does not reach back to the start: the second half has to be told
    result = replay(bag=latched, segment_s=2.0, warm_up_s=0.5)
    assert not result.failure
    assert len(fused(result)) == len(fused(plain))
    late = [s for r in fused(result)[-10:] for s in r["sources"]]
    assert not any("no pose" in s["warning"] for s in late)


def test_without_any_pose_the_view_is_doubted_and_the_run_says_so(replay, drive, tmp_path):
    result = replay(bag=with_tf(drive, tmp_path / "none.mcap"))
    notes = " ".join(result.account["notes"])
    assert "camera, lidar: T_base_sensor is not set and the recording has neither /tf_st" in notes
    last = next(r for r in fused(result)[20:] if r["mode"] == "FULL")
    for status in last["sources"]:
        expected = status["modality"] in ("camera", "lidar")
        assert ("no pose of the sensor" in status["warning"]) is expected
    assert last["confidence"] < 0.9


def test_namespaced_transforms_are_pointed_at_and_found_by_a_remap(replay, drive, tmp_path):
    steps = [("base_link", name, pose, 0) for name, pose in poses_of(drive).items()]
    bag = with_tf(drive, tmp_path / "robot.mcap", static=steps, prefix="/robot7")
    notes = " ".join(replay(bag=bag).account["notes"])
    assert "it has /robot7/tf_static: name them with --remap" in notes
    found = replay(bag=bag, remaps=("/robot7/:=/",))
    assert "T_base_sensor" not in " ".join(found.account["notes"])


def test_a_moving_mount_moves_what_it_sees(replay, plain, drive, tmp_path):
    poses, recording = poses_of(drive), Recording(drive)
    x, y, z, *turn = poses["lidar"]
    steps = []
    for time_ns in range(recording.start_ns - 10**9, recording.end_ns + 10**9, 10**8):
        t_s = (time_ns - recording.start_ns) / 1e9
        steps.append(("base_link", "lidar", [x + t_s, y, z, *turn], time_ns))
    static = [("base_link", "camera", poses["camera"], 0)]
    bag = with_tf(drive, tmp_path / "moving.mcap", static=static, moving=steps)
    result = replay(bag=bag, overrides={"fusion.model": ""}, subset=("lidar",))
    still = replay(overrides={"fusion.model": ""}, subset=("lidar",))
    assert not any(s["warning"] for r in fused(result) for s in r["sources"])
    assert objects(result) != objects(still)


def test_a_transform_of_another_type_is_named_and_not_passed(replay, drive, tmp_path):
    bag = tmp_path / "odd.mcap"
    recording = Recording(drive)
    with RecordingWriter(bag) as writer:
        for topic in recording.topics.values():
            writer.add_topic(topic)
        writer.add_topic(Topic(name="/tf", type="std_msgs/msg/Header"))
        for m in recording.messages():
            writer.write(m.topic, m.data, log_time_ns=m.log_time_ns)
    result = replay(bag=bag)
    (finding,) = (f for f in result.findings if f.failed)
    assert "T_base_sensor is not set" in finding.text
    assert "/tf: expected tf2_msgs/msg/TFMessage, got std_msgs/msg/Header" in finding.text


def test_page_and_verdict_of_a_recording_with_tf(latched, tmp_path):
    from edge_perception.cli.main import main

    assert main(["validate", str(latched), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["metrics"]["messages"] > 30


def test_a_frame_looked_at_alone_has_the_pose_of_its_stamp(latched, drive):
    bag = open_recording(latched)
    plan, decoder = read_plan([parameters_path(latched)]), MessageDecoder(bag.definitions())
    binding = bind(bag, plan, decoder, {})
    tree = transforms_at(bag, binding, decoder, bag.end_ns)
    source = next(item for item in plan.sources if item.name == "lidar")
    geometry = placed_geometry(source, tree, "lidar", bag.end_ns)
    assert geometry.pose_source == "tf"
    assert geometry.T_base_sensor[:3, 3].tolist() == pytest.approx(poses_of(drive)["lidar"][:3])
