"""Whether a folder of compiled models may be used where models must be signed.

What a runtime compiled runs in the place of the model that was verified, and carries no signature.
A key to seal it with would lie on the same disk, and be read by whoever may write there as this
user. So it is asked who may write: nobody but this user and root, as sshd asks of its files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_perception.core.errors import ConfigurationError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_folder(folder: Path) -> Path:
    """Return a folder that others can put nothing into; made for this user alone where it is none.

    Args:
        folder: with whatever it holds already.

    Returns:
        The same without links on the way.

    Raises:
        ConfigurationError: what on the way or in it others may change, or why it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.resolve(strict=True)
        for path in (*reversed(folder.parents), folder):
            status = path.lstat()
            # In a sticky folder above, such as /tmp, others cannot rename what is not theirs.
            sticky = path != folder and bool(status.st_mode & stat.S_ISVTX)
            _check(path, status, writable=sticky)
        closed = not folder.lstat().st_mode & _OTHERS  # others do not reach what is in it
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(root) / name
                _check(path, path.lstat(), writable=closed)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}") from error
    return folder


def _check(path: Path, status: os.stat_result, *, writable: bool) -> None:
    """Refuse what belongs to another user, leads elsewhere, or may be written by others."""
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(f"{path}: expected it to be this user's, got {status.st_uid}'s")
    if stat.S_ISLNK(status.st_mode):
        raise ConfigurationError(f"{path}: expected a file or folder, got a link")
    if status.st_mode & _OTHERS_WRITE and not writable:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{path}: expected that others cannot write it, got mode {mode:o}")
