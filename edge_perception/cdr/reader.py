"""Reads a serialised message in place.

Every length is checked against what is left of the buffer before anything of that length is made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from edge_perception.cdr.errors import CdrError, UnsupportedCdrError
from edge_perception.cdr.layout import (
    DTYPES,
    SIZES,
    Array,
    Element,
    Lookup,
    Primitive,
    String,
    Structure,
    layout_of,
)
from edge_perception.cdr.skipping import (
    Order,
    check_length,
    counting,
    leaves,
    length_reader,
    padded,
)

HEADER = 4  # bytes of the encapsulation header; alignment counts from behind it
# Encapsulations of plain CDR, big and little endian.
_ORDERS: dict[bytes, Order] = {b"\x00\x00": ">", b"\x00\x01": "<"}

# (payload, offset) -> (value, offset behind it)
Read = Callable[[memoryview, int], tuple[Any, int]]


class CdrReader:
    """Reads messages of one type."""

    def __init__(self, type_name: str, lookup: Lookup, *, counted: Collection[str] = ()) -> None:
        """Prepare for a type.

        Args:
            type_name: such as ``sensor_msgs/msg/Image``.
            lookup: returns the message class of a type's name.
            counted: arrays of the message whose elements nobody needs: a `range` of their length.

        Raises:
            UnsupportedCdrError: the type has fields that are not read here.
        """
        layout = layout_of(type_name, lookup)
        self._type = type_name
        self._readers = {key: _structure(layout, order, counted) for key, order in _ORDERS.items()}

    def __call__(self, buffer: bytes) -> Any:
        """Return an object with the message's attributes; arrays are views that keep `buffer`.

        Raises:
            CdrError: truncated, or lengths that do not fit the buffer or the type.
            UnsupportedCdrError: not plain CDR; deserialise the typed message instead.
        """
        view = memoryview(buffer)
        if len(view) < HEADER:
            raise CdrError(f"{self._type}: expected a header of 4 bytes, got {len(view)}")
        read = self._readers.get(bytes(view[:2]))
        if read is None:
            raise UnsupportedCdrError(
                f"{self._type}: expected plain CDR, got encapsulation 0x{bytes(view[:2]).hex()}"
            )
        try:
            return read(view[HEADER:], 0)[0]
        except struct.error as error:
            raise CdrError(f"{self._type}: truncated after {len(view)} bytes: {error}") from error
        except CdrError as error:
            raise CdrError(f"{self._type}: {error}") from error


def _read_of(element: Element, order: Order) -> Read:
    if isinstance(element, Primitive):
        return _primitive(element, order)
    if isinstance(element, String):
        return _string(element, order)
    if isinstance(element, Structure):
        return _structure(element, order)
    if isinstance(element.element, Primitive) and element.element.name != "boolean":
        return _numbers(element, order)
    return _elements(element, order)


# -- strings and arrays --


def _string(element: String, order: Order) -> Read:
    unpack = struct.Struct(f"{order}I").unpack_from

    def read(payload: memoryview, at: int) -> tuple[str, int]:
        at = (at + 3) & ~3
        (length,) = unpack(payload, at)
        at += 4
        check_length(length, len(payload) - at, element.bound, "string", extra=1)
        # A ROS string ends at its first zero; what no UTF-8 is becomes U+FFFD, as in rclpy.
        text = bytes(payload[at : at + length]).split(b"\0", 1)[0]
        return text.decode("utf-8", "replace"), at + length

    return read


def _numbers(element: Array, order: Order) -> Read:
    assert isinstance(element.element, Primitive)
    size = SIZES[element.element.format]
    dtype = np.dtype(DTYPES[element.element.format]).newbyteorder(order)
    as_bytes = element.element.format == "B"
    length_of = length_reader(element, order)

    def read(payload: memoryview, at: int) -> tuple[Any, int]:
        count, at = length_of(payload, at)
        if count and size > 1:  # an empty sequence is not padded
            at = (at + size - 1) & -size
        end = at + count * size
        if end > len(payload):
            raise CdrError(f"{count} numbers expect {end} bytes, got {len(payload)}")
        data = payload[at:end]
        return data if as_bytes else np.frombuffer(data, dtype), end

    return read


def _elements(element: Array, order: Order) -> Read:
    length_of = length_reader(element, order)
    read_one = _read_of(element.element, order)

    def read(payload: memoryview, at: int) -> tuple[list[Any], int]:
        count, at = length_of(payload, at)
        values = []
        for _ in range(count):
            value, at = read_one(payload, at)
            values.append(value)
        return values, at

    return read


# -- structures: neighbouring numbers are unpacked at once --


def _structure(layout: Structure, order: Order, counted: Collection[str] = ()) -> Read:
    view_class = _view_class(layout)
    steps: list[tuple[str, Read] | tuple[None, Callable[[memoryview, int, Any], int]]] = []
    run: list[tuple[str, Element]] = []
    for name, element in layout.fields:
        if _is_number(element):
            run.append((name, element))
            continue
        if run:
            steps.append((None, _run(run, order)))
            run = []
        if name in counted and isinstance(element, Array):
            steps.append((name, counting(element, order)))
        else:
            steps.append((name, _read_of(element, order)))
    if run:
        steps.append((None, _run(run, order)))

    def read(payload: memoryview, at: int) -> tuple[Any, int]:
        view = view_class()
        for name, step in steps:
            if name is None:
                at = step(payload, at, view)  # type: ignore[call-arg, assignment]
            else:
                value, at = step(payload, at)  # type: ignore[call-arg, misc]
                setattr(view, name, value)
        return view, at

    return read


def _view_class(layout: Structure) -> type:
    """Return a class with the message's fields and nothing else."""
    names = tuple(name for name, _ in layout.fields)
    return type(f"{layout.name.rsplit('/', 1)[-1]}View", (), {"__slots__": names})


def _is_number(element: Element) -> bool:
    return isinstance(element, Primitive) or (isinstance(element, Structure) and element.is_fixed)


def _run(fields: list[tuple[str, Element]], order: str) -> Callable[[memoryview, int, Any], int]:
    formats = [code for _, element in fields for code in leaves(element)]
    unpackers = [struct.Struct(padded(formats, start, order)) for start in range(8)]
    makers = [(name, len(list(leaves(element))), _maker(element)) for name, element in fields]

    def read(payload: memoryview, at: int, view: Any) -> int:
        unpacker = unpackers[at & 7]
        values = unpacker.unpack_from(payload, at)
        first = 0
        for name, count, make in makers:
            setattr(view, name, values[first] if make is None else make(values, first))
            first += count
        return at + unpacker.size

    return read


def _primitive(element: Primitive, order: Order) -> Read:
    size, code = SIZES[element.format], struct.Struct(order + element.format)
    make = _maker(element)

    def read(payload: memoryview, at: int) -> tuple[Any, int]:
        at = (at + size - 1) & -size
        values = code.unpack_from(payload, at)
        return (values[0] if make is None else make(values, 0)), at + size

    return read


def _maker(element: Element) -> Callable[[tuple[Any, ...], int], Any] | None:
    """Return what makes a value of unpacked numbers; None: the number is the value."""
    if isinstance(element, Primitive):
        if element.name == "octet":
            return lambda values, at: bytes((values[at],))
        return _boolean if element.name == "boolean" else None
    assert isinstance(element, Structure)
    view_class = _view_class(element)
    makers = [(name, len(list(leaves(part))), _maker(part)) for name, part in element.fields]

    def make(values: tuple[Any, ...], at: int) -> Any:
        view = view_class()
        for name, count, make_part in makers:
            setattr(view, name, values[at] if make_part is None else make_part(values, at))
            at += count
        return view

    return make


def _boolean(values: tuple[Any, ...], at: int) -> bool:
    if values[at] > 1:
        raise CdrError(f"a boolean expects 0 or 1, got {values[at]}")
    return bool(values[at])
