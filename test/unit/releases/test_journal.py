"""The journal of changes: what was written is read, what was torn was never written."""

from __future__ import annotations

import hashlib

import pytest

from edge_perception.core.errors import StoreError
from edge_perception.releases.filesystem import FileSystem
from edge_perception.releases.journal import Journal, Record


def record(number, step="begin"):
    return Record(transaction_id=f"t{number}", step=step, after={"lidar": f"{number:064d}"})


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl", FileSystem())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def checked(text):
    return hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n"


@pytest.mark.parametrize(
    ("steps", "is_open"), [([], False), (["begin", "commit"], True), (["begin", "done"], False)]
)
def test_a_change_is_open_until_its_last_step(journal, steps, is_open):
    for step in steps:
        journal.append(record(1, step))
    assert journal.open_change() == (record(1, steps[-1]) if is_open else None)


@pytest.mark.parametrize("torn", [b"0123", b"0123456789abcdef {}\n", checked(b'{"step": 1}')])
def test_a_torn_last_record_was_never_written_and_is_dropped(journal, path, torn):
    journal.append(record(1, "commit"))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert journal.open_change() == record(1, "commit")
    assert "torn" in journal.repair()
    assert path.read_bytes() == whole


def test_a_damaged_record_before_the_last_is_named_and_the_journal_set_aside(journal, path):
    for number in range(3):
        journal.append(record(number))
    path.write_bytes(path.read_bytes().replace(b"t1", b"t7"))
    with pytest.raises(StoreError, match="line 2 is damaged"):
        journal.open_change()
    assert "line 2 is damaged" in journal.repair()
    assert journal.open_change() is None
    assert path.with_suffix(".damaged").exists()


def test_a_long_journal_is_shortened_to_its_newest_records_as_they_were_written(journal, path):
    for number in range(201):
        journal.append(record(number, "commit"))
    lines = path.read_bytes().splitlines(keepends=True)
    assert journal.repair() == ""
    assert path.read_bytes() == b"".join(lines[-100:])
    assert journal.open_change() == record(200, "commit")
    before = path.read_bytes()
    assert journal.repair() == ""
    assert path.read_bytes() == before
