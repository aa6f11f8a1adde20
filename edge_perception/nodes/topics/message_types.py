"""Message classes by type name."""

from __future__ import annotations

import importlib
from typing import Any

from edge_perception.core.errors import ConfigurationError


def message_type(name: str) -> Any:
    """Return the class of a type such as ``sensor_msgs/msg/Image``.

    Raises:
        ConfigurationError: no such package or type is installed.
    """
    try:
        package, kind, type_name = name.split("/")
        return getattr(importlib.import_module(f"{package}.{kind}"), type_name)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"message type '{name}': expected package/msg/Type of an installed package: {error}"
        ) from error


def is_installed(name: str) -> bool:
    """Return whether the type's package is there."""
    try:
        message_type(name)
    except ConfigurationError:
        return False
    return True
