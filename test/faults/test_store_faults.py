"""kill -9, power loss and failing disks at every step of the store, enumerated."""

from __future__ import annotations

import errno
import itertools
import shutil
import subprocess
import time

import pytest
from failing_files import CountingFileSystem, Crash, LossyFileSystem, crash_at, fail_at
from releases import Maker

from edge_perception.core.errors import ModelError, StoreError
from edge_perception.models.manifest import load_bundle
from edge_perception.releases.event_log import EventLog
from edge_perception.releases.garbage import Keeping, collect_garbage
from edge_perception.releases.store import ReleaseStore


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with an old release as current, and the archive of a new one."""
    pytest.importorskip("onnx")
    maker = Maker(tmp_path_factory.mktemp("store_faults"))
    old = maker.install("audio", name="tagger", version="1.0.0", release=1)
    models = {"audio": old.sha256}
    maker.store.slots.point(factory=models, current=models, previous=models)
    new = maker.bundle("audio", name="tagger", version="2.0.0", release=2, scale=1.0002)
    return maker, old.sha256, new.sha256, maker.signed(new)


def change(root, made, files):
    """Install a release and make it current, with the journal of a change."""
    maker, old, new, archive = made
    store = ReleaseStore(root, files=files)
    store.install(archive, maker.trust, now_ns=time.time_ns())
    before, after = {"audio": old}, {"audio": new}
    record = store.begin("change", before, after, "tagger")
    for step in ("prepared", "commit"):
        record = record.next(step)
        store.note(record)
    store.slots.point(previous=before, current=after)
    store.note(record.next("done"))


def steps_of(made, tmp_path):
    root = tmp_path / "count"
    shutil.copytree(made[0].root, root)
    files = CountingFileSystem()
    change(root, made, files)
    return files.count


def check_old_or_new(root, made):
    """After a restart: one whole set serves, its release is intact, and a change works."""
    _, old, new, _ = made
    store = ReleaseStore(root)
    store.recover()
    current = dict(store.slots.get("current"))
    assert current in ({"audio": old}, {"audio": new})
    for slot in ("current", "previous", "factory"):
        for sha256 in store.slots.get(slot).values():
            load_bundle(store.release(sha256).bundle.path)
    assert store.journal.open_change() is None
    change(root, made, CountingFileSystem())
    assert dict(store.slots.get("current")) == {"audio": new}
    load_bundle(store.release(new).bundle.path)
    return current["audio"]


def test_kill_at_every_step_leaves_the_old_or_the_new_set(made, tmp_path):
    served = []
    total = steps_of(made, tmp_path)
    for number in range(1, total + 1):
        root = tmp_path / "killed"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made[0].root, root)
        with pytest.raises(Crash):
            change(root, made, CountingFileSystem(crash_at(number)))
        served.append(check_old_or_new(root, made))
    assert total > 30
    assert served == sorted(served, key=[made[1], made[2]].index)  # old first, new after commit
    assert set(served) == {made[1], made[2]}


def test_power_loss_at_every_step_leaves_the_old_or_the_new_set(made, tmp_path):
    served = []
    for number in range(1, steps_of(made, tmp_path) + 1):
        root, after = tmp_path / "lossy", tmp_path / "after"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made[0].root, root)
        files = LossyFileSystem(root, crash_at(number))
        with pytest.raises(Crash):
            change(root, made, files)
        files.lose_power(after)
        served.append(check_old_or_new(after, made))
    assert set(served) == {made[1], made[2]}


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "the disk is full .*models prune"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "the disk reports an I/O error"),
    ],
    ids=["full disk", "read-only store", "I/O error"],
)
def test_a_failing_disk_is_named_and_the_old_or_new_set_stays(made, tmp_path, code, text):
    total = steps_of(made, tmp_path)
    for number in range(1, total + 1):
        root = tmp_path / "failing"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(made[0].root, root)
        with pytest.raises(StoreError, match=text):
            change(root, made, CountingFileSystem(fail_at(number, code)))
        current = ReleaseStore(root).slots.get("current")["audio"]
        assert current in made[1:3]


def test_an_event_that_is_not_on_disk_is_told_until_one_is(tmp_path):
    files = CountingFileSystem(fail_at(1, errno.ENOSPC))
    log = EventLog(tmp_path / "events.jsonl", files)
    assert "not in the log" in log.add(stamp_ns=1, event="begin").reason
    assert "Errno 28" in log.problem
    files.on_step = lambda number, name: None
    assert log.add(stamp_ns=2, event="done").reason == ""
    assert log.problem == ""
    assert [event.event for event in log.history()] == ["done"]


def test_corrupt_journal_is_set_aside_and_the_current_set_stands(made, tmp_path):
    root = tmp_path / "corrupt"
    shutil.copytree(made[0].root, root)
    change(root, made, CountingFileSystem())
    journal = root / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0][:20] + b"X" + lines[0][21:] + b"".join(lines[1:]))
    note = ReleaseStore(root).recover()
    assert "line 1 is damaged" in note
    assert check_old_or_new(root, made) == made[2]


def test_torn_last_journal_line_was_never_written(made, tmp_path):
    root = tmp_path / "torn"
    shutil.copytree(made[0].root, root)
    change(root, made, CountingFileSystem())
    journal = root / "journal.jsonl"
    data = journal.read_bytes()
    journal.write_bytes(data[:-7])  # `done` is torn, `commit` stands
    assert "finished change" in ReleaseStore(root).recover()
    assert check_old_or_new(root, made) == made[2]


def test_damaged_set_file_is_refused(made, tmp_path):
    root = tmp_path / "damaged"
    shutil.copytree(made[0].root, root)
    for path in (root / "sets").iterdir():
        path.write_text('{"audio": "other"}')
    with pytest.raises(ModelError, match="was changed"):
        ReleaseStore(root).slots.get("current")


def test_garbage_collection_never_touches_the_three(made, tmp_path):
    root = tmp_path / "garbage"
    shutil.copytree(made[0].root, root)
    change(root, made, CountingFileSystem())
    store = ReleaseStore(root)
    collect_garbage(store, Keeping(newest=0))
    for slot in ("current", "previous", "factory"):
        for sha256 in store.slots.get(slot).values():
            load_bundle(store.release(sha256).bundle.path)


def test_kill_at_every_step_of_making_room_leaves_whole_releases(made, tmp_path):
    whole = tmp_path / "whole"
    subprocess.run(["cp", "-a", made[0].root, whole], check=True)
    change(whole, made, CountingFileSystem())
    ReleaseStore(whole).slots.point(previous={"audio": made[2]}, factory={"audio": made[2]})
    for number in itertools.count(1):
        root = tmp_path / "room"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", whole, root], check=True)  # with the links between its files
        try:
            store = ReleaseStore(root, files=CountingFileSystem(crash_at(number)))
            gone = collect_garbage(store, Keeping(newest=0))
        except Crash:
            store = ReleaseStore(root)
            store.recover()
            for release in store.releases():
                load_bundle(release.bundle.path)
            assert store.shelf.has(made[2])
            continue
        break
    assert number > 3
    assert [item.sha256 for item in gone] == [made[1]]
    assert not (root / "releases" / made[1]).exists()
