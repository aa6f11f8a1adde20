"""What is written is what rosbags (an independent reader) and mcap's own reader find."""

import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.interfaces import QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.recordings.writer import RecordingWriter, Topic

CLOUD = "sensor_msgs/msg/PointCloud2"


def test_rosbags_reads_every_message_with_the_recorded_definitions(recording_path, start_ns):
    with Reader(recording_path) as reader:
        store = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        found = [
            (c.topic, time_ns, store.deserialize_cdr(data, c.msgtype))
            for c, time_ns, data in reader.messages()
        ]
        qos = {c.topic: c.ext.offered_qos_profiles[0].reliability for c in reader.connections}
    assert len(found) == 40
    assert [entry[1] for entry in found] == sorted(entry[1] for entry in found)
    topic, time_ns, message = found[0]
    assert (topic, time_ns) == ("/lidar/points", start_ns + 5_000_000)
    assert message.header.frame_id == "lidar"
    assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == start_ns
    assert len(message.data) == 36
    assert qos == {"/lidar/points": QosReliability.BEST_EFFORT, "/audio": QosReliability.RELIABLE}


def test_the_file_has_the_profile_and_encodings_of_rosbag2(recording_path):
    with recording_path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        schema, channel, message = next(iter(reader.iter_messages()))
    assert (schema.name, schema.encoding) == (CLOUD, "ros2msg")
    assert channel.message_encoding == "cdr"
    assert message.publish_time == message.log_time


def test_our_reader_gives_topics_messages_and_what_is_stored_beside_them(recording_path, start_ns):
    recording = Recording(recording_path)
    assert {name: topic.type for name, topic in recording.topics.items()} == {
        "/lidar/points": CLOUD,
        "/audio": "edge_perception/msg/AudioChunk",
    }
    assert recording.topics["/lidar/points"].qos.reliability == "best_effort"
    assert recording.message_count == 40
    assert recording.count("/audio") == 20
    assert recording.duration_s == pytest.approx(1.901)
    clouds = list(recording.messages(["/lidar/points"], start_ns=start_ns + 10**9))
    assert [read_stamp_ns(m.data) for m in clouds] == [
        start_ns + index * 100_000_000 for index in range(10, 20)
    ]
    assert recording.attachment("note.txt") == b"kept"
    assert recording.metadata("demo") == {"key": "value"}


def test_names_that_are_not_in_the_recording_are_answered_with_those_that_are(recording_path):
    recording = Recording(recording_path)
    with pytest.raises(UnknownNameError, match=r"/radar.*known: /audio, /lidar/points"):
        next(recording.messages(["/radar"]))
    with pytest.raises(UnknownNameError, match=r"known: note\.txt"):
        recording.attachment("labels.json")
    with pytest.raises(UnknownNameError, match="known: demo"):
        recording.metadata("other")


def test_an_undeclared_topic_is_refused(tmp_path):
    with (
        pytest.raises(ConfigurationError, match="expected a topic of"),
        RecordingWriter(tmp_path / "a.mcap") as writer,
    ):
        writer.write("/lidar/points", b"", log_time_ns=0)


def test_a_failed_recording_leaves_no_file(tmp_path):
    with (
        pytest.raises(ConfigurationError, match="nowhere/msg/Thing"),
        RecordingWriter(tmp_path / "a.mcap") as writer,
    ):
        writer.add_topic(Topic(name="/thing", type="nowhere/msg/Thing"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"short", b"not a recording at all, but long enough" * 10]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "b.mcap"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"b\.mcap: expected an MCAP"):
        Recording(path)


def test_a_folder_with_one_file_is_a_recording(recording_path):
    folder = recording_path.parent
    assert Recording(folder).files == (recording_path,)
    (folder / "second.mcap").write_bytes(recording_path.read_bytes())
    with pytest.raises(ConfigurationError, match=r"files of one recording, got second.mcap, small"):
        Recording(folder)


def test_reading_streams(tmp_path, make_cloud, start_ns):
    """The reader holds a chunk, not the file: 60 MB are read within 15 MB."""
    import tracemalloc

    path = tmp_path / "large.mcap"
    data = make_cloud(start_ns, points=50_000)
    with RecordingWriter(path, compression="none", chunk_bytes=1 << 20) as writer:
        writer.add_topic(Topic(name="/lidar/points", type=CLOUD))
        for index in range(100):
            writer.write("/lidar/points", data, log_time_ns=start_ns + index)
    recording = Recording(path)
    tracemalloc.start()
    try:
        total = sum(len(message.data) for message in recording.messages())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 100 * len(data)
    assert peak < 15e6


def test_channels_that_only_the_chunks_declare_are_found(tmp_path):
    """A summary need not repeat them; recorders leave it out to save room."""
    path = tmp_path / "short.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=100, repeat_channels=False, repeat_schemas=False)
        writer.start("ros2", "another")
        for topic in ("/a", "/b"):
            schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
            channel = writer.register_channel(topic, "cdr", schema)
            for index in range(10):
                writer.add_message(channel, index, bytes(60), index)
        writer.finish()
    recording = Recording(path)
    assert recording.counts == {"/a": 10, "/b": 10}
    assert {topic.type for topic in recording.topics.values()} == {"std_msgs/msg/String"}
    assert recording.contradictions == ()
    assert sum(1 for _ in recording.messages()) == 20


def test_a_second_recording_behind_the_first_is_told(tmp_path, recording_path):
    path = tmp_path / "both.mcap"
    path.write_bytes(2 * recording_path.read_bytes())
    recording = Recording(path)
    assert recording.message_count == 40
    (told,) = recording.contradictions
    assert told.endswith("behind its end are not read: two recordings in one file?")
