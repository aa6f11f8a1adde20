"""Playing over real DDS: raw data arrives as the typed messages it was, with stamps of now."""

import signal
import time

import pytest
from harness import wait_until
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2

from edge_perception.cli.main import main
from edge_perception.recordings import player
from edge_perception.recordings.player import Player
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.ros_sink import RosSink
from edge_perception.recordings.schedule import PlayPlan, parse_cut
from edge_perception.recordings.writer import RecordingWriter, Topic


@pytest.fixture
def recording(tmp_path):
    from rclpy.serialization import serialize_message

    from edge_perception.recordings.qos import SENSOR_DATA

    path = tmp_path / "clouds.mcap"
    with RecordingWriter(path) as writer:
        writer.add_topic(
            Topic(name="/lidar/points", type="sensor_msgs/msg/PointCloud2", qos=SENSOR_DATA)
        )
        for index in range(10):
            message = PointCloud2(height=1, width=index)
            message.header.stamp.sec = 100 + index // 20
            message.header.stamp.nanosec = index * 50_000_000
            log_time_ns = 100 * 10**9 + index * 50_000_000 + 2_000_000
            writer.write("/lidar/points", serialize_message(message), log_time_ns=log_time_ns)
    return Recording(path)


def test_clouds_arrive_with_stamps_of_now_and_without_those_that_were_cut(harness, recording):
    received = harness.subscribe(PointCloud2, "/robot/lidar/points", qos_profile_sensor_data)
    harness.start()
    sink = RosSink(harness.driver, recording.topics.values(), namespace="robot")
    wait_until(lambda: not sink.unheard(), "subscription matched")
    plan = PlayPlan(cuts=(parse_cut("lidar:0.1-0.2"),))
    report = Player(recording, plan, sink, restamp=True).run()
    received.wait(lambda message: message.width == 9)
    assert [message.width for message in received.messages] == [0, 1, 4, 5, 6, 7, 8, 9]
    now_ns = time.time_ns()
    for message in received.messages:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        assert 0 <= now_ns - stamp_ns < 5e9
        assert report.stamps.to_recorded(stamp_ns) == pytest.approx(
            100 * 10**9 + message.width * 50_000_000, abs=8
        )
    sink.close()


def test_the_command_plays_with_the_clock_and_the_recorded_stamps(
    harness, recording, capfd, ros_domain
):
    from rosgraph_msgs.msg import Clock

    clouds = harness.subscribe(PointCloud2, "/lidar/points", qos_profile_sensor_data)
    ticks = harness.subscribe(Clock, "/clock")
    harness.start()
    assert main(["play", str(recording.path), "--clock", "50"]) == 0
    clouds.wait(lambda message: message.width == 9)
    assert clouds.messages[0].header.stamp.sec == 100
    ticks.wait(lambda tick: tick.clock.sec == 100 and tick.clock.nanosec > 400_000_000)
    assert "/lidar/points: 10 sent" in capfd.readouterr().out


@pytest.mark.parametrize("loop", [[], ["--loop"]], ids=["once", "loop"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_was_played_is_no_success(
    recording, capfd, monkeypatch, ros_domain, number, loop
):
    def interrupted(condition, **_limits):
        signal.raise_signal(number)
        return condition()

    monkeypatch.setattr(player, "wait_for", interrupted)
    assert main(["play", str(recording.path), *loop]) == 128 + number
    assert "sent" not in capfd.readouterr().out


@pytest.mark.parametrize(("loop", "status"), [([], 130), (["--loop"], 0)], ids=["once", "loop"])
def test_a_signal_while_it_plays_ends_only_what_would_go_on_for_ever(
    recording, capfd, monkeypatch, ros_domain, loop, status
):
    publish = RosSink.publish

    def interrupted(sink, topic, data):
        publish(sink, topic, data)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RosSink, "publish", interrupted)
    assert main(["play", str(recording.path), "--wait", "0", *loop]) == status
    assert "/lidar/points: 1 sent" in capfd.readouterr().out


def test_the_command_refuses_what_is_no_recording(tmp_path, capfd):
    path = tmp_path / "x.mcap"
    path.write_text("nothing")
    assert main(["play", str(path)]) == 2
    assert "expected an MCAP recording" in capfd.readouterr().err
