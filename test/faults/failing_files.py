"""File systems of the store that end, fail or forget at a chosen step."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from edge_perception.releases.filesystem import FileSystem

STEPS = (
    "write",
    "append",
    "move_in",
    "link",
    "make_folder",
    "rename",
    "sync",
    "sync_folder",
    "remove",
)


class Crash(BaseException):
    """The process is gone: nothing after this runs."""


class CountingFileSystem(FileSystem):
    """Calls `on_step(number, name)` before each step."""

    def __init__(self, on_step=lambda number, name: None) -> None:
        self.count = 0
        self.on_step = on_step

    def __getattribute__(self, name):
        attribute = super().__getattribute__(name)
        if name not in STEPS:
            return attribute

        def step(*args):
            self.before(name)
            result = attribute(*args)
            self.after(name, *args)
            return result

        return step

    def before(self, name) -> None:
        self.count += 1
        self.on_step(self.count, name)

    def after(self, name, *args) -> None:
        pass


def crash_at(number):
    def on_step(count, name):
        if count == number:
            raise Crash(f"step {count}: {name}")

    return on_step


def fail_at(number, code):
    def on_step(count, name):
        if count >= number:
            raise OSError(code, os.strerror(code))

    return on_step


class LossyFileSystem(CountingFileSystem):
    """Remembers what is durable: content that was synced, names of folders that were synced."""

    def __init__(self, root: Path, on_step=lambda number, name: None) -> None:
        super().__init__(on_step)
        self.root = root
        self.content: dict[int, bytes] = {}
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                self._folder(path)
            else:
                self._file(path)

    def after(self, name, *args) -> None:
        if name == "sync":
            self._file(args[0])
        elif name == "sync_folder":
            self._folder(args[0])

    def _file(self, path: Path) -> None:
        self.content[path.stat().st_ino] = path.read_bytes()

    def _folder(self, path: Path) -> None:
        self.names[path.stat().st_ino] = {
            child.name: (child.stat().st_ino, stat.S_ISDIR(child.stat().st_mode))
            for child in path.iterdir()
        }

    def lose_power(self, into: Path) -> None:
        """Write what a disk would hold: unsynced content is empty, unsynced names are the old."""
        shutil.rmtree(into, ignore_errors=True)
        self._restore(self.root.stat().st_ino, into)

    def _restore(self, inode: int, into: Path) -> None:
        into.mkdir(parents=True)
        for name, (child, is_folder) in self.names.get(inode, {}).items():
            if is_folder:
                self._restore(child, into / name)
            else:
                (into / name).write_bytes(self.content.get(child, b""))
