"""Strict decoding of plain data (JSON, YAML) into frozen dataclasses.

Unknown fields, missing fields, wrong types and values out of range are refused with the path of
the field: ``manifest.inputs[0].shape: expected a list of integers, got 'large'``. A field states
its limits with `core.parameter`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union

from edge_perception.core.errors import ConfigurationError

T = TypeVar("T")
NOTHING = "nothing"  # what was got where a value is missing


def decode(
    cls: type[T],
    data: object,
    where: str,
    *,
    error: type[ConfigurationError] | type[Exception] = ConfigurationError,
) -> T:
    """Build dataclass `cls` from a mapping.

    Args:
        cls: a dataclass; nested dataclasses, tuples, lists, mappings, enums and optionals work.
        data: what a JSON or YAML parser returned.
        where: name of the whole, first part of every path in a message.
        error: type of the error to raise.

    Raises:
        error: the data does not fit; the text names the field, expected and got.
    """
    try:
        return typing.cast(T, _decode(cls, data, where))
    except MisfitError as misfit:
        raise error(str(misfit)) from None


class MisfitError(ConfigurationError):
    """A value does not fit its field."""

    def __init__(self, where: str, expected: str, got: object) -> None:
        said = got if got is NOTHING else repr(got)
        super().__init__(f"{where}: expected {expected}, got {said}")
        self.where, self.expected = where, expected


def _decode(kind: Any, data: object, where: str) -> object:
    origin, args = _parts(kind)
    if kind is Any or kind is object:
        return data
    if origin in (Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        return _decode(next(a for a in args if a is not type(None)), data, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, where)
    if origin in (tuple, list):
        return _decode_sequence(origin, args, data, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise MisfitError(where, "a mapping", data)
        return {
            _decode(args[0], key, where): _decode(args[1], value, f"{where}.{key}")
            for key, value in data.items()
        }
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = {member.name.lower(): member for member in kind}
        if not isinstance(data, str) or data.lower() not in names:
            raise MisfitError(where, f"one of {', '.join(names)}", data)
        return names[data.lower()]
    return _decode_scalar(kind, data, where)


def _decode_scalar(kind: type, data: object, where: str) -> object:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(data, kind) and not (isinstance(data, bool) and kind is not bool):
        return data
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    raise MisfitError(where, names.get(kind, kind.__name__), data)


def _decode_sequence(origin: type, args: tuple, data: object, where: str) -> object:
    if not isinstance(data, (list, tuple)):
        raise MisfitError(where, "a list", data)
    if origin is tuple and Ellipsis not in args:
        if len(data) != len(args):
            raise MisfitError(where, f"a list of {len(args)}", list(data))
        kinds = list(args)
    else:
        kinds = [args[0]] * len(data)
    items = [
        _decode(kind, item, f"{where}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, data, strict=True))
    ]
    return origin(items)


def _decode_dataclass(cls: Any, data: object, where: str) -> object:
    if not isinstance(data, Mapping):
        raise MisfitError(where, "a mapping", data)
    fields = _fields(cls)
    for name in data:
        if name not in fields:
            raise MisfitError(f"{where}.{name}", f"one of {', '.join(sorted(fields))}", name)
    values = {}
    for name, (field, kind) in fields.items():
        path = f"{where}.{name}"
        if name in data:
            values[name] = _decode_field(kind, data[name], field.metadata, path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise MisfitError(path, _allowed("a value", field.metadata), NOTHING)
    return cls(**values)


def _decode_field(kind: Any, data: object, metadata: Mapping[str, Any], where: str) -> object:
    given = switch_text(data, metadata)
    try:
        value = _decode(kind, given, where)
    except MisfitError as misfit:
        if misfit.where != where:  # it is about a part of the value, which has limits of its own
            raise
        raise MisfitError(where, _allowed(misfit.expected, metadata), given) from None
    check_limits(value, metadata, where)
    return value


def _allowed(kind: str, metadata: Mapping[str, Any]) -> str:
    """Say of what type a value must be, and what else its field asks."""
    if "choices" in metadata:
        return limits_text(metadata)
    if "min" in metadata or "max" in metadata:
        return f"{kind}, {limits_text(metadata)}"
    return kind


@lru_cache(maxsize=256)
def _parts(kind: Any) -> tuple[Any, tuple]:
    return typing.get_origin(kind), typing.get_args(kind)


@lru_cache(maxsize=256)
def _fields(cls: Any) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Fields of a dataclass with their types, which take long to resolve."""
    hints = typing.get_type_hints(cls)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(cls)}


def check_limits(value: object, metadata: Mapping[str, Any], where: str) -> None:
    """Raise when `value` is outside min, max or choices of its field's metadata."""
    if value is None:
        return
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        raise MisfitError(where, limits_text(metadata), value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    low, high = metadata.get("min", float("-inf")), metadata.get("max", float("inf"))
    if not low <= value <= high:  # also refuses NaN
        raise MisfitError(where, limits_text(metadata), value)


def switch_text(value: object, metadata: Mapping[str, Any]) -> object:
    """Return true as "true" where a field is one of true, false and a third: YAML has no quotes."""
    if isinstance(value, bool) and {"true", "false"} <= set(metadata.get("choices", ())):
        return "true" if value else "false"
    return value


def limits_text(metadata: Mapping[str, Any]) -> str:
    """Say what a field's metadata allows, for example ``0 to 1 s``."""
    if "choices" in metadata:
        return f"one of {', '.join(map(str, metadata['choices']))}"
    unit = f" {metadata['unit']}" if metadata.get("unit") else ""
    low, high = metadata.get("min", float("-inf")), metadata.get("max", float("inf"))
    return f"{low:g} to {high:g}{unit}"
