"""Every value that a field of a message can hold, one field after the other and several at once.

Walks the rosidl description of a type, so a field that is added later is tried without a word here.
"""

from __future__ import annotations

import importlib
import math
import random
import re
from array import array
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.serialization import serialize_message
from rosidl_parser.definition import (
    AbstractGenericString,
    AbstractNestedType,
    Array,
    BasicType,
    NamespacedType,
)

TEXTS = (
    "",
    "x",
    "camera",
    "lidar",
    "audio",
    "-1",
    "%s{}",
    "../../etc",
    "ä\U0001f600\n",
    "a" * 10**5,
)
FLOATS = (0.0, -1.0, 1e-30, math.nan, math.inf, -math.inf)
MOST_FLOAT = {"float": 3.4e38, "double": 1.7e308}
LONG = 5001
LOOKED_INTO = 6  # elements of a sequence of messages
LONG_BYTES = 200_000  # of the elements of a long sequence of messages, together


def spoiled(
    message: Any, rng: random.Random, *, fresh: Callable[[], None], mixed: int
) -> Iterator[tuple[str, bytes]]:
    """Yield a message serialised with one field wrong, for each field and each value of it.

    Args:
        message: a good one.
        rng: draws lengths and mixtures.
        fresh: makes `message` a new one, as its driver would, before each is spoiled: what a
            receiver knows already it does not look at.
        mixed: so many more with several fields wrong, and as many with some bytes wrong.

    Yields:
        What was done, and the bytes.
    """
    changes = [change for field in fields(message) for change in values(*field, rng)]
    several = [rng.sample(changes, min(len(changes), rng.randint(2, 5))) for _ in range(mixed)]
    for chosen in (*([change] for change in changes), *several):
        fresh()
        before = [(owner, name, getattr(owner, name)) for _, owner, name, _ in chosen]
        for _, owner, name, value in chosen:
            setattr(owner, name, value)
        yield " and ".join(item[0] for item in chosen), bytes(serialize_message(message))
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
    for _ in range(mixed):
        fresh()
        data = bytearray(serialize_message(message))
        places = [rng.randrange(len(data)) for _ in range(rng.randint(1, 8))]
        for place in places:
            data[place] = rng.randrange(256)
        length = rng.choice((len(data), rng.randrange(len(data))))
        yield f"{length} of {len(data)} bytes, wrong at {places}", bytes(data[:length])


def fields(message: Any, path: str = "") -> Iterator[tuple[str, Any, str, Any]]:
    """Yield path, owner, name and type of each field, those of nested messages too.

    Of a sequence the first elements are looked into.
    """
    for name, kind in zip(message.get_fields_and_field_types(), message.SLOT_TYPES, strict=True):
        here = f"{path}.{name}" if path else name
        value = getattr(message, name)
        if isinstance(kind, NamespacedType):
            yield from fields(value, here)
            continue
        yield here, message, name, kind
        of = getattr(kind, "value_type", None)
        if isinstance(of, NamespacedType):
            for index, element in enumerate(value[:LOOKED_INTO]):
                yield from fields(element, f"{here}[{index}]")


def values(
    path: str, owner: Any, name: str, kind: Any, rng: random.Random
) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield what a field can be: description, owner, name, value."""
    if isinstance(kind, AbstractNestedType):
        found = _sequences(getattr(owner, name), kind, rng)
    else:
        found = ((str(value)[:20], value) for value in _singles(kind))
    for text, value in found:
        yield f"{path} = {text}", owner, name, value


def _singles(kind: Any) -> list[Any]:
    if isinstance(kind, AbstractGenericString):
        return list(TEXTS)
    assert isinstance(kind, BasicType), kind
    if kind.typename == "boolean":
        return [True, False]
    if kind.typename in MOST_FLOAT:
        most = MOST_FLOAT[kind.typename]
        return [*FLOATS, most, -most]
    if kind.typename == "octet":
        return [b"\0", b"\xff"]
    bits = int(re.search(r"\d+", kind.typename)[0])
    signed = not kind.typename.startswith("u")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return sorted({low, high, 0, 1, *(n for n in (-1, 17, 200, 2**31) if low <= n <= high)})


def _sequences(now: Any, kind: Any, rng: random.Random) -> Iterator[tuple[str, Any]]:
    of = kind.value_type
    if isinstance(kind, Array):
        for value in _singles(of):
            yield f"all {value}", [value] * kind.size
        for value in _singles(of):
            one = list(now)
            one[rng.randrange(kind.size)] = value
            yield f"one {value}", one
        return
    yield "none", [] if not isinstance(now, array) else array(now.typecode)
    if isinstance(of, NamespacedType):
        element = now[0] if len(now) else message_class(of)()
        size = len(serialize_message(element))
        count = min(LONG, max(3, LONG_BYTES // size))
        yield f"{count} of the first", [element] * count
        yield "one with nothing in it", [message_class(of)()]
        yield "twice", [*now, *now]
    elif isinstance(of, AbstractGenericString):
        for text in TEXTS:
            yield f"one {text[:20]}", [text]
        yield "many", ["x" * 10] * LONG
    elif isinstance(now, array) and now.typecode == "B":
        yield "half", now[: len(now) // 2]
        yield "twice", now + now
        yield "noise", array("B", rng.randbytes(len(now)))
        yield "all at the end", array("B", b"\xff" * len(now))
        yield "one", array("B", b"\x01")
    else:
        for value in _singles(of):
            yield f"one {value}", [value]
            yield f"all {value}", [value] * len(now)
        yield "many", [_singles(of)[0]] * LONG


def message_class(kind: NamespacedType) -> type:
    """Return the class of a message type."""
    return getattr(importlib.import_module(".".join(kind.namespaces)), kind.name)
