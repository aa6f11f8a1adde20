"""Replay moves features along recorded odometry, by the code of the node."""

import math

import pytest
from copies import copy_recording
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message

from edge_perception.nodes.conversion import time_msg
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.validation.merging import read_lines

TOPIC = Topic(name="/odometry", type="nav_msgs/msg/Odometry")
USED, UNUSED = {"fusion.odometry_topic": "odometry"}, {"fusion.odometry_topic": ""}
SPEED_MPS = 15.0


def odometry(stamp_ns, start_ns):
    message = Odometry(child_frame_id="base_link")
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "odom"
    message.pose.pose.position.x = SPEED_MPS * (stamp_ns - start_ns) / 1e9
    return message


def with_odometry(drive, path, odometry=odometry):
    """The drive with a motion of 15 m/s that its sensors do not show, 50 times a second."""
    recording = Recording(drive)
    messages = [message for message in recording.messages() if message.topic != TOPIC.name]
    start_ns, end_ns = messages[0].log_time_ns, messages[-1].log_time_ns
    moments = range(start_ns - 10**9, end_ns, 20_000_000)
    added = [("/odometry", serialize_message(odometry(ns, start_ns)), ns) for ns in moments]
    kept = [(m.topic, m.data, m.log_time_ns) for m in messages]
    with RecordingWriter(path) as writer:
        for topic in {**recording.topics, TOPIC.name: TOPIC}.values():
            writer.add_topic(topic)
        for topic, data, time_ns in sorted([*added, *kept], key=lambda item: item[2]):
            writer.write(topic, data, log_time_ns=time_ns)
    return path


def test_late_features_join_and_are_moved(drive, replay, tmp_path):
    bag = with_odometry(drive, tmp_path / "moving.mcap")
    late = {"delay": ("camera:180ms",), "subset": ("camera", "lidar")}
    runs = [
        replay(bag=bag, overrides={"fusion.deadline_s": 0.1, **overrides}, **late)
        for overrides in (UNUSED, USED)
    ]
    plain, moved = [list(read_lines(run.folder / "fused.jsonl")) for run in runs]
    assert runs[1].account["sha256"] != runs[0].account["sha256"]

    def both(records):
        return sum(len([s for s in r["sources"] if s["contributed"]]) == 2 for r in records)

    assert both(moved) > both(plain) + 10, "180 ms is more than the window without odometry"
    assert not any(math.isnan(r["confidence"]) for r in moved)


def jumping(stamp_ns, start_ns):
    message = odometry(stamp_ns, start_ns)
    message.pose.pose.position.x += 4.0 if stamp_ns - start_ns > 2e9 else 0.0
    return message


def contradicting(stamp_ns, start_ns):
    message = odometry(stamp_ns, start_ns)
    message.twist.twist.linear.x = 3.6 * SPEED_MPS  # km/h
    return message


@pytest.mark.parametrize(
    ("odd", "note"),
    [
        (jumping, "/odometry: the pose jumps in 1 messages"),
        (contradicting, "/odometry: pose and twist contradict each other in "),
    ],
)
def test_odometry_that_cannot_be_believed_is_told(replay, drive, tmp_path, odd, note):
    bag = with_odometry(drive, tmp_path / "odd.mcap", odd)
    notes = replay(bag=bag, overrides=USED, subset=("lidar",)).to_json()["notes"]
    assert any(text.startswith(note) for text in notes), notes
    fine = with_odometry(drive, tmp_path / "fine.mcap")
    notes = replay(bag=fine, overrides=USED, subset=("lidar",)).to_json()["notes"]
    assert not any(text.startswith("/odometry") for text in notes)


def test_a_recording_without_the_topic_says_so(replay, drive, tmp_path):
    bag = copy_recording(
        drive, tmp_path / "still.mcap", lambda m: None if m.topic == TOPIC.name else m
    )
    load = {"load.budget_ms": 0.001, "load.most_skipped": 9, "load.reuse_max_age_s": 9.0}
    load = {f"lidar_encoder.{name}": value for name, value in load.items()}
    result = replay(bag=bag, overrides={**USED, **load})
    notes = result.to_json()["notes"]
    assert any("no odometry on /odometry" in note for note in notes)
    assert any("lidar: load.budget_ms is not replayed" in note for note in notes)
    assert not any(b'"given_up"' in line for line in (result.folder / "fused.jsonl").open("rb"))
