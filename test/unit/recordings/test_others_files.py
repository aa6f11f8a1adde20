"""Recordings as other tools write them: every message is read once, or it is named."""

import sqlite3
import struct

import pytest
import zstandard
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType, Writer

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.qos import TopicQos, read_qos
from edge_perception.recordings.reader import Recording

TYPE, EACH, START_NS = "std_msgs/msg/String", 10, 10**18


def text(index):
    return b"\0\1\0\0" + struct.pack("<I", 3) + b"%02d\0" % index


def mcap(path, *, wrap=lambda data: data, start=0, statistics=True):
    """Two topics in turn, a chunk for each message."""
    with path.open("wb") as file:
        writer = Writer(
            file, chunk_size=1, compression=CompressionType.LZ4, use_statistics=statistics
        )
        writer.start("ros2", "another")
        schema = writer.register_schema(TYPE, "ros2msg", b"string data")
        channels = [writer.register_channel(topic, "cdr", schema) for topic in ("/a", "/b")]
        for index in range(start, start + 2 * EACH):
            time_ns = START_NS + index * 10**8
            writer.add_message(channels[index % 2], time_ns, wrap(text(index)), time_ns)
        writer.finish()
    return path


def records(path, change):
    """Write a file anew from its records, of which `change` gives none, one or several."""
    data, at, kept = path.read_bytes(), 8, []
    while at < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, at)
        record = data[at : at + 9 + length]
        kept += change(opcode, record)
        at += 9 + length
    path.write_bytes(data[:8] + b"".join(kept) + data[-8:])
    return path


def is_index_of_b(opcode, record):
    return opcode == Opcode.MESSAGE_INDEX and struct.unpack_from("<H", record, 9) == (2,)


def read(path):
    recording = Recording(path)
    decoder = MessageDecoder(recording.definitions())
    return recording, [decoder.decode(m.data, m.type).data for m in recording.messages()]


def expected(first=0, files=1):
    return [f"{index:02d}" for index in range(first, first + files * 2 * EACH)]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda o, r: [] if is_index_of_b(o, r) else [r], id="one channel not indexed"),
        pytest.param(lambda o, r: [r, r] if o == Opcode.MESSAGE_INDEX else [r], id="indexed twice"),
        pytest.param(lambda o, r: [] if o == Opcode.MESSAGE_INDEX else [r], id="nothing indexed"),
    ],
)
def test_indexes_that_are_not_complete_cost_no_message(tmp_path, change, statistics):
    path = records(mcap(tmp_path / "a.mcap", statistics=statistics), change)
    recording, found = read(path)
    assert found == expected()
    assert recording.counts == {"/a": EACH, "/b": EACH}
    assert recording.contradictions == ()


def test_statistics_that_the_messages_contradict_are_told(tmp_path):
    def less(opcode, record):
        at = 9  # of message_count, uint64
        return (
            [record[:at] + struct.pack("<Q", 7) + record[at + 8 :]] if opcode == 0x0B else [record]
        )

    recording, found = read(records(mcap(tmp_path / "a.mcap"), less))
    assert found == expected()
    assert recording.contradictions == ("a.mcap: its index says 7 messages, it holds 20",)


def test_messages_compressed_each_by_itself_are_unpacked(tmp_path):
    """As `ros2 bag record --compression-mode message` writes them, with any storage."""
    _, found = read(mcap(tmp_path / "a.mcap", wrap=zstandard.compress))
    assert found == expected()


def test_a_compressed_message_that_is_damaged_costs_itself_only(tmp_path):
    def wrap(data):
        packed = zstandard.compress(data)
        return packed[:7] if data == text(4) else packed

    recording = Recording(mcap(tmp_path / "a.mcap", wrap=wrap))
    assert [m.data for m in recording.messages()].count(zstandard.compress(text(4))[:7]) == 1
    assert recording.message_count == sum(1 for _ in recording.messages())


@pytest.mark.parametrize("statistics", [True, False])
def test_an_arrival_that_is_no_time_is_told_and_left_out(tmp_path, statistics):
    """A clock that was not set yet, or a field that nobody filled: 2^64 - 1."""
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=1, use_statistics=statistics)
        writer.start("ros2", "another")
        schema = writer.register_schema(TYPE, "ros2msg", b"string data")
        channel = writer.register_channel("/a", "cdr", schema)
        for index, time_ns in enumerate((START_NS, 2**64 - 1, START_NS + 1, 2**62)):
            writer.add_message(channel, time_ns, text(index), time_ns)
        writer.finish()
    recording, found = read(path)
    assert found == ["00", "02"]
    assert recording.end_ns == START_NS + 1
    told = "a.mcap: 2 messages without a time: they arrive after 2038"
    assert recording.contradictions == (told,)


def stored(path, moments, **how):
    """Messages of two topics in this order: (topic, s)."""
    if path.suffix == ".db3":
        base = sqlite3.connect(path)
        base.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
            " data BLOB); CREATE INDEX by_time ON messages (timestamp);"
        )
        rows = [("_ab".index(topic[1]), START_NS + round(s * 1e9)) for topic, s in moments]
        base.executemany("INSERT INTO topics VALUES (?, ?, ?)", [(1, "/a", TYPE), (2, "/b", TYPE)])
        base.executemany(
            "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)",
            [(*row, text(index)) for index, row in enumerate(rows)],
        )
        base.commit()
        base.close()
        return path
    with path.open("wb") as file:
        writer = Writer(file, **how)
        writer.start("ros2", "another")
        schema = writer.register_schema(TYPE, "ros2msg", b"string data")
        channels = {topic: writer.register_channel(topic, "cdr", schema) for topic in ("/a", "/b")}
        for index, (topic, s) in enumerate(moments):
            time_ns = START_NS + round(s * 1e9)
            writer.add_message(channels[topic], time_ns, text(index), time_ns)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mcap", {"chunk_size": 1}),
        ("a.mcap", {}),
        ("a.mcap", {"use_chunking": False}),
        ("a.mcap", {"index_types": IndexType.NONE}),
        ("a.db3", {}),
    ],
    ids=["a chunk each", "one chunk", "no chunks", "no index", "sqlite3"],
)
def test_a_clock_that_was_set_back_while_it_was_recorded_is_told(tmp_path, name, how):
    times = [0.1 * step - (7.0 if step >= 50 else 0.0) for step in range(100)]
    odd = [(topic, s) for s in times for topic in ("/a", "/b")]
    recording = Recording(stored(tmp_path / name, odd, **how))
    (told,) = (note for note in recording.notes if "go back" in note)
    assert told.startswith(f"{name}: arrivals go back by up to 6.9 s: the clock of the recorder")
    assert sum(1 for _ in recording.messages()) == recording.message_count == 200
    (tmp_path / name).unlink()
    # One topic behind the other, and a little out of order, as recorders do.
    sorted_by_topic = [(topic, 0.1 * (step ^ 1)) for topic in ("/a", "/b") for step in range(100)]
    recording = Recording(stored(tmp_path / name, sorted_by_topic, **how))
    assert not any("go back" in note for note in recording.notes)


def folder_of(path, listed):
    path.mkdir()
    mcap(path / "a_0.mcap")
    mcap(path / "a_1.mcap", start=2 * EACH)
    lines = "".join(f"  - {name}\n" for name in listed)
    (path / "metadata.yaml").write_text(
        f"rosbag2_bagfile_information:\n  storage_identifier: mcap\n  relative_file_paths:\n{lines}"
    )
    return path


@pytest.mark.parametrize(
    "listed",
    [
        ["a_0.mcap", "../a/a_1.mcap"],
        ["./a_1.mcap", "a_0.mcap", "../a/../a/a_1.mcap"],
        ["/gone/a/a_0.mcap", "C:\\bags\\a\\a_1.mcap"],
    ],
)
def test_a_file_is_read_once_whatever_way_leads_to_it(tmp_path, listed):
    _, found = read(folder_of(tmp_path / "a", listed))
    assert found == expected(files=2)


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"#ROSBAG V2.0\n"])
def test_one_file_that_cannot_be_read_is_told_and_the_others_are_read(tmp_path, content):
    path = folder_of(tmp_path / "a", ["a_0.mcap", "a_1.mcap"])
    (path / "a_1.mcap").write_bytes(content)
    recording, found = read(path)
    assert found == expected()
    (told,) = recording.contradictions
    assert told.startswith("one of 2 files is not read")
    assert "a_1.mcap" in told
    (path / "a_0.mcap").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"a_0\.mcap: expected"):
        Recording(path)


@pytest.mark.parametrize(
    ("written", "reliability", "durability", "depth"),
    [
        ("- reliability: 1\n  durability: 2\n  depth: 0", "reliable", "volatile", 5),  # Humble
        ("- reliability: best_effort\n  durability: transient_local\n  depth: 3",
         "best_effort", "transient_local", 3),  # Iron
        ("- reliability: 2.0\n  depth: 10.0", "best_effort", "volatile", 10),
        ("- reliability: ReliabilityPolicy.BEST_EFFORT\n"
         "  durability: QoSDurabilityPolicy.TRANSIENT_LOCAL", "best_effort", "transient_local", 5),
    ],
)  # fmt: skip
def test_qos_in_the_words_of_others(written, reliability, durability, depth):
    qos = TopicQos(reliability=reliability, durability=durability, depth=depth)
    assert read_qos(written) == (qos, "")


@pytest.mark.parametrize(
    ("numbers", "notes", "contradictions"),
    [
        ((0, 1), [], []),
        ((0, 3), [], ["a: of its files number 1, 2 is not there"]),
        ((2, 3), ["a: its files begin with number 2: what came before is not there"], []),
        ((20261128, 20261130), [], []),  # dates
    ],
)
def test_files_that_are_missing_from_a_folder_without_metadata_are_told(
    tmp_path, numbers, notes, contradictions
):
    (tmp_path / "a").mkdir()
    for place, number in enumerate(numbers):
        mcap(tmp_path / "a" / f"a_{number}.mcap", start=place * 2 * EACH)
    recording, found = read(tmp_path / "a")
    assert found == expected(files=2)
    assert list(recording.notes[1:]) == notes
    assert list(recording.contradictions) == contradictions


def test_a_file_of_several_says_so(tmp_path):
    path = folder_of(tmp_path / "a", ["a_0.mcap", "a_1.mcap"])
    recording, found = read(path / "a_1.mcap")
    assert found == expected(files=2)[2 * EACH :]
    assert recording.notes == (
        "a_1.mcap: one of 2 files of one recording: name its folder to read them all",
    )
    mcap(path / "b_0.mcap")
    assert read(path / "b_0.mcap")[0].notes == ()


def test_definitions_of_idl_as_rosbag2_joins_them():
    """A package that has IDL only, with includes and constants as generators write them."""
    line = "=" * 80
    idl = f"""{line}
IDL: my_msgs/msg/Tagged
// generated from rosidl_adapter/resource/msg.idl.em
#include "builtin_interfaces/msg/Time.idl"
#include "my_msgs/msg/Tag.idl"

module my_msgs {{
  module msg {{
    struct Tagged {{
      builtin_interfaces::msg::Time stamp;
      sequence<my_msgs::msg::Tag> tags;
    }};
  }};
}};
{line}
IDL: my_msgs/msg/Tag
module my_msgs {{
  module msg {{
    module Tag_Constants {{
      const uint8 LAST = 7;
    }};
    @verbatim (language="comment", text=
      "# what it is")
    struct Tag {{
      uint8 number;
      string name;
    }};
  }};
}};
"""
    name = "my_msgs/msg/Tagged"
    plain = "builtin_interfaces/Time stamp\nTag[] tags\n"
    plain += f"{line}\nMSG: my_msgs/Tag\nuint8 number\nstring name\n"
    as_msg = MessageDecoder({name: ("ros2msg", plain)})
    message = as_msg.message(
        name,
        stamp=as_msg.message("builtin_interfaces/msg/Time", sec=5, nanosec=6),
        tags=[as_msg.message("my_msgs/msg/Tag", number=7, name="left")],
    )
    decoder = MessageDecoder({name: ("ros2idl", idl)})
    found = decoder.decode(as_msg.encode(message, name), name)
    assert decoder.knows(name)
    assert decoder.notes == []
    assert (found.stamp.sec, found.tags[0].number, found.tags[0].name) == (5, 7, "left")
