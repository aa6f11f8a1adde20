"""Requests that nobody sane would send: every service of a node, every field, at its limits."""

from __future__ import annotations

import importlib
import math
import random
import re
from typing import Any

from rclpy.node import Node
from rosidl_parser.definition import (
    AbstractGenericString,
    AbstractNestedType,
    Array,
    BasicType,
    NamespacedType,
)

TEXTS = ("", "x", "camera", "fusion", "../../etc/passwd", "ä\U0001f600", "%s{}", "a" * 5000, "NaN")
FLOATS = (0.0, -1.0, 1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324)


def services_of(driver: Node, node: str) -> dict[str, type]:
    """Return the service types of a node by name, those of its actions too."""
    found = driver.get_service_names_and_types_by_node(node, "/")
    return {name: service_type(types[0]) for name, types in found}


def service_type(text: str) -> type:
    package, kind, name = text.split("/")
    module = importlib.import_module(f"{package}.{kind}")
    if kind == "action" and (match := re.match(r"(\w+)_(SendGoal|GetResult)$", name)):
        return getattr(getattr(module, match[1]).Impl, f"{match[2]}Service")
    return getattr(module, name)


def hostile(cls: type, rng: random.Random, texts: tuple[str, ...] = TEXTS) -> Any:
    """Return a message with every field at some limit."""
    message = cls()
    for name, kind in zip(cls.get_fields_and_field_types(), cls.SLOT_TYPES, strict=True):
        setattr(message, name, _value(kind, rng, texts))
    return message


def _value(kind: Any, rng: random.Random, texts: tuple[str, ...]) -> Any:
    if isinstance(kind, AbstractNestedType):
        size = kind.size if isinstance(kind, Array) else rng.choice((0, 1, 3))
        return [_value(kind.value_type, rng, texts) for _ in range(size)]
    if isinstance(kind, NamespacedType):
        module = importlib.import_module(".".join(kind.namespaces))
        whole, _, part = kind.name.partition("_")  # of an action: SwapModel_Goal
        found = getattr(module, whole)
        return hostile(getattr(found, part) if part else found, rng, texts)
    if isinstance(kind, AbstractGenericString):
        return rng.choice(texts)
    assert isinstance(kind, BasicType)
    if kind.typename == "boolean":
        return rng.random() < 0.5
    if kind.typename in ("float", "double"):
        limit = 3.4e38 if kind.typename == "float" else math.inf
        return rng.choice([f for f in FLOATS if not math.isfinite(f) or abs(f) <= limit])
    if kind.typename == "octet":
        return bytes([rng.randrange(256)])
    bits = int(re.search(r"\d+", kind.typename)[0])
    low, high = (
        (0, 2**bits - 1)
        if kind.typename.startswith("u")
        else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    )
    return rng.choice((low, high, 0, 1, 7, rng.randint(low, high)))
