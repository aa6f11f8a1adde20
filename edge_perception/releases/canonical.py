"""Canonical JSON: one text for one value, so that a signature covers the value."""

from __future__ import annotations

import json
from typing import Any

from edge_perception.core.errors import SignatureError


def canonical_json(value: Any) -> bytes:
    """Return sorted keys, no spaces, UTF-8, no NaN, and numbers without a fraction only.

    Floats are refused: their text is not the same in every language (as OLPC canonical JSON).

    Raises:
        SignatureError: the value holds a float or anything else JSON has no one text for.
    """
    _refuse_floats(value, "value")
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise SignatureError(f"canonical JSON: {error}") from error
    return text.encode("utf-8")


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise SignatureError(f"canonical JSON: {where}: expected no fraction, got {value!r}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SignatureError(f"canonical JSON: {where}: expected text keys, got {key!r}")
            _refuse_floats(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse_floats(item, f"{where}[{index}]")
