"""Slots are pointed to sets while others are swept."""

import threading

import pytest

from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.filesystem import FileSystem
from edge_perception.releases.slots import FOLDERS, Slots

OLD, NEW = {"lidar": "a" * 64}, {"lidar": "b" * 64}


class Held(FileSystem):
    """Stands still before it removes a set."""

    def __init__(self):
        self.removing, self.go_on = threading.Event(), threading.Event()

    def remove(self, path):
        self.removing.set()
        assert self.go_on.wait(120)
        super().remove(path)


@pytest.fixture
def slots(tmp_path):
    disk = StoreDisk(root=tmp_path, files=FileSystem())
    disk.make_folders(FOLDERS)
    return Slots(disk)


def test_a_set_that_is_pointed_to_while_sets_are_swept_stays(slots, tmp_path):
    slots.point(current=NEW)
    slots.point(current=OLD)  # nothing names NEW any more
    held = Held()
    sweeping = threading.Thread(target=Slots(StoreDisk(root=tmp_path, files=held)).sweep)
    pointing = threading.Thread(target=lambda: slots.point(current=NEW))
    sweeping.start()
    assert held.removing.wait(120)
    pointing.start()
    pointing.join(1.0)  # it would not wait, were there nothing to wait for
    held.go_on.set()
    for thread in (sweeping, pointing):
        thread.join(120)
    assert slots.get("current") == NEW


def test_a_slot_that_changes_while_it_is_read_is_read_again(slots, monkeypatch):
    slots.point(current=OLD)
    read = slots._read

    def changed_meanwhile(name):
        monkeypatch.setattr(slots, "_read", read)
        slots.point(current=NEW)
        slots.sweep()
        return read(name)

    monkeypatch.setattr(slots, "_read", changed_meanwhile)
    assert slots.get("current") == NEW
