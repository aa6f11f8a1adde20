"""Deltas of archives: what moved a little as differences, the rest with the base as reference.

Weights of a fine-tuned model stand where they stood, and moved a little: sign, exponent and first
digits stay, the others are new. So every block of the new archive looks for its place in the base
(a few shifts are known from what is the same in both) and is told as differences of numbers of 1, 2
or 4 bytes, sorted by byte plane, where that is less. All else is told by zstd with the base as
reference, as `zstd --patch-from` does. Both ends are hashed: the base first, so that nothing is
patched in vain.

Patching holds the base and either one block or zstd's window; the result is written as it comes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import zstandard

from edge_perception.core.errors import RegistryError
from edge_perception.fleet.delta_blocks import (
    BLOCK,
    WIDTHS,
    Block,
    from_residual,
    plan_blocks,
    planes,
    residual,
)

_MAGIC = b"EPD2"
_HEAD = struct.Struct("<4sQII")  # magic, size of the result, rows of the plan, bytes of the plan
_ROW = np.dtype([("at", "<u8"), ("base", "<u8"), ("size", "<u4"), ("width", "u1"), ("phase", "u1")])
_MOST_PLAN_BYTES = 64 * 2**20
_LEVEL = 19
_LOG_LOW, _LOG_HIGH = 10, 31  # of windows that zstd can have
_CHUNK = 1 << 20
_PATCH_WINDOW_LOG = 22  # of differences: they refer to nothing far away


def make_delta(base: Path, new: Path, target: Path) -> int:
    """Write what makes `new` of `base`; return its bytes."""
    old, data = base.read_bytes(), new.read_bytes()
    blocks = plan_blocks(old, data)
    plan = np.array([(b.at, b.base, b.size, b.width, b.phase) for b in blocks], _ROW).tobytes()
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(plan)
    reference = planes(old)
    rest = b"".join(_rest(data, blocks))
    with target.open("wb") as file:
        file.write(_HEAD.pack(_MAGIC, len(data), len(blocks), len(packed)))
        file.write(packed)
        moved = zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters.from_level(
                _LEVEL, window_log=_PATCH_WINDOW_LOG, write_checksum=True
            )
        )
        with moved.stream_writer(file, closefd=False) as stream:
            for block in blocks:
                stream.write(residual(old, data, block))
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL,
            # All of the base within the window, and matches over long distances.
            window_log=_log(len(reference) + len(rest)),
            enable_ldm=True,
            write_checksum=True,
        )
        compressor = zstandard.ZstdCompressor(
            dict_data=_raw(reference), compression_params=parameters
        )
        with compressor.stream_writer(file, size=len(rest), closefd=False) as stream:
            stream.write(planes(rest))
    return target.stat().st_size


def apply_delta(
    base: Path, delta: Path, target: Path, *, base_sha256: str, sha256: str, size: int
) -> None:
    """Make a file of its base and a delta.

    Raises:
        RegistryError: the base is another, or the delta is damaged or makes something else.
    """
    reference = base.read_bytes()
    got = hashlib.sha256(reference).hexdigest()
    if got != base_sha256:
        raise RegistryError(f"delta: expected a base with sha256 {base_sha256}, got {got}")
    try:
        with delta.open("rb") as source, target.open("w+b") as file:
            blocks = _read_plan(source, size, len(reference))
            frames = _Frames(source)
            _write_moved(frames, reference, blocks, file)
            frames.end()
            turned = planes(reference)
            del reference
            _write_rest(frames, turned, blocks, size, file)
            got = _sha256(file)
    except (zstandard.ZstdError, struct.error, ValueError, EOFError) as error:
        raise RegistryError(f"delta: damaged: {error}") from error
    if got != sha256:
        raise RegistryError(f"delta: expected sha256 {sha256}, got {got}")


class _Frames:
    """The two zstd frames behind the plan, one after the other, never more than is asked for."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._pending = source, b""
        self._object: Any = zstandard.ZstdDecompressor(
            max_window_size=1 << _PATCH_WINDOW_LOG
        ).decompressobj()
        self._ready = bytearray()

    def begin(self, reference: bytes, longest: int) -> None:
        """Go on with the frame that has the base as reference."""
        self._object = zstandard.ZstdDecompressor(
            dict_data=_raw(reference), max_window_size=longest
        ).decompressobj()

    def read(self, count: int) -> bytes:
        """Return so many bytes of the frame.

        Raises:
            EOFError: it has less.
        """
        while len(self._ready) < count:
            if self._object.eof:
                raise EOFError("expected more of it")
            part, self._pending = self._pending or self._source.read(_CHUNK // 16), b""
            if not part:
                raise EOFError("expected more of it")
            self._ready += self._object.decompress(part)
        made = bytes(self._ready[:count])
        del self._ready[:count]
        return made

    def end(self) -> None:
        """Expect the end of the frame; what comes after it is of the next.

        Raises:
            EOFError: it has more, or no end.
        """
        while not self._object.eof:
            part, self._pending = self._pending or self._source.read(_CHUNK // 16), b""
            if not part or self._ready:
                raise EOFError("expected its end")
            self._ready += self._object.decompress(part)
        if self._ready:
            raise EOFError("expected its end")
        self._pending = self._object.unused_data


def _read_plan(source: IO[bytes], size: int, base_size: int) -> list[Block]:
    """Read which blocks are told as differences; every one lies within both files."""
    magic, whole, count, packed = _HEAD.unpack(source.read(_HEAD.size))
    if magic != _MAGIC or whole != size:
        raise RegistryError(f"delta: expected {_MAGIC!r} of {size} bytes, got {magic!r} of {whole}")
    if count * _ROW.itemsize > _MOST_PLAN_BYTES or packed > _MOST_PLAN_BYTES:
        raise RegistryError(f"delta: expected a plan of at most {_MOST_PLAN_BYTES} bytes")
    plain = zstandard.ZstdDecompressor().decompress(
        source.read(packed), max_output_size=max(count * _ROW.itemsize, 1)
    )
    if len(plain) != count * _ROW.itemsize:
        raise RegistryError(f"delta: expected a plan of {count} rows")
    blocks, end = [], 0
    for at, of_base, length, width, phase in np.frombuffer(plain, _ROW).tolist():
        good = end <= at and 0 < length <= BLOCK and at + length <= size and width in WIDTHS
        good = good and phase < min(width, length)
        if not good or of_base + length > base_size:
            raise RegistryError("delta: damaged: a block lies outside of the files")
        end = at + length
        blocks.append(Block(at=at, base=of_base, size=length, width=width, phase=phase))
    return blocks


def _write_moved(frames: _Frames, reference: bytes, blocks: list[Block], file: IO[bytes]) -> None:
    for block in blocks:
        data = from_residual(reference, frames.read(block.size), block)
        file.seek(block.at)
        file.write(data)


def _write_rest(
    frames: _Frames, turned: bytes, blocks: list[Block], size: int, file: IO[bytes]
) -> None:
    """Write what no block told; it comes in whole blocks of planes."""
    left = size - sum(block.size for block in blocks)
    frames.begin(turned, 1 << _log(len(turned) + left))
    ready = b""
    for at, count in _gaps(blocks, size):
        file.seek(at)
        while count:
            if not ready:
                part = min(left, BLOCK)
                ready, left = planes(frames.read(part), back=True), left - part
            written, ready = ready[:count], ready[count:]
            file.write(written)
            count -= len(written)
    frames.end()


def _gaps(blocks: list[Block], size: int) -> Iterator[tuple[int, int]]:
    """Yield where the result is told by no block: place and length."""
    end = 0
    for block in blocks:
        if block.at > end:
            yield end, block.at - end
        end = block.at + block.size
    if size > end:
        yield end, size - end


def _rest(data: bytes, blocks: list[Block]) -> Iterator[bytes]:
    for at, count in _gaps(blocks, len(data)):
        yield data[at : at + count]


def _sha256(file: IO[bytes]) -> str:
    whole = hashlib.sha256()
    file.seek(0)
    while part := file.read(_CHUNK):
        whole.update(part)
    return whole.hexdigest()


def _raw(data: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _log(size: int) -> int:
    return min(max((size - 1).bit_length(), _LOG_LOW), _LOG_HIGH)
