"""`edge-perception inject`: a recording with faults on the way, heard over DDS."""

from __future__ import annotations

from harness import Harness
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2

from edge_perception.cli.main import main
from edge_perception.faults.frames import Frames
from edge_perception.faults.playing import source_of
from edge_perception.recordings.definitions import message_class
from edge_perception.recordings.writer import RecordingWriter, Topic

NS = 1_000_000_000


def test_sources_of_topics():
    assert source_of("/camera_rear/image_raw") == "camera_rear"
    assert source_of("/camera/image_raw/compressed") == "camera"
    assert source_of("lidar/points") == "lidar"
    assert source_of("/audio") == "audio"
    assert source_of("/camera/camera_info") == ""
    assert source_of("/tf") == ""


def test_faults_reach_the_listener(tmp_path, ros_domain, capsys):
    path = tmp_path / "drive.mcap"
    frames = Frames(lambda name: message_class(name)())
    topics = {
        "lidar": Topic(name="/lidar/points", type="sensor_msgs/msg/PointCloud2"),
        "camera": Topic(name="/camera/image_raw", type="sensor_msgs/msg/Image"),
    }
    with RecordingWriter(path) as writer:
        for topic in topics.values():
            writer.add_topic(topic)
        for number in range(15):
            stamp_ns = 100 * NS + number * NS // 10
            for source, topic in topics.items():
                data = serialize_message(frames.frame(source, stamp_ns))
                writer.write(topic.name, data, log_time_ns=stamp_ns)
    harness = Harness(ros_domain)
    try:
        images = harness.subscribe(Image, "/camera/image_raw")
        clouds = harness.subscribe(PointCloud2, "/lidar/points")
        harness.start()
        faults = ["--fault", "black:camera:0-100", "--fault", "dead:lidar:0-100"]
        assert main(["inject", str(path), *faults]) == 0
        image = images.wait()
        assert max(image.data) < 10
        assert not clouds.messages
    finally:
        harness.close()
    assert "30 altered" in capsys.readouterr().out
