"""Deltas of archives: zstd with the base as reference, as `zstd --patch-from` makes them.

Patching holds the base and a window of at most the result in memory; the result is written as it
comes. Both ends are hashed: the base first, so that nothing is patched in vain.

Weights that moved a little keep their first bytes (sign, exponent, first digits) and change their
last ones. So both files are compared byte plane by byte plane, block by block: of four bytes all
first ones, then all second ones, and so on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import zstandard

from edge_perception.core.errors import RegistryError

_LEVEL = 19
_LOG_LOW, _LOG_HIGH = 10, 31  # of windows that zstd can have
_CHUNK = 1 << 20
_WIDTH = 4  # bytes of a weight
_BLOCK = 1 << 16


def make_delta(base: Path, new: Path, target: Path) -> int:
    """Write what makes `new` of `base`; return its bytes."""
    reference = _planes(base.read_bytes())
    size = new.stat().st_size
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        # All of the base within the window, and matches over long distances.
        window_log=_log(len(reference) + size),
        enable_ldm=True,
        write_content_size=True,
        write_checksum=True,
    )
    compressor = zstandard.ZstdCompressor(dict_data=_raw(reference), compression_params=parameters)
    with (
        new.open("rb") as source,
        target.open("wb") as file,
        compressor.stream_writer(file, size=size, closefd=False) as stream,
    ):
        while block := source.read(_CHUNK):
            stream.write(_planes(block))
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
    longest = 1 << _log(len(reference) + size)
    decompressor = zstandard.ZstdDecompressor(
        dict_data=_raw(_planes(reference)), max_window_size=longest
    )
    del reference
    whole, written, pending = hashlib.sha256(), 0, bytearray()
    try:
        with delta.open("rb") as source, target.open("wb") as file:
            for part in decompressor.read_to_iter(source, read_size=_CHUNK, write_size=_CHUNK):
                written += len(part)
                if written > size:
                    raise RegistryError(f"delta: expected {size} bytes, got more")
                pending += part
                ready = len(pending) if written == size else len(pending) // _BLOCK * _BLOCK
                plain = _planes(bytes(pending[:ready]), back=True)
                del pending[:ready]
                whole.update(plain)
                file.write(plain)
    except zstandard.ZstdError as error:
        raise RegistryError(f"delta: damaged: {error}") from error
    if whole.hexdigest() != sha256:
        raise RegistryError(f"delta: expected sha256 {sha256}, got {whole.hexdigest()}")


def _planes(data: bytes, *, back: bool = False) -> bytes:
    """Return data with the bytes of each block sorted by plane, or so sorted ones as they were."""
    made = bytearray(len(data))
    for begin in range(0, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8)[begin : begin + _BLOCK]
        whole = block.size // _WIDTH * _WIDTH
        shape = (_WIDTH, -1) if back else (-1, _WIDTH)
        made[begin : begin + whole] = block[:whole].reshape(shape).T.tobytes()
        made[begin + whole : begin + block.size] = block[whole:].tobytes()
    return bytes(made)


def _raw(data: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _log(size: int) -> int:
    return min(max((size - 1).bit_length(), _LOG_LOW), _LOG_HIGH)
