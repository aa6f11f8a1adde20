"""`play` says what became of what it sent."""

import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from harness import wait_until
from mcap.writer import Writer
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from edge_perception.cli.main import main
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.recordings.qos import RELIABLE, SENSOR_DATA
from edge_perception.recordings.writer import RecordingWriter, Topic

POINTS = "/lidar/points"
START_NS = 100 * 10**9


def written(path, *, clock=False, qos=SENSOR_DATA):
    with RecordingWriter(path) as writer:
        writer.add_topic(Topic(name=POINTS, type="sensor_msgs/msg/PointCloud2", qos=qos))
        if clock:
            writer.add_topic(Topic(name="/clock", type="rosgraph_msgs/msg/Clock"))
        for index in range(8):
            stamp_ns = START_NS + index * 100_000_000
            log_ns = stamp_ns + 10**18  # of another clock than the stamps
            if clock:
                tick = Clock()
                tick.clock.sec, tick.clock.nanosec = divmod(stamp_ns, 10**9)
                writer.write("/clock", serialize_message(tick), log_time_ns=log_ns)
            data = serialize_message(sensors.cloud(stamp_ns))
            writer.write(POINTS, data, log_time_ns=log_ns)
    return path


def test_all_that_arrived_is_told_by_the_node_that_got_it(harness, tmp_path, capfd):
    path = written(tmp_path / "clouds.mcap")
    node = harness.add(EncoderNode, "lidar")
    harness.start()
    before = 0
    for _ in range(2):  # the second time counts from there on
        assert main(["play", str(path), "--restamp"]) == 0
        out = capfd.readouterr().out
        got = node._inlet.arrivals()[POINTS].received - before
        before += got
        # Best effort: a busy machine may lose some, and says so.
        assert f"{POINTS}: 8 sent\n    lidar_encoder: {got} received" in out
        assert ("did not arrive" in out) == (got < 8)
        assert got > 0


def test_what_did_not_arrive_is_told_with_what_to_do(harness, tmp_path, capfd):
    """A node that says of itself that it got five."""
    path = written(tmp_path / "clouds.mcap")
    got = []
    stand_in = Node("lidar_encoder", context=harness.context)
    harness.executor.add_node(stand_in)
    stand_in.create_subscription(PointCloud2, POINTS, got.append, qos_profile_sensor_data)
    diagnostics = stand_in.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def say():
        values = {f"received {POINTS}": str(min(len(got), 5)), f"lost {POINTS}": "3"}
        status = DiagnosticStatus(
            name="lidar_encoder", values=[KeyValue(key=k, value=v) for k, v in values.items()]
        )
        diagnostics.publish(DiagnosticArray(status=[status]))

    stand_in.create_timer(0.1, say)
    harness.start()
    try:
        assert main(["play", str(path), "--restamp"]) == 0
    finally:
        stand_in.destroy_node()
    out = capfd.readouterr().out
    assert "lidar_encoder: 5 received, 3 did not arrive: start its driver with" in out
    assert f"qos_overrides.{POINTS}.subscription.reliability: reliable" in out


@pytest.mark.parametrize("way", [["--clock"], ["--clock", "--topics", POINTS], ["--restamp"]])
def test_a_recorded_clock_is_the_only_one_and_none_of_the_present(harness, tmp_path, capfd, way):
    path = written(tmp_path / "sim.mcap", clock=True, qos=RELIABLE)  # all of them arrive
    ticks = harness.subscribe(Clock, "/clock", 100)
    clouds = harness.subscribe(PointCloud2, POINTS, 100)
    harness.start()
    wait_until(lambda: True, "start")
    assert main(["play", str(path), *way]) == 0
    clouds.wait(lambda _: len(clouds.messages) >= 8)
    if way == ["--restamp"]:
        assert ticks.messages == []
        assert "/clock of the recording is left out" in capfd.readouterr().out
    else:
        ticks.wait(lambda _: len(ticks.messages) == 8)
        assert {tick.clock.sec for tick in ticks.messages} == {100}


def mixed(path):
    """Clouds beside channels that nothing here can send, and beside another type."""
    clouds = [serialize_message(sensors.cloud(START_NS + k * 100_000_000)) for k in range(4)]
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2", "test")
        channels = {
            topic: writer.register_channel(topic, encoding, writer.register_schema(*schema))
            for topic, encoding, schema in (
                (POINTS, "cdr", ("sensor_msgs/msg/PointCloud2", "ros2msg", b"")),
                ("/config", "json", ("vendor.Config", "jsonschema", b"{}")),
                ("/packets", "cdr", ("vendor_msgs/msg/Packet", "ros2msg", b"uint8 data")),
                ("/front-left/text", "cdr", ("std_msgs/msg/String", "ros2msg", b"string data")),
            )
        }
        other = writer.register_channel(
            POINTS, "cdr", writer.register_schema("std_msgs/msg/Header", "ros2msg", b"")
        )
        for index, cloud in enumerate(clouds):
            log_ns = START_NS + index * 100_000_000
            for topic, channel in channels.items():
                data = cloud if topic == POINTS else b"{}"
                writer.add_message(channel, log_ns, data, log_ns)
        writer.add_message(other, log_ns + 1, serialize_message(Header()), log_ns + 1)
        writer.finish()
    return path


def test_what_cannot_be_played_is_named_with_its_count_and_the_rest_is_played(tmp_path, capfd):
    path = mixed(tmp_path / "mixed.mcap")
    assert main(["play", str(path), "--restamp", "--wait", "0"]) == 0
    out = capfd.readouterr().out
    assert f"{POINTS}: 4 sent" in out
    assert f"{POINTS}: 1 messages left out: their type is not that of the first" in out
    assert "/config: 4 messages left out" in out
    assert "/packets: 4 messages left out" in out
    assert "/front-left/text: 4 messages left out: no topic of ROS can be called" in out
    assert "vendor_msgs/msg/Packet" in out


def test_a_recording_of_which_nothing_can_be_played_is_no_success(tmp_path, capfd):
    path = mixed(tmp_path / "mixed.mcap")
    assert main(["play", str(path), "--topics", "/packets", "--wait", "0"]) == 2
    said = capfd.readouterr()
    assert "/packets: 4 messages left out" in said.out
    assert "none of its messages can be played" in said.err


def test_a_topic_that_is_not_there_is_named_with_the_nearest(tmp_path, capfd):
    path = written(tmp_path / "clouds.mcap")
    assert main(["play", str(path), "--topics", "/lidar/point", "--wait", "0"]) == 2
    assert POINTS in capfd.readouterr().err
    assert main(["play", str(path), "--cut", "lidr:0-1", "--wait", "0"]) == 2
    assert POINTS in capfd.readouterr().err
