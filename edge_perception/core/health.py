"""Health as data: what a part says of itself when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, kw_only=True)
class Health:
    """What a part says of itself."""

    level: Level
    message: str
    values: Mapping[str, str] = field(default_factory=dict)


def worst(*healths: Health) -> Health:
    """Return the worst level with every message of that level, and all values."""
    level = max(health.level for health in healths)
    messages = [health.message for health in healths if health.level == level and health.message]
    values = {key: value for health in healths for key, value in health.values.items()}
    return Health(level=level, message="; ".join(messages), values=values)
