"""Lets samples go on being counted where a recording is played in a loop.

A recording that begins again is no device that was opened again. For a listener in the present it
would be: `first_sample_index` back at its start makes audio invalid for a moment, in every loop.
"""

from __future__ import annotations

import struct

CHUNK = "edge_perception/msg/AudioChunk"
_BYTES = {b"s16le": 2, b"f32le": 4}  # of a sample
_HEADER = 4  # of the encapsulation; alignment counts from behind it
_FRAME_ID = _HEADER + 8  # behind the stamp


class SampleIndex:
    """Rewrites the index of one topic's chunks so that each loop continues the one before."""

    def __init__(self) -> None:
        self._loop = 0
        self._shift = 0  # added to recorded indices in this loop
        self._next = 0  # behind the newest chunk, as sent

    def continued(self, data: bytes, loop: int) -> bytes:
        """Return a serialised chunk for a loop; one that cannot be read goes out as it is.

        Args:
            data: the chunk as recorded, or with another stamp.
            loop: which time the recording is played, from 0; never goes down.
        """
        try:
            order = "<" if data[1] & 1 else ">"
            at, index, count = _read(data, order)
        except (struct.error, IndexError, KeyError, ZeroDivisionError):
            return data
        if loop != self._loop:
            self._loop, self._shift = loop, self._next - index
        index += self._shift
        self._next = index + count
        if not self._shift or index < 0:
            return data
        return b"".join((data[:at], struct.pack(f"{order}Q", index), memoryview(data)[at + 8 :]))


def _read(data: bytes, order: str) -> tuple[int, int, int]:
    """Return where the index of a chunk lies, the index, and how many samples follow it."""
    at = _behind_text(data, order, _FRAME_ID)[1]
    at = _aligned(at, 4)
    channels = struct.unpack_from(f"{order}I", data, at + 4)[0]  # behind sample_rate
    name, at = _behind_text(data, order, at + 8)
    at = _aligned(at, 8)
    index, size = struct.unpack_from(f"{order}QI", data, at)
    return at, index, size // (_BYTES[name] * channels)


def _behind_text(data: bytes, order: str, at: int) -> tuple[bytes, int]:
    at = _aligned(at, 4)
    end = at + 4 + struct.unpack_from(f"{order}I", data, at)[0]
    return data[at + 4 : end].rstrip(b"\0"), end


def _aligned(at: int, size: int) -> int:
    return at + -(at - _HEADER) % size
