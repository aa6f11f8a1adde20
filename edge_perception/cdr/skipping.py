"""Steps over what a reader does not need, with the same checks of every length.

Elements of arrays are stepped over by compiled code (src/skipping.c) where it was built. What it
does not get over, the code here goes over again, and names the fault.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from typing import Literal

import numpy as np

from edge_perception.cdr.errors import CdrError
from edge_perception.cdr.layout import SIZES, Array, Element, Primitive, String, Structure
from edge_perception.core.native import library

_NUMBERS, _STRING, _NUMBER_ARRAY, _ARRAY = range(4)  # words of programs, as in src/skipping.c
_ANY = -1  # length of a sequence

Order = Literal["<", ">"]
# (payload, offset) -> offset behind it
Skip = Callable[[memoryview, int], int]


def counting(element: Array, order: Order) -> Callable[[memoryview, int], tuple[range, int]]:
    """Return what reads an array as a `range` of its length: how many there are, and no more."""
    count_of, skip_one = length_reader(element, order), skipper(element.element, order)
    skip_all = _compiled(element.element, order)
    numbers = isinstance(element.element, Primitive)

    def read(payload: memoryview, at: int) -> tuple[range, int]:
        count, at = count_of(payload, at)
        if numbers and count:
            size = SIZES[element.element.format]  # type: ignore[union-attr]
            at = ((at + size - 1) & -size) + count * size
            _check_end(payload, at)
        elif count:
            end = skip_all(payload, at, count) if skip_all is not None else -1
            if end < 0:
                end = at
                for _ in range(count):
                    end = skip_one(payload, end)
            at = end
        return range(count), at

    return read


def _compiled(element: Element, order: Order) -> Callable[[memoryview, int, int], int] | None:
    """Return what steps over many elements, -1 where they do not fit; None: it was not built."""
    found = library()
    if found is None:
        return None
    call = found.held.ep_skip
    call.restype = ctypes.c_int64
    call.argtypes = (
        ctypes.c_void_p, *(3 * [ctypes.c_int64]), ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    )  # fmt: skip
    program = np.array(_program(element), np.int64)
    words, swapped = program.size, (order == "<") != (sys.byteorder == "little")
    address = program.ctypes.data

    def skip(payload: memoryview, at: int, count: int, _kept: object = program) -> int:
        data = np.frombuffer(payload, np.uint8)
        return int(call(data.ctypes.data, data.size, at, count, address, words, swapped))

    return skip


def _program(element: Element) -> list[int]:
    """Return what an element is made of, as words for the compiled code."""
    if isinstance(element, String):
        return [_STRING, 0xFFFFFFFF if element.bound is None else element.bound + 1]
    if isinstance(element, Array):
        fixed = _ANY if element.length is None else element.length
        most = 0xFFFFFFFF if element.bound is None else element.bound
        if isinstance(element.element, Primitive):
            return [_NUMBER_ARRAY, fixed, most, SIZES[element.element.format]]
        body = _program(element.element)
        return [_ARRAY, fixed, most, max(element.element.smallest, 1), len(body), *body]
    if isinstance(element, Primitive):
        return [_NUMBERS, *_sizes([element.format])]
    words: list[int] = []
    run: list[str] = []
    for _, part in (*element.fields, ("", None)):
        if part is not None and (
            isinstance(part, Primitive) or (isinstance(part, Structure) and part.is_fixed)
        ):
            run += leaves(part)
            continue
        if run:
            words += [_NUMBERS, *_sizes(run)]
            run = []
        if part is not None:
            words += _program(part)
    return words


def skipper(element: Element, order: Order) -> Skip:
    """Return what steps over one element."""
    if isinstance(element, String):
        return _string(element, order)
    if isinstance(element, Array):
        count = counting(element, order)
        return lambda payload, at: count(payload, at)[1]
    if isinstance(element, Primitive):
        return _numbers([element.format])
    steps: list[Skip] = []
    run: list[str] = []
    for _, part in element.fields:
        if isinstance(part, Primitive) or (isinstance(part, Structure) and part.is_fixed):
            run += leaves(part)
            continue
        if run:
            steps.append(_numbers(run))
            run = []
        steps.append(skipper(part, order))
    if run:
        steps.append(_numbers(run))

    def skip(payload: memoryview, at: int) -> int:
        for step in steps:
            at = step(payload, at)
        return at

    return skip


def length_reader(element: Array, order: Order) -> Callable[[memoryview, int], tuple[int, int]]:
    """Return what reads and checks the number of elements of an array."""
    if element.length is not None:
        fixed = element.length
        return lambda _payload, at: (fixed, at)
    unpack = struct.Struct(f"{order}I").unpack_from
    smallest = max(element.element.smallest, 1)
    most = 0xFFFFFFFF if element.bound is None else element.bound

    def read(payload: memoryview, at: int) -> tuple[int, int]:
        at = (at + 3) & ~3
        count: int = unpack(payload, at)[0]
        at += 4
        if count > most or count * smallest > len(payload) - at:
            check_length(count, (len(payload) - at) // smallest, element.bound, "sequence")
        return count, at

    return read


def check_length(count: int, room: int, bound: int | None, what: str, *, extra: int = 0) -> None:
    """Refuse a length that does not fit the buffer or the type."""
    if count > room:
        raise CdrError(f"a {what} claims {count} where {max(room, 0)} fit into the buffer")
    if bound is not None and count > bound + extra:
        raise CdrError(f"a {what} expects at most {bound}, got {count}")


def leaves(element: Element) -> list[str]:
    """Return the struct formats of a number, or of all numbers of a structure, in order."""
    if isinstance(element, Primitive):
        return [element.format]
    assert isinstance(element, Structure)
    return [code for _, part in element.fields for code in leaves(part)]


def padded(formats: list[str], start: int, order: str) -> str:
    """Return a struct format with the padding that numbers need from offset `start` on."""
    text, at = order, start
    for code in formats:
        gap = -at % SIZES[code]
        text += ("x" * gap) + code
        at += gap + SIZES[code]
    return text


def _sizes(formats: list[str]) -> list[int]:
    """Return the bytes of numbers with their padding, by what is left of the offset modulo 8."""
    return [struct.calcsize(padded(formats, start, "<")) for start in range(8)]


def _numbers(formats: list[str]) -> Skip:
    sizes = _sizes(formats)

    def skip(payload: memoryview, at: int) -> int:
        at += sizes[at & 7]
        if at > len(payload):
            _check_end(payload, at)
        return at

    return skip


def _string(element: String, order: Order) -> Skip:
    unpack = struct.Struct(f"{order}I").unpack_from
    most = 0xFFFFFFFF if element.bound is None else element.bound + 1

    def skip(payload: memoryview, at: int) -> int:
        at = (at + 3) & ~3
        length: int = unpack(payload, at)[0]
        at += 4
        # What fits is most there is; the call that names the fault costs as much as the rest.
        if length > most or at + length > len(payload):
            check_length(length, len(payload) - at, element.bound, "string", extra=1)
        return at + length

    return skip


def _check_end(payload: memoryview, end: int) -> None:
    if end > len(payload):
        raise CdrError(f"expected {end} bytes, got {len(payload)}")
