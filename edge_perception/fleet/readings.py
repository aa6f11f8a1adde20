"""What a robot tells its fleet: readings by kind, as JSON of a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edge_perception.core.errors import FleetError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode

MOST_NUMBER = 2**63 - 1  # that a database holds
# Most important first: where room is short, the last go first.
PRIORITIES: Mapping[str, int] = {
    "versions": 0,  # what serves: release digests by role, rollouts, who the robot is
    "event": 0,  # a step of a change of models, with its reason: evidence of trials too
    "sample": 1,  # a recording that was uploaded
    "slo": 1,  # views and bad ones of them, by objective
    "drift": 1,
    "metric": 2,
}
LEAST = max(PRIORITIES.values())
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One thing told, at a time of the robot's clock."""

    kind: str = parameter(choices=tuple(PRIORITIES))
    stamp_ns: int = parameter(low=0, high=MOST_NUMBER)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def priority(self) -> int:
        """Its importance; 0 is the most."""
        return PRIORITIES[self.kind]


# What is decided and shown by, of each kind. A robot may tell more.


@dataclass(frozen=True, kw_only=True)
class _Versions:
    device_class: str = ""
    groups: tuple[str, ...] = ()
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by role


@dataclass(frozen=True, kw_only=True)
class _Event:
    event: str = ""
    error: bool = False
    reason: str = ""
    transaction: str = ""
    models: Mapping[str, str] = field(default_factory=dict)  # digests by role


@dataclass(frozen=True, kw_only=True)
class _Sample:
    sha256: str
    name: str
    bytes: int = parameter(low=0, high=MOST_NUMBER)
    storage: str


@dataclass(frozen=True, kw_only=True)
class _Views:
    views: int = parameter(0, low=0, high=MOST_NUMBER)
    bad: Mapping[str, int] = field(default_factory=dict)  # by objective
    models: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Drift:
    source: str = ""
    drift: str = ""


_SHAPES: Mapping[str, type] = {
    "versions": _Versions,
    "event": _Event,
    "sample": _Sample,
    "slo": _Views,
    "drift": _Drift,
}


def check(reading: Reading, where: str) -> None:
    """Refuse a reading whose data are not what its kind says.

    Raises:
        FleetError: a field is missing, of another type, or no database could hold it.
    """
    shape = _SHAPES.get(reading.kind)
    if shape is None:
        return
    known = {item.name for item in fields(shape)}
    told = {name: value for name, value in reading.data.items() if name in known}
    decode(shape, told, f"{where}.{reading.kind}", error=FleetError)
    _check_texts(told, f"{where}.{reading.kind}")


def _check_texts(value: object, where: str) -> None:
    """Refuse texts that PostgreSQL or UTF-8 cannot hold."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            _check_texts(name, where)
            _check_texts(each, f"{where}.{name}")
    elif isinstance(value, (list, tuple)):
        for each in value:
            _check_texts(each, where)
    elif isinstance(value, str):
        check_text(value, where)


def check_text(text: str, where: str) -> None:
    """Refuse a text that PostgreSQL or UTF-8 cannot hold.

    Raises:
        FleetError: it is one.
    """
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise FleetError(f"{where}: expected a text, got {text[:80]!r}")


def encode_reading(reading: Reading) -> bytes:
    """Return a reading as it is kept."""
    return _JSON.encode(vars(reading)).encode("utf-8")
