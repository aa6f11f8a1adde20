"""Reading JSON files that people or other programs wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: expected JSON: {error}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ConfigurationError: it cannot be read, or holds something else.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data
