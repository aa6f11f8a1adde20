"""Message types by name: their classes, and the definitions a recording carries."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError

_BUILTIN = frozenset(("bool", "byte", "char", "float32", "float64", "string", "wstring")) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_CONSTANT = re.compile(r"\s*\S+\s+[A-Z][A-Z0-9_]*\s*=")
_SEPARATOR = "=" * 80


def message_class(type_name: str) -> Any:
    """Return the Python class of a type such as ``sensor_msgs/msg/PointCloud2``.

    Raises:
        ConfigurationError: the name is malformed or the package is not installed.
    """
    package, name = split_type(type_name)
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"message type: expected one of the installed packages, got '{type_name}': {error}"
        ) from error


def split_type(type_name: str) -> tuple[str, str]:
    """Split ``package/msg/Name`` into package and name.

    Raises:
        ConfigurationError: the name has another form.
    """
    parts = type_name.split("/")
    if len(parts) != 3 or parts[1] != "msg" or not all(parts):
        raise ConfigurationError(f"message type: expected package/msg/Name, got '{type_name}'")
    return parts[0], parts[2]


@cache
def full_definition(type_name: str) -> str:
    """Return the ``ros2msg`` definition of a type followed by all types it contains.

    The form is the one of rosbag2: definitions separated by a line of 80 equals signs and a line
    ``MSG: package/Name``.

    Raises:
        ConfigurationError: a definition is not installed.
    """
    package, name = split_type(type_name)
    text = _definition_text(package, name)
    parts = [text]
    for other_package, other in _contained(package, text, seen={(package, name)}):
        body = _definition_text(other_package, other)
        parts.append(f"{_SEPARATOR}\nMSG: {other_package}/{other}\n{body}")
    return "\n".join(parts)


def starts_with_header(type_name: str) -> bool:
    """Whether the first field of a type is a ``std_msgs/Header``."""
    package, name = split_type(type_name)
    first = next(iter(_field_types(package, _definition_text(package, name))), None)
    return first == ("std_msgs", "Header")


def _contained(package: str, text: str, seen: set[tuple[str, str]]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for field in _field_types(package, text):
        if field is not None and field not in seen:
            seen.add(field)
            found.append(field)
            found.extend(_contained(field[0], _definition_text(*field), seen))
    return found


def _field_types(package: str, text: str) -> list[tuple[str, str] | None]:
    """Return one entry a field: (package, name) of messages, None for builtins."""
    types: list[tuple[str, str] | None] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) < 2 or _CONSTANT.match(line):
            continue
        base = words[0].split("[", 1)[0].split("<", 1)[0]
        if base in _BUILTIN:
            types.append(None)
        elif "/" in base:
            parts = base.split("/")
            types.append((parts[0], parts[-1]))
        else:
            types.append(("std_msgs" if base == "Header" else package, base))
    return types


@cache
def _definition_text(package: str, name: str) -> str:
    from ament_index_python.packages import (
        PackageNotFoundError,
        get_package_share_directory,
    )

    try:
        path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise ConfigurationError(
            f"message type {package}/msg/{name}: its definition is not installed: {error}"
        ) from error
