"""Statuses of /diagnostics from their bytes: only the values that somebody wants become texts.

A node says some sixty values a second, of which the metrics need ten at most. To make a typed
message of them costs more than all that is counted.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message

from edge_perception.cdr import CdrError
from edge_perception.cdr.layout import Array, layout_of
from edge_perception.cdr.skipping import Order, counting
from edge_perception.nodes.topics.message_types import message_type

Wanted = Callable[[bytes], bool]  # whether the value of a key is wanted
_Lengths = Callable[[bytes, int], tuple[int, ...]]
_HEADER = 4  # bytes of the encapsulation; texts are aligned to as many, so offsets count with it
_ORDERS: Mapping[bytes, Order] = {b"\x00\x00": ">", b"\x00\x01": "<"}


@dataclass(frozen=True, kw_only=True)
class StatusRead:
    """What is wanted of one status."""

    name: str
    level: int
    values: Mapping[str, str]


def is_any(_key: bytes) -> bool:
    """Want all values."""
    return True


def is_none(_key: bytes) -> bool:
    """Want no value: they are stepped over."""
    return False


def read_statuses(data: bytes, wanted_of: Callable[[str], Wanted | None]) -> list[StatusRead]:
    """Return the statuses of a serialised `diagnostic_msgs/DiagnosticArray` that are wanted.

    Args:
        data: the message.
        wanted_of: says by the name of a status which of its values are wanted; None: the status is
            left out.

    Raises:
        CdrError: truncated, or lengths that do not fit.
    """
    order = _ORDERS.get(bytes(data[:2]))
    if order is None:  # an encapsulation of another middleware
        return list(_typed(data, wanted_of))
    try:
        return list(_in_place(data, order, wanted_of))
    except struct.error as error:
        raise CdrError(f"diagnostics: truncated after {len(data)} bytes: {error}") from error


def _in_place(
    data: bytes, order: Order, wanted_of: Callable[[str], Wanted | None]
) -> Iterator[StatusRead]:
    length_of = struct.Struct(f"{order}I").unpack_from
    step_over = _values_counter(order)
    payload = memoryview(data)[_HEADER:]

    def text(at: int) -> tuple[bytes, int]:
        at = (at + 3) & ~3
        end = at + 4 + length_of(data, at)[0]
        if end > len(data):
            raise CdrError(f"diagnostics: a text ends at {end}, got {len(data)} bytes")
        # A ROS string ends at its first zero.
        return data[at + 4 : end].split(b"\0", 1)[0], end

    _, at = text(_HEADER + 8)  # frame_id, behind the stamp
    at = (at + 3) & ~3
    (count,) = length_of(data, at)
    at += 4
    for _ in range(count):
        level = data[at] if at < len(data) else _cut(data)
        name_bytes, at = text(at + 1)
        for _ in range(2):  # message, hardware_id
            _, at = text(at)
        name = name_bytes.decode("utf-8", "replace")
        wanted = wanted_of(name)
        values: dict[str, str] = {}
        if wanted is None or wanted is is_none:
            at = step_over(payload, at - _HEADER)[1] + _HEADER
        else:
            at = _read_values(data, at, length_of, wanted, values)
        if wanted is not None:
            yield StatusRead(name=name, level=level, values=values)


def _read_values(
    data: bytes, at: int, length_of: _Lengths, wanted: Wanted, values: dict[str, str]
) -> int:
    """Read wanted values; return the offset behind all of them."""
    at = (at + 3) & ~3
    (pairs,) = length_of(data, at)
    at += 4
    for _ in range(pairs):
        at = (at + 3) & ~3
        end = at + 4 + length_of(data, at)[0]
        key = data[at + 4 : end].split(b"\0", 1)[0]
        at = (end + 3) & ~3
        end = at + 4 + length_of(data, at)[0]
        if wanted(key):
            text = data[at + 4 : end].split(b"\0", 1)[0].decode("utf-8", "replace")
            values[key.decode("utf-8", "replace")] = text
        at = end
    return at if at <= len(data) else _cut(data)


def _cut(data: bytes) -> int:
    raise CdrError(f"diagnostics: truncated after {len(data)} bytes")


@functools.cache
def _values_counter(order: Order) -> Callable[[memoryview, int], tuple[range, int]]:
    return counting(Array(element=layout_of("diagnostic_msgs/msg/KeyValue", message_type)), order)


def _typed(data: bytes, wanted_of: Callable[[str], Wanted | None]) -> Iterator[StatusRead]:
    for status in deserialize_message(data, DiagnosticArray).status:
        wanted = wanted_of(status.name)
        if wanted is not None:
            values = {v.key: v.value for v in status.values if wanted(v.key.encode())}
            yield StatusRead(name=status.name, level=status.level[0], values=values)
