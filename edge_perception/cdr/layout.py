"""The fields of a message type, parsed from the description its class carries."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_perception.cdr.errors import UnsupportedCdrError

# Names of get_fields_and_field_types -> struct format; the size is the alignment.
PRIMITIVES = {
    "boolean": "B",
    "octet": "B",
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float": "f",
    "double": "d",
}
SIZES = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4, "Q": 8, "q": 8, "f": 4, "d": 8}
DTYPES = {"B": "u1", "b": "i1", "H": "u2", "h": "i2", "I": "u4", "i": "i4", "Q": "u8", "q": "i8"}
DTYPES |= {"f": "f4", "d": "f8"}
_STRING = re.compile(r"string(?:<(\d+)>)?")
_SEQUENCE = re.compile(r"sequence<(.+?)(?:, (\d+))?>")
_ARRAY = re.compile(r"(.+)\[(\d+)\]")
_NESTED = re.compile(r"(\w+)/(\w+)")


Lookup = Callable[[str], Any]  # "package/msg/Type" -> message class


@dataclass(frozen=True, kw_only=True)
class Primitive:
    """A number, boolean or byte."""

    format: str
    name: str

    @property
    def smallest(self) -> int:
        """Bytes that a value takes at least."""
        return SIZES[self.format]


@dataclass(frozen=True, kw_only=True)
class String:
    """Text of 8-bit characters."""

    bound: int | None = None
    smallest: int = 4


@dataclass(frozen=True, kw_only=True)
class Array:
    """A run of elements: of fixed length, or a sequence with its length in front."""

    element: Element
    length: int | None = None  # None: a sequence
    bound: int | None = None

    @property
    def smallest(self) -> int:
        """Bytes that a value takes at least."""
        return 4 if self.length is None else self.length * self.element.smallest


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A message inside a message, or the message itself."""

    name: str
    fields: tuple[tuple[str, Element], ...]

    @property
    def smallest(self) -> int:
        """Bytes that a value takes at least."""
        return sum(element.smallest for _, element in self.fields)

    @property
    def is_fixed(self) -> bool:
        """Whether every value has the same leaves: numbers, or structures of numbers."""
        return all(
            isinstance(element, Primitive) or (isinstance(element, Structure) and element.is_fixed)
            for _, element in self.fields
        )


Element = Primitive | String | Array | Structure


def layout_of(type_name: str, lookup: Lookup) -> Structure:
    """Return the layout of a message type such as ``sensor_msgs/msg/Image``.

    Raises:
        UnsupportedCdrError: a field has a type that is not read here (wide strings).
    """
    fields = lookup(type_name).get_fields_and_field_types()
    if not fields:
        raise UnsupportedCdrError(f"{type_name}: expected fields, got none")
    return Structure(
        name=type_name,
        fields=tuple((name, _element(text, type_name, lookup)) for name, text in fields.items()),
    )


def _element(text: str, where: str, lookup: Lookup) -> Element:
    if text in PRIMITIVES:
        return Primitive(format=PRIMITIVES[text], name=text)
    if match := _STRING.fullmatch(text):
        return String(bound=_bound(match[1]))
    if match := _SEQUENCE.fullmatch(text):
        return _array(_element(match[1], where, lookup), where, bound=_bound(match[2]))
    if match := _ARRAY.fullmatch(text):
        return _array(_element(match[1], where, lookup), where, length=int(match[2]))
    if match := _NESTED.fullmatch(text):
        return layout_of(f"{match[1]}/msg/{match[2]}", lookup)
    raise UnsupportedCdrError(f"{where}: a field of type '{text}' is not read in place")


def _array(element: Element, where: str, **size: int | None) -> Array:
    if isinstance(element, Primitive) and element.name == "octet":
        raise UnsupportedCdrError(f"{where}: an array of bytes is not read in place")
    return Array(element=element, **size)


def _bound(text: str | None) -> int | None:
    return None if text is None else int(text)
