"""Options written as `name=value` into a dataclass of parameters, each text checked."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.schema import check_limits

T = TypeVar("T")


def options_of(
    cls: type[T],
    values: Mapping[str, str],
    where: str,
    *,
    error: type[EdgePerceptionError],
    **given: object,
) -> T:
    """Build a dataclass of texts and numbers.

    Args:
        cls: frozen dataclass of parameters.
        values: texts by name.
        where: before each name in a message.
        error: type of the error to raise.
        given: what is not to be had by name.

    Raises:
        error: a name is not known, or a value does not fit.
    """
    known: dict[str, Any] = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    kinds = typing.get_type_hints(cls)
    found: dict[str, object] = {}
    for name, text in values.items():
        if name not in known or name in given:
            names = [each for each in known if each not in given]
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise error(f"{where}.{name}: expected one of {', '.join(names)}{hint}")
        kind = kinds[name]
        try:
            found[name] = value = kind(text)
        except ValueError as cause:
            raise error(f"{where}.{name}: expected {kind.__name__}, got '{text}'") from cause
        check_limits(value, known[name].metadata, f"{where}.{name}")
    return cls(**given, **found)
