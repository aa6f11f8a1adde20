"""Writes a message as little-endian CDR into one buffer, of anything with its attributes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from edge_perception.cdr.errors import UnsupportedCdrError
from edge_perception.cdr.layout import (
    DTYPES,
    Array,
    Element,
    Lookup,
    Primitive,
    String,
    Structure,
    layout_of,
)
from edge_perception.cdr.skipping import leaves, padded

_ENCAPSULATION = b"\x00\x01\x00\x00"
_LENGTH = struct.Struct("<I")


class _Parts:
    """Pieces of the message; large arrays stay where they are until all is joined."""

    LARGE = 2048  # bytes; smaller pieces are cheaper to copy than to list

    def __init__(self) -> None:
        self._done: list[Any] = [_ENCAPSULATION]
        self._done_bytes = 0
        self._open = bytearray()

    @property
    def at(self) -> int:
        """Offset behind the encapsulation header."""
        return self._done_bytes + len(self._open)

    def align(self, size: int) -> None:
        self._open += bytes(-self.at % size)

    def add(self, data: Any) -> None:
        """Append bytes, or a contiguous array of bytes."""
        if len(data) < self.LARGE:
            self._open += data
            return
        self._done += [self._open, data]
        self._done_bytes += len(self._open) + len(data)
        self._open = bytearray()

    def join(self) -> bytes:
        return b"".join([*self._done, self._open])


Write = Callable[[Any, _Parts], None]


class CdrWriter:
    """Writes messages of one type."""

    def __init__(self, type_name: str, lookup: Lookup) -> None:
        """Prepare for a type; arguments and errors as in `CdrReader`."""
        self._write = _structure(layout_of(type_name, lookup))

    def __call__(self, message: Any) -> bytes:
        """Return the serialised message; arrays of bytes may be anything with a buffer.

        Raises:
            AttributeError: `message` lacks a field of the type.
            struct.error: a number does not fit its field.
        """
        parts = _Parts()
        self._write(message, parts)
        return parts.join()


def _write_of(element: Element) -> Write:
    if isinstance(element, String):
        return _string
    if isinstance(element, Structure):
        return _structure(element)
    assert isinstance(element, Array)
    if isinstance(element.element, Primitive):
        return _numbers(element)
    return _elements(element)


def _string(value: str, parts: _Parts) -> None:
    text = value.encode() + b"\0"
    parts.align(4)
    parts.add(_LENGTH.pack(len(text)) + text)


def _check_length(value: Any, element: Array) -> None:
    if element.length is not None and len(value) != element.length:
        raise UnsupportedCdrError(f"expected {element.length} elements, got {len(value)}")


def _numbers(element: Array) -> Write:
    assert isinstance(element.element, Primitive)
    dtype = np.dtype(DTYPES[element.element.format]).newbyteorder("<")

    def write(value: Any, parts: _Parts) -> None:
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = np.frombuffer(value, dtype)
        data = np.ascontiguousarray(value, dtype)
        _check_length(data, element)
        if element.length is None:
            parts.align(4)
            parts.add(_LENGTH.pack(data.size))
        if data.size:
            parts.align(dtype.itemsize)
            parts.add(data.view(np.uint8).reshape(-1).data)

    return write


def _elements(element: Array) -> Write:
    write_one = _write_of(element.element)

    def write(value: Any, parts: _Parts) -> None:
        _check_length(value, element)
        if element.length is None:
            parts.align(4)
            parts.add(_LENGTH.pack(len(value)))
        for item in value:
            write_one(item, parts)

    return write


def _structure(layout: Structure) -> Write:
    steps: list[tuple[Callable[[Any], Any] | None, Write]] = []
    run: list[tuple[str, Element]] = []
    for name, element in layout.fields:
        if isinstance(element, Primitive) or (isinstance(element, Structure) and element.is_fixed):
            run.append((name, element))
            continue
        if run:
            steps.append((None, _run(run)))
            run = []
        steps.append((attrgetter(name), _write_of(element)))
    if run:
        steps.append((None, _run(run)))

    def write(message: Any, parts: _Parts) -> None:
        for get, step in steps:
            step(message if get is None else get(message), parts)

    return write


def _run(fields: list[tuple[str, Element]]) -> Write:
    formats = [code for _, element in fields for code in leaves(element)]
    packers = [struct.Struct(padded(formats, start, "<")) for start in range(8)]
    paths = [path for name, element in fields for path in _paths(name, element)]
    get = attrgetter(*paths)
    single = len(paths) == 1

    def write(message: Any, parts: _Parts) -> None:
        values = get(message)
        packer = packers[parts.at & 7]
        parts.add(packer.pack(values) if single else packer.pack(*values))

    return write


def _paths(name: str, element: Element) -> list[str]:
    if isinstance(element, Primitive):
        if element.name == "octet":
            raise UnsupportedCdrError(f"{name}: a field of type octet is not written here")
        return [name]
    assert isinstance(element, Structure)
    return [f"{name}.{path}" for part, sub in element.fields for path in _paths(part, sub)]
