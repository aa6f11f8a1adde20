"""Copies of what cannot be read where it lies: files packed whole, databases with a log."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

import zstandard

from edge_perception.core.errors import ConfigurationError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_ENDS = (".zstd", ".zst")
_PART_BYTES = 1 << 20
_FEW_BYTES = 1 << 12  # zstd may make 128 KiB of every 4
_LARGEST_BYTES = 1 << 29  # of one message; far more than any sensor's


@cache
def own_scratch() -> Path:
    """Return a folder of this process, gone at its end."""
    folder = tempfile.TemporaryDirectory(prefix="edge_perception_")
    _FOLDERS.append(folder)
    return Path(folder.name)


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the interpreter ends


def unpacked(path: Path, scratch: Path) -> tuple[Path, str]:
    """Unpack a file that is compressed as a whole.

    Args:
        path: of the file.
        scratch: folder for the plain file; one that is there already is used.

    Returns:
        The plain file, and what was wrong; a file that breaks off is unpacked up to there.

    Raises:
        ConfigurationError: there is no room for it.
    """

    def fill(target: Path) -> None:
        with path.open("rb") as packed, target.open("wb") as plain:
            wrong = _unpack(packed, plain)
        if wrong:
            said = f"{path.name}: its compression is damaged ({wrong})"
            target.with_name("damage.txt").write_text(said, encoding="utf-8")

    name = path.name
    for end in ZSTD_ENDS:
        name = name.removesuffix(end)
    folder = _once([path], scratch, lambda folder: fill(folder / name))
    said = folder / "damage.txt"
    return folder / name, said.read_text(encoding="utf-8") if said.is_file() else ""


def _unpack(packed: BinaryIO, plain: BinaryIO) -> str:
    """Write what frames of zstd hold; return what ended that before its time.

    `copy_stream` takes a file that breaks off for one that ends.
    """
    frame, rest = zstandard.ZstdDecompressor().decompressobj(), b""
    while data := rest or packed.read(_PART_BYTES):
        if frame.eof:
            frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            plain.write(frame.decompress(data))
        except zstandard.ZstdError as error:
            return str(error)
        rest = frame.unused_data
    return "" if frame.eof else "it breaks off"


def plain_message(data: bytes) -> bytes:
    """Return a message's bytes: with compression of each message it begins as zstd does.

    Raises:
        ZstdError: it cannot be unpacked.
        ValueError: what it unpacks to is larger than any message.
    """
    if not data.startswith(ZSTD_MAGIC):  # CDR begins with 00
        return data
    told = zstandard.frame_content_size(data)  # below 0: it does not say
    if 0 <= told <= _LARGEST_BYTES:
        return bytes(zstandard.ZstdDecompressor().decompress(data))
    frame, plain = zstandard.ZstdDecompressor().decompressobj(), bytearray()
    for at in range(0, len(data) if told < 0 else 0, _FEW_BYTES):
        plain += frame.decompress(data[at : at + _FEW_BYTES])
        if len(plain) > _LARGEST_BYTES:
            break
    if not frame.eof:
        raise ValueError(f"a message of {len(data)} bytes breaks off, or unpacks to too much")
    return bytes(plain)


def copied(paths: Sequence[Path], scratch: Path) -> Path:
    """Copy files that belong together and return the first one.

    Raises:
        ConfigurationError: there is no room for them.
    """

    def fill(folder: Path) -> None:
        for path in paths:
            shutil.copyfile(path, folder / path.name)

    return _once(paths, scratch, fill) / paths[0].name


def _once(paths: Sequence[Path], scratch: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder with a copy of these files as they are now; made where it is missing."""
    key = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        key.update(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|".encode())
    folder = scratch / key.hexdigest()[:24]
    if folder.is_dir():
        return folder
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}_", dir=scratch))
        try:
            fill(partial)
            os.rename(partial, folder)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if not folder.is_dir():  # else another process was faster
                raise
    except OSError as error:
        names = ", ".join(path.name for path in paths)
        raise ConfigurationError(f"{names}: cannot be unpacked in {scratch}: {error}") from error
    return folder
