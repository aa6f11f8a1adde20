"""A value that a machine tells, or why it does not; and the reading of single files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import EdgePerceptionError

# What is beyond these is a broken sensor or a wrong scale, not a hot or hungry computer.
COLDEST_C, HOTTEST_C = -60.0, 200.0
MOST_WATTS = 2000.0
NONSENSE = "it tells "  # how the reason of a value that cannot be true begins


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value.

    Args:
        kind: with its unit, for example `temperature_c`, `watts`, `cpu_share`, `disk_bytes`.
        name: of the place, as the machine calls it.
        value: in the unit of its kind.
    """

    kind: str
    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What is not available, and why."""

    what: str
    why: str

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.what}: not available, because {self.why}"


class UnreadableError(EdgePerceptionError):
    """A file of the kernel is not there, may not be read, or holds no number."""


def text_of(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t")
    except PermissionError:
        raise UnreadableError(f"{path.name} of {path.parent.name} may not be read by us") from None
    except OSError as error:
        # A driver that is bound to nothing answers so too.
        raise UnreadableError(f"{path.name} of {path.parent.name}: {error.strerror}") from error


def number_of(path: Path) -> int:
    """Return the whole number in a file.

    Raises:
        UnreadableError: there is none.
    """
    text = text_of(path)
    try:
        return int(text)
    except ValueError:
        raise UnreadableError(
            f"{path.name} of {path.parent.name}: expected a number, got '{text[:40]}'"
        ) from None


def text_or(path: Path, other: str) -> str:
    """Return the text of a file, `other` where it cannot be read or is empty."""
    try:
        return text_of(path) or other
    except UnreadableError:
        return other


def folders(parent: Path, pattern: str) -> Iterator[Path]:
    """Yield folders that match, in the order of the numbers in their names."""
    found = [path for path in parent.glob(pattern) if path.is_dir()]
    yield from sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
