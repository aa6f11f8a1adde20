"""The canonical form of a fused output: one line of JSON, the same bytes for the same view."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

from edge_perception.core.types import PublishedView

_OF_LOAD = ("inferred_stamp_ns", "skipped", "given_up")  # fields of a source's status


def record_of(output: PublishedView) -> dict[str, Any]:
    """Return what one published message says, as plain data; NaN and Inf become null.

    Of load control nothing is said while nothing is given up, and of servers nothing while they say
    nothing, as always in lock step.
    """
    plain = _plain(output.view)
    assert isinstance(plain, dict)
    for status in plain["sources"]:
        for name in _OF_LOAD:
            if not status[name]:
                del status[name]
    if not plain["late_evidence"]:  # of servers, which lock step has none of
        del plain["late_evidence"]
    del plain["opened_steady_ns"]  # a clock that starts with the replay
    plain["conditions"] = [
        {"name": name, "confidence": _plain(sure)} for name, sure in output.view.conditions.told
    ]
    plain["published_ns"] = output.at_ns
    plain["end_to_end_s"] = _plain(output.end_to_end_s)
    plain["deadline_missed"] = output.deadline_missed
    return plain


def line_of(record: Mapping[str, Any]) -> bytes:
    """Return the canonical line: sorted keys, no spaces, shortest exact numbers."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


class FusedWriter:
    """Writes canonical lines and their SHA-256 as they come; nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.count = 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        line = line_of(record)
        self._hash.update(line)
        self._file.write(line)
        self.count += 1

    @property
    def sha256(self) -> str:
        """Digest of all lines so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the file."""
        self._file.close()


@cache
def _fields(kind: type) -> tuple[str, ...]:
    """Return the names of a dataclass; empty: it is none."""
    return tuple(field.name for field in dataclasses.fields(kind)) if is_dataclass(kind) else ()


def _plain(value: Any) -> Any:
    kind: Any = type(value)  # as a key of the cache, too
    if kind is float:
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is tuple or kind is list:
        return [_plain(item) for item in value]
    if names := _fields(kind):
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, int) else _plain(float(value))  # NumPy's numbers
