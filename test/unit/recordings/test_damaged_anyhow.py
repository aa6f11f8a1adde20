"""Recordings damaged at random: read as far as it goes and told, or refused by a line."""

import random
import sqlite3

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.writer import RecordingWriter, Topic

TYPE = "std_msgs/msg/String"
MESSAGES = 60
SCHEMA = """
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
 serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
 timestamp INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


def mcap(path, rng):
    with RecordingWriter(path) as writer:
        writer.add_topic(Topic(name="/text", type=TYPE))
        for index in range(MESSAGES):
            writer.write("/text", rng.randbytes(40_000), log_time_ns=10**9 + index)


def database(path, rng):
    base = sqlite3.connect(path)
    base.executescript(SCHEMA)
    base.execute("INSERT INTO topics VALUES (1, '/text', ?, 'cdr', '')", (TYPE,))
    base.executemany(
        "INSERT INTO messages(topic_id, timestamp, data) VALUES (1, ?, ?)",
        ((10**9 + index, rng.randbytes(200)) for index in range(MESSAGES)),
    )
    base.commit()
    base.close()


def spoiled(data, rng):
    """Cut off, with bytes changed anywhere or near the ends, or with a part taken out."""
    data, kind = bytearray(data), rng.randrange(4)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        begin = rng.randrange(len(data))
        del data[begin : begin + rng.randrange(1, 20_000)]
        return data
    near = min(3000, len(data))
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(len(data) if kind == 2 else near)
        data[rng.choice([at, len(data) - 1 - at])] = rng.randrange(256)
    return data


@pytest.mark.parametrize(("make", "suffix"), [(mcap, ".mcap"), (database, ".db3")])
def test_what_is_damaged_is_told_or_refused(tmp_path, make, suffix):
    rng = random.Random(7)
    whole = tmp_path / f"whole{suffix}"
    make(whole, rng)
    data, path = whole.read_bytes(), tmp_path / f"spoiled{suffix}"
    read = 0
    for _ in range(150 if suffix == ".mcap" else 1500):
        path.write_bytes(spoiled(data, rng))
        told = []
        try:
            recording = Recording(path, on_damage=told.append)
            count = sum(1 for _ in recording.messages())
        except ConfigurationError:
            continue
        read += 1
        if count != recording.message_count:
            assert told or recording.contradictions or recording.notes
    assert read > 20  # not everything is refused


def test_columns_of_another_kind_are_no_messages(tmp_path):
    path = tmp_path / "odd.db3"
    database(path, random.Random(7))
    base = sqlite3.connect(path)
    base.execute("UPDATE messages SET timestamp = x'00ff' WHERE id = 1")
    base.execute("UPDATE messages SET data = 1000000000000 WHERE id = 3")
    base.commit()
    base.close()
    told = []
    recording = Recording(path, on_damage=told.append)
    assert len(list(recording.messages())) == MESSAGES - 2
    assert recording.contradictions == ("odd.db3: 1 messages without a time",)
    assert len(told) == 1
    assert "expected bytes, got int" in told[0]
