"""The few file operations of the store, as an object: tests replace it by one that fails."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

_RETRY_S = 0.02  # flock cannot wait for a while only


class FileSystem:
    """Every change the store makes on disk goes through here, one call a step."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a new file, or over an old one. Not durable before `sync`."""
        with path.open("wb") as file:
            file.write(data)

    def append(self, path: Path, data: bytes) -> None:
        """Append to a file. Not durable before `sync`."""
        with path.open("ab") as file:
            file.write(data)

    def move_in(self, source: Path, target: Path) -> None:
        """Take a file into the store."""
        os.replace(source, target)

    def link(self, existing: Path, new: Path) -> None:
        """Give a file a second name."""
        os.link(existing, new)

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""
        path.mkdir(parents=True, exist_ok=True)

    def rename(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target` in one step. Not durable before `sync_folder`."""
        os.replace(source, target)

    def sync(self, path: Path) -> None:
        """Make a file's content durable."""
        self._sync(path)

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        self._sync(path)

    def remove(self, path: Path) -> None:
        """Remove a file or a folder."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    @staticmethod
    def _sync(path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FileLock:
    """An advisory lock that the kernel releases when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait_s: float = 0.0) -> bool:
        """Take the lock; False: another process or object holds it, for longer than `wait_s`."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        end_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= end_s:
                    os.close(descriptor)
                    return False
                time.sleep(_RETRY_S)
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the text only helps whoever finds it held
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
        return True

    def holder(self) -> str:
        """Return the process id of who holds it, as far as it is known."""
        try:
            return self._path.read_text(encoding="ascii") or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Give it back; safe more than once."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
