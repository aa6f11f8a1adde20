"""Recordings that are damaged, odd or of another robot: a clear line, never a stack trace."""

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.recordings.reader import open_recording
from edge_perception.recordings.stamps import NS, read_stamp_ns, with_stamp_ns
from edge_perception.recordings.writer import RecordingWriter, Topic

POINTS, IMAGE, INFO = "/lidar/points", "/camera/image_raw/compressed", "/camera/camera_info"


def rewrite(source: Path, target: Path, change, *, rename=None, types=None):
    """Copy a recording message by message; `change` returns the messages to write for one."""
    bag = open_recording(source)
    with RecordingWriter(target) as writer:
        for name, topic in bag.topics.items():
            kind = (types or {}).get(name, topic.type)
            text = bag.definitions()[topic.type][1] if kind == topic.type else "uint8 x\n"
            renamed = (rename or (lambda n: n))(name)
            writer.add_topic(Topic(name=renamed, type=kind, definition=text))
        for index, message in enumerate(bag.messages()):
            for item in change(index, message):
                name = (rename or (lambda n: n))(item.topic)
                writer.write(name, item.data, log_time_ns=item.log_time_ns)
    own = source.with_suffix(".params.yaml")
    shutil.copy(own, target.with_suffix(".params.yaml"))
    return target


def validate(capsys, *args):
    code = main(["validate", "--quiet", *map(str, args)])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return code, said.out + said.err


def short(_index, message):
    return [message]


def test_a_truncated_file_is_recovered_and_said_so(drive, tmp_path, capsys):
    cut = tmp_path / "cut.mcap"
    data = drive.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    shutil.copy(drive.with_suffix(".params.yaml"), tmp_path / "cut.params.yaml")
    code, said = validate(capsys, cut, "--out", tmp_path / "out")
    assert code == 0
    assert "damaged near byte" in said
    assert "recovered" in said
    assert "recovered" in (tmp_path / "out" / "index.html").read_text()


def test_a_file_without_index_is_read_to_its_end(drive, tmp_path):
    whole = open_recording(drive)
    data = drive.read_bytes()
    cut = tmp_path / "noindex.mcap"
    cut.write_bytes(data[:-60])  # the footer is gone
    bag = open_recording(cut)
    assert bag.notes
    assert [m.data for m in bag.messages([POINTS])] == [m.data for m in whole.messages([POINTS])]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "there is nothing"), (b"", "expected an MCAP"), (b"nonsense" * 50, "expected an MCAP")],
)
def test_no_recording_at_all(tmp_path, capsys, content, expected):
    path = tmp_path / "bag.mcap"
    if content is not None:
        path.write_bytes(content)
    code, said = validate(capsys, path, "--out", tmp_path / "out")
    assert code == 2
    assert expected in said
    assert not (tmp_path / "out" / "index.html").exists()
    assert not (tmp_path / "out" / "result.json").exists()


def test_an_empty_recording_is_named(tmp_path, capsys):
    path = tmp_path / "empty.mcap"
    RecordingWriter(path).close()
    code, said = validate(capsys, path, "--out", tmp_path / "out")
    assert code == 2
    assert "holds no message" in said


def test_a_recording_of_another_robot_lists_its_topics_and_remapping_helps(drive, tmp_path, capsys):
    other = rewrite(
        drive,
        tmp_path / "other.mcap",
        lambda i, m: [m] if i < 60 else [],
        rename=lambda name: "/robot7" + name,
    )
    code, said = validate(capsys, other, "--out", tmp_path / "a")
    assert code == 2
    assert "another robot" in said
    assert "/robot7/lidar/points" in said
    code, said = validate(capsys, other, "--out", tmp_path / "b", "--remap", "/robot7/:=/")
    assert code == 0, said


def test_a_wrong_type_is_refused_by_name(drive, tmp_path, capsys):
    wrong = rewrite(
        drive, tmp_path / "wrong.mcap", lambda i, m: [m] if i < 8 else [],
        types={POINTS: "other_msgs/msg/Cloud"},
    )  # fmt: skip
    code, said = validate(capsys, wrong, "--out", tmp_path / "out")
    assert code == 2
    assert "expected sensor_msgs/msg/PointCloud2, got other_msgs/msg/Cloud" in said


def test_a_topic_that_changes_its_type_is_named(drive, tmp_path, capsys):
    from mcap.writer import Writer

    path = tmp_path / "changes.mcap"
    bag = open_recording(drive)
    first = next(bag.messages([POINTS]))
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        for kind in (first.type, "other_msgs/msg/Cloud"):
            text = bag.definitions()[first.type][1].encode()
            schema = writer.register_schema(kind, "ros2msg", text)
            channel = writer.register_channel(POINTS, "cdr", schema)
            writer.add_message(channel, first.log_time_ns, first.data, first.log_time_ns)
        writer.finish()
    code, said = validate(capsys, path, "--out", tmp_path / "out")
    assert code == 2
    assert f"topic {POINTS} changes its type" in said


def test_missing_topics_and_calibration_are_flagged(drive, tmp_path, capsys):
    some = rewrite(
        drive,
        tmp_path / "some.mcap",
        lambda i, m: [m] if m.topic in (IMAGE, "/audio") and i < 60 else [],
    )
    # The topics are declared and empty: what matters are messages. Without the declaration:
    bag = open_recording(some)
    only = tmp_path / "only.mcap"
    with RecordingWriter(only) as writer:
        for name in (IMAGE, "/audio"):
            topic = bag.topics[name]
            text = bag.definitions()[topic.type][1]
            writer.add_topic(Topic(name=name, type=topic.type, definition=text))
        for message in bag.messages([IMAGE, "/audio"]):
            writer.write(message.topic, message.data, log_time_ns=message.log_time_ns)
    code, said = validate(capsys, only, "--out", tmp_path / "out")
    assert code == 2, "a source without a message is no reason to pass"
    assert "lidar: the recording has none of /lidar/points" in said
    assert json.loads((tmp_path / "out" / "result.json").read_text())["passed"] is False
    code, said = validate(capsys, only, "--subset", "camera,audio", "--out", tmp_path / "meant")
    assert code == 1, "of a camera of which nothing could be used nothing is known"
    assert "camera: the recording has no calibration on /camera/camera_info" in said
    assert "FAILED source: camera: " in said
    assert "came and not one was used" in said
    assert "source: audio" not in said


def test_topics_that_may_be_the_missing_sensor_are_named(drive, tmp_path, capsys):
    """Two LiDARs of other names, and one whose clouds are packed (point_cloud_transport)."""
    packed = "point_cloud_interfaces/msg/CompressedPointCloud2"
    for rename, types, says in (
        ({POINTS: "/lidar_top/points"}, {}, "it has /lidar_top/points: --remap from:=to"),
        (
            {POINTS: f"{POINTS}/draco"},
            {POINTS: packed},
            f"; {POINTS}/draco ({packed}): unpack it before",
        ),
    ):
        found = rewrite(
            drive,
            tmp_path / "other.mcap",
            lambda i, m: [m] if i < 60 else [],
            rename=lambda name, rename=rename: rename.get(name, name),
            types=types,
        )
        code, said = validate(capsys, found, "--out", tmp_path / "out")
        assert code == 2
        assert f"the recording has none of {POINTS}; " in said
        assert says in said


def test_repeated_and_backward_stamps_are_flagged(drive, tmp_path, capsys):
    def change(index, message):
        if index > 80:
            return []
        if message.topic == POINTS and 30 < index < 40:
            back = with_stamp_ns(message.data, read_stamp_ns(message.data) - 5 * NS)
            return [replace(message, data=back)]
        if message.topic == POINTS and 50 < index < 55:
            other = replace(message, data=message.data[:-1] + bytes([message.data[-1] ^ 1]))
            return [message, other]
        return [message, message] if message.topic == POINTS and 60 < index < 70 else [message]

    odd = rewrite(drive, tmp_path / "odd.mcap", change)
    code, said = validate(capsys, odd, "--out", tmp_path / "out")
    assert code == 0
    assert f"{POINTS}: stamps go back in" in said
    assert f"{POINTS}: stamps repeat in" in said
    assert "messages are the one before byte for byte: taken once" in said


@pytest.mark.parametrize("unit_ns", [NS, 1000, 0])
def test_arrivals_that_are_no_times_are_told(drive, tmp_path, capsys, unit_ns):
    """Converters write seconds, microseconds or nothing where nanoseconds belong."""

    def change(index, message):
        arrival_ns = message.log_time_ns // unit_ns if unit_ns else 0
        return [replace(message, log_time_ns=arrival_ns)] if index < 120 else []

    odd = rewrite(drive, tmp_path / "odd.mcap", change)
    code, said = validate(capsys, odd, "--subset", "lidar", "--out", tmp_path / "out")
    assert code == 1
    assert f"note: {POINTS}: " in said
    assert "the recording has no times of arrival, or not in nanoseconds" in said
    assert "UserWarning" not in said


def test_a_reset_of_the_recorders_clock_is_flagged_and_costs_no_time(drive, tmp_path, capsys):
    year_ns = 365 * 86400 * NS

    def change(index, message):
        if index > 90:
            return []
        if index > 45:
            return [
                replace(
                    message,
                    log_time_ns=message.log_time_ns + year_ns,
                    data=with_stamp_ns(message.data, read_stamp_ns(message.data) + year_ns),
                )
            ]
        return [message]

    odd = rewrite(drive, tmp_path / "reset.mcap", change)
    code, said = validate(capsys, odd, "--segment", "0", "--out", tmp_path / "out")
    assert code == 0
    assert "jump of the recorder's clock" in said


@pytest.mark.parametrize("segment_s", [0, 10, 60, 70])
def test_a_pause_is_told_with_its_length_wherever_the_recording_is_cut(
    drive, tmp_path, capsys, segment_s
):
    """Within a pause a segment may end, begin, or have nothing at all."""
    pause_ns = 127 * NS

    def change(index, message):
        by_ns = 0 if index <= 45 else pause_ns
        if index > 60:
            return []
        moved = with_stamp_ns(message.data, read_stamp_ns(message.data) + by_ns)
        return [replace(message, log_time_ns=message.log_time_ns + by_ns, data=moved)]

    odd = rewrite(drive, tmp_path / "pause.mcap", change)
    code, said = validate(capsys, odd, "--segment", segment_s, "--out", tmp_path / "out")
    assert code == 0
    jumps = [line for line in said.splitlines() if "jump of the recorder's clock" in line]
    assert len(jumps) == 1
    assert re.search(r"nothing arrived for 127\.\d s", jumps[0])


def test_what_is_counted_is_counted_once_however_a_recording_is_cut(drive, tmp_path, capsys):
    """Most sweeps are broken; with those of warm-ups it would be more than there are."""
    bag = open_recording(drive)
    end_ns = bag.start_ns + 3 * NS
    sweeps = itertools.count()

    def change(_index, message):
        if message.log_time_ns >= end_ns:
            return []
        if message.topic == POINTS and next(sweeps) % 3:
            return [replace(message, data=message.data[:100])]
        return [message] * (1 + (message.topic == IMAGE))

    odd = rewrite(drive, tmp_path / "broken.mcap", change)
    found = []
    for segment_s in (0, 1):
        out = tmp_path / f"cut_{segment_s}"
        code, _ = validate(capsys, odd, "--segment", segment_s, "--out", out)
        result = json.loads((out / "result.json").read_text())
        told = [note for note in result["notes"] if re.search(r"\d+ messages", note)]
        found.append((code, result["topics"], sorted(told)))
    assert found[0] == found[1]
    assert any("messages cannot be used" in note for note in found[0][2])
    assert any("byte for byte" in note for note in found[0][2])


def test_broken_messages_are_counted_with_the_first_reason(drive, tmp_path, capsys):
    def change(index, message):
        if index > 60:
            return []
        if message.topic == POINTS and index > 40:
            return [replace(message, data=message.data[:100])]
        return [message]

    odd = rewrite(drive, tmp_path / "broken.mcap", change)
    code, said = validate(capsys, odd, "--out", tmp_path / "out")
    assert code == 0
    assert "messages cannot be used, the first: sensor_msgs/msg/PointCloud2: 100 bytes" in said


@pytest.mark.parametrize("mode", ["sqlite3", "mcap", "file", "message"])
def test_rosbag2_folders_plain_and_compressed_read_alike(drive, tmp_path, mode):
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    from edge_perception.recordings.decoding import package_typestore

    source = open_recording(drive)
    messages = [m for m, _ in zip(source.messages(), range(24), strict=False)]
    plugin = StoragePlugin.MCAP if mode == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    if mode in ("file", "message"):
        compression = CompressionMode.FILE if mode == "file" else CompressionMode.MESSAGE
        writer.set_compression(compression, CompressionFormat.ZSTD)
    store = package_typestore()
    with writer:
        channels = {
            name: writer.add_connection(name, topic.type, typestore=store)
            for name, topic in source.topics.items()
        }
        for m in messages:
            writer.write(channels[m.topic], m.log_time_ns, m.data)
    bag = open_recording(tmp_path / "bag")
    assert bag.message_count == 24
    assert [(m.topic, m.log_time_ns, m.data) for m in bag.messages()] == [
        (m.topic, m.log_time_ns, m.data) for m in messages
    ]


@pytest.mark.parametrize(
    "option",
    [
        ("--drop", "lidar"), ("--delay", "camera:soon"), ("--delay", "camera:-5ms"),
        ("--noise", "nose:1"), ("--fog", "-1"), ("--latency", "quick"), ("--swap", "next"),
        ("--subset", "sonar"), ("--set", "fusion.deadline_s"), ("--sweep", "fog"),
        ("--sweep", "colour=1|2"), ("--thresholds", "/nowhere.yaml"), ("--jobs", "0"),
        ("--set", "fusion.deadline_s=-1"), ("--remap", "x"), ("--update-baseline",),
        ("--segment", "0.1"), ("--params-file", "/nowhere.yaml"), ("--swap", "none@1s"),
    ],
)  # fmt: skip
def test_wrong_options_are_usage_errors(drive, tmp_path, capsys, option):
    code, said = validate(capsys, drive, *option, "--out", tmp_path / "out")
    assert code == 2, said
    assert len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "out" / "result.json").exists()
