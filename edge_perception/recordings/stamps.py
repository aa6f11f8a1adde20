"""Reads and rewrites the header stamp of a serialised message without decoding the rest.

CDR (OMG DDS-XTypes 7.4.3, as every ROS 2 middleware writes it): a 4-byte encapsulation header,
whose second byte is odd for little endian, then the fields. A message whose first field is a
``std_msgs/Header`` therefore holds ``stamp.sec`` (int32) at byte 4 and ``stamp.nanosec`` (uint32)
at byte 8.
"""

from __future__ import annotations

import struct

from edge_perception.core.errors import InvalidFrameError

_LITTLE, _BIG = struct.Struct("<iI"), struct.Struct(">iI")
_STAMP = slice(4, 12)
NS = 1_000_000_000


def read_stamp_ns(data: bytes) -> int:
    """Return the header stamp in nanoseconds.

    Raises:
        InvalidFrameError: the data is shorter than a stamp.
    """
    sec, nanosec = _layout(data).unpack(data[_STAMP])
    return int(sec) * NS + int(nanosec)


def with_stamp_ns(data: bytes, stamp_ns: int) -> bytes:
    """Return a copy of a serialised message with another header stamp.

    Raises:
        InvalidFrameError: the data is shorter than a stamp, or the stamp does not fit int32 s.
    """
    layout = _layout(data)
    sec, nanosec = divmod(stamp_ns, NS)
    try:
        packed = layout.pack(sec, nanosec)
    except struct.error as error:
        raise InvalidFrameError(
            f"header stamp: expected seconds within int32, got {sec}"
        ) from error
    return b"".join((data[:4], packed, memoryview(data)[12:]))


def _layout(data: bytes) -> struct.Struct:
    if len(data) < _STAMP.stop:
        raise InvalidFrameError(
            f"serialised message: expected at least {_STAMP.stop} bytes, got {len(data)}"
        )
    return _LITTLE if data[1] & 1 else _BIG
