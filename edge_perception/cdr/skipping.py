"""Steps over what a reader does not need, with the same checks of every length."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from edge_perception.cdr.errors import CdrError
from edge_perception.cdr.layout import SIZES, Array, Element, Primitive, String, Structure

Order = Literal["<", ">"]
# (payload, offset) -> offset behind it
Skip = Callable[[memoryview, int], int]


def counting(element: Array, order: Order) -> Callable[[memoryview, int], tuple[range, int]]:
    """Return what reads an array as a `range` of its length: how many there are, and no more."""
    count_of, skip_one = length_reader(element, order), skipper(element.element, order)
    numbers = isinstance(element.element, Primitive)

    def read(payload: memoryview, at: int) -> tuple[range, int]:
        count, at = count_of(payload, at)
        if numbers and count:
            size = SIZES[element.element.format]  # type: ignore[union-attr]
            at = ((at + size - 1) & -size) + count * size
            _check_end(payload, at)
        else:
            for _ in range(count):
                at = skip_one(payload, at)
        return range(count), at

    return read


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


def _numbers(formats: list[str]) -> Skip:
    sizes = [struct.calcsize(padded(formats, start, "<")) for start in range(8)]

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
