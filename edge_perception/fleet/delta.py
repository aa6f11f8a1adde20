"""Deltas of archives: zstd with the base as reference, as `zstd --patch-from` makes them.

Patching holds the base and a window of at most the result in memory; the result is written as it
comes. Both ends are hashed: the base first, so that nothing is patched in vain.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import zstandard

from edge_perception.core.errors import RegistryError

_LEVEL = 19
_LOG_LOW, _LOG_HIGH = 10, 31  # of windows that zstd can have
_CHUNK = 1 << 20


def make_delta(base: Path, new: Path, target: Path) -> int:
    """Write what makes `new` of `base`; return its bytes."""
    reference = base.read_bytes()
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
    with new.open("rb") as source, target.open("wb") as file:
        compressor.copy_stream(source, file, size=size)
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
    decompressor = zstandard.ZstdDecompressor(
        dict_data=_raw(reference), max_window_size=1 << _log(len(reference) + size)
    )
    whole, written = hashlib.sha256(), 0
    try:
        with delta.open("rb") as source, target.open("wb") as file:
            for part in decompressor.read_to_iter(source, read_size=_CHUNK, write_size=_CHUNK):
                written += len(part)
                if written > size:
                    raise RegistryError(f"delta: expected {size} bytes, got more")
                whole.update(part)
                file.write(part)
    except zstandard.ZstdError as error:
        raise RegistryError(f"delta: damaged: {error}") from error
    if whole.hexdigest() != sha256:
        raise RegistryError(f"delta: expected sha256 {sha256}, got {whole.hexdigest()}")


def _raw(data: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _log(size: int) -> int:
    return min(max((size - 1).bit_length(), _LOG_LOW), _LOG_HIGH)
