"""Where a store lies, and how its files change: durable before the next step, refused by name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import StoreError
from edge_perception.releases.filesystem import FileSystem

_PROBLEMS = {
    errno.ENOSPC: "the disk is full (`edge-perception models prune` makes room)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission to write",
    errno.EIO: "the disk reports an I/O error",
}


@dataclass(frozen=True, kw_only=True)
class StoreDisk:
    """The folder of a store and what it is written through."""

    root: Path
    files: FileSystem

    def make_folders(self, names: tuple[str, ...]) -> None:
        """Make the folders that are missing.

        Raises:
            StoreError: the folder cannot be written.
        """
        with self.writing():
            for name in names:
                if not (self.root / name).is_dir():
                    self.files.make_folder(self.root / name)

    def replace(self, path: Path, data: bytes) -> None:
        """Write a file in one step: after a crash there is the old content or the new."""
        temporary = path.with_name(f".{path.name}.new")
        self.files.write(temporary, data)
        self.files.sync(temporary)
        self.files.rename(temporary, path)
        self.files.sync_folder(path.parent)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say of an error of the disk which one it is.

        Raises:
            StoreError: the disk is full, read-only or failing.
        """
        try:
            yield
        except OSError as error:
            what = _PROBLEMS.get(error.errno or 0, "cannot be read or written")
            raise StoreError(f"store {self.root}: {what}: {error}") from error
