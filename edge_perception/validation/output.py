"""The folder of the reports: one run at a time writes to it, and says so where it cannot."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edge_perception.core.errors import ConfigurationError


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Hold a folder for one run; made where it is missing.

    Raises:
        ConfigurationError: it is a file, cannot be written, is full, or another run holds it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"--out: expected a folder, got the file {path}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _lock(held, path)
        with _told(path):
            yield
    finally:
        os.close(held)  # and lets go of the lock


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # of our own output, not of the folder
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _lock(held: int, path: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(f"--out: another run writes to {path}") from None
    except OSError:  # a file system without locks
        return


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"--out: {path} cannot be written: {error}")
