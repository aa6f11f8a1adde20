"""Recordings small enough to make in every test."""

from array import array

import pytest

from edge_perception.recordings.qos import SENSOR_DATA
from edge_perception.recordings.writer import RecordingWriter, Topic

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def cloud_bytes(stamp_ns: int, *, points: int = 3) -> bytes:
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import PointCloud2

    message = PointCloud2(height=1, width=points, point_step=12, row_step=12 * points)
    message.header.frame_id = "lidar"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.data = array("B", bytes(12 * points))
    return serialize_message(message)


def chunk_bytes(stamp_ns: int) -> bytes:
    from rclpy.serialization import serialize_message

    from edge_perception.msg import AudioChunk

    message = AudioChunk(sample_rate=16000, channels=1, format="s16le")
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return serialize_message(message)


@pytest.fixture(scope="session")
def ros():
    """Skip where messages cannot be made."""
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture
def recording_path(tmp_path, ros):
    """Two seconds: clouds and audio chunks at 10 Hz, each 5 ms after its stamp."""
    path = tmp_path / "small.mcap"
    with RecordingWriter(path) as writer:
        writer.add_topic(
            Topic(name="/lidar/points", type="sensor_msgs/msg/PointCloud2", qos=SENSOR_DATA)
        )
        writer.add_topic(Topic(name="/audio", type="edge_perception/msg/AudioChunk"))
        for index in range(20):
            stamp_ns = START_NS + index * 100 * MS
            writer.write("/lidar/points", cloud_bytes(stamp_ns), log_time_ns=stamp_ns + 5 * MS)
            writer.write("/audio", chunk_bytes(stamp_ns), log_time_ns=stamp_ns + 6 * MS)
        writer.add_attachment("note.txt", b"kept", media_type="text/plain")
        writer.add_metadata("demo", {"key": "value"})
    return path


@pytest.fixture
def start_ns():
    """Stamp of the first messages of `recording_path`."""
    return START_NS


@pytest.fixture
def make_cloud(ros):
    """Make a serialised PointCloud2 with a stamp."""
    return cloud_bytes
