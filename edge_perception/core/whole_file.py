"""Files that are whole, or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

_MOST_LINKS = 8


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there: it is whole, or as it was.

    What is no file but takes bytes, such as `/dev/stdout`, `/dev/null` or a pipe of a shell, is
    written to: a file moved there would take its place for every other program.

    Args:
        path: of the file; its folders are made.
        data: what it holds.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    partial = None
    try:
        if path.exists() and _takes_bytes(path):
            with _taker(path) as taker:
                taker.write(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:  # of a full disk it does not say where
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Find out before a long work that its result could not be written; folders are made.

    Raises:
        OSError: it could not; the error names the file.
    """
    if path.exists() and not path.is_dir() and _takes_bytes(path):
        return  # what takes bytes, see `write_whole`
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _taker(path: Path) -> BinaryIO:
    """Open what takes bytes; a descriptor of ours where it stands, after what was printed to it.

    Opened anew, a redirected `/dev/stdout` has a position of its own, and the next print would go
    over what was written there.
    """
    number = _own_descriptor(path)
    if number is None:
        return path.open("ab")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    return os.fdopen(os.dup(number), "wb")


def _own_descriptor(path: Path) -> int | None:
    """Return the number behind `/dev/stdout`, `/dev/fd/3` and the like; None: not ours."""
    place, folders = path.absolute(), ("/dev/fd", "/proc/self/fd", f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        if place.name.isdecimal() and str(place.parent) in folders:
            return int(place.name)
        if not place.is_symlink():
            break
        place = place.parent / place.readlink()
    return None


def _takes_bytes(path: Path) -> bool:
    """Tell what is written to; `/dev/stdout` stays a link of all where it leads to a file."""
    link = path.is_symlink() and path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))
    return link or not path.is_file()
