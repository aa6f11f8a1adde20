"""Bodies of the protocol in gzip, for both ends of it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable

from edge_perception.core.errors import BackendError

GZIP = "gzip"  # as Content-Encoding and Accept-Encoding say it
_LEVEL = 1  # a robot's processor has little time
_WITH_GZIP_HEADER = 31  # of zlib


def packed(body: bytes) -> bytes:
    """Return a body in gzip; the same body gives the same bytes."""
    return gzip.compress(body, _LEVEL, mtime=0)


def packed_bytes(parts: Iterable[bytes]) -> int:
    """Return how long parts are in gzip, one after the other."""
    stream = zlib.compressobj(_LEVEL, wbits=_WITH_GZIP_HEADER)
    return sum(len(stream.compress(part)) for part in parts) + len(stream.flush())


def unpacked(data: bytes | memoryview, most_bytes: int, what: str) -> bytes:
    """Return a body as it was before it was compressed.

    Args:
        data: in gzip.
        most_bytes: that it may have then; no more are unpacked.
        what: it is, for messages.

    Raises:
        BackendError: it is no gzip, breaks off, or is larger.
    """
    stream = zlib.decompressobj(_WITH_GZIP_HEADER)
    try:
        plain = stream.decompress(data, most_bytes)
    except zlib.error as error:
        raise BackendError(f"{what} is no gzip, expected gzip: {error}") from error
    if not stream.eof:
        raise BackendError(
            f"{what}: expected at most {most_bytes} bytes in gzip, it is cut off or has more than "
            f"{most_bytes} bytes"
        )
    return plain
