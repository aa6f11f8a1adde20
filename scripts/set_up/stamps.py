"""Stamp files: a step is done when its stamp holds the hash of what went into it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Changed content of these needs a build.
BUILD_FILES = ("package.xml", "CMakeLists.txt", "setup.cfg")
BUILD_FOLDERS = ("action", "cmake", "msg", "src", "srv")
# A symlink install follows changed content of these; only a new or removed file needs a build.
LINKED_FOLDERS = ("edge_perception", "launch", "config", "models", "resource")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A file that says from which input a step was last completed."""

    path: Path
    key: str

    def is_current(self) -> bool:
        """Return whether the step was completed from the same input."""
        return self.path.is_file() and self.path.read_text() == self.key

    def write(self) -> None:
        """Note that the step was completed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.key)


def requirements_key(root: Path, files: Iterable[Path], mode: str) -> str:
    """Return the key of an installation: requirement files, Python, place and mode."""
    return _digest([str(root), sys.version, mode], files)


def build_key(root: Path, mode: str) -> str:
    """Return the key of a build: sources of the build, names of the linked files, place, mode."""
    files = [root / name for name in BUILD_FILES]
    for folder in BUILD_FOLDERS:
        files += sorted(path for path in (root / folder).rglob("*") if _counts(path))
    linked = sorted(
        str(path.relative_to(root))
        for folder in LINKED_FOLDERS
        for path in (root / folder).rglob("*")
        if _counts(path)
    )
    return _digest([str(root), sys.version, mode, *linked], files)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _digest(words: Iterable[str], files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
