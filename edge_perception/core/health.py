"""Health as data: what a part says of itself when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    parts: Mapping[str, Health] = field(default_factory=dict)  # of what it consists, by name


class Debounce:
    """Holds a level until a better one has lasted, so that a flickering fault stays visible.

    Worse levels pass at once: the evidence behind them has its own limits in time.
    """

    def __init__(self, clear_s: float) -> None:
        self._clear_ns = round(clear_s * 1e9)
        self._held: Health | None = None
        self._better_since_ns: int | None = None

    def step(self, health: Health, steady_ns: int) -> Health:
        """Return what to report now; values and parts are always the present ones."""
        held = self._held
        if held is None or health.level >= held.level:
            self._held, self._better_since_ns = health, None
            return health
        if self._better_since_ns is None:
            self._better_since_ns = steady_ns
        better_ns = steady_ns - self._better_since_ns
        if better_ns >= self._clear_ns:
            self._held, self._better_since_ns = health, None
            return health
        message = f"{held.message} (gone for {better_ns / 1e9:.1f} s)"
        return replace(health, level=held.level, message=message)


def worst(*healths: Health) -> Health:
    """Return the worst level with every message of that level, and all values."""
    level = max(health.level for health in healths)
    messages = [health.message for health in healths if health.level == level and health.message]
    values = {key: value for health in healths for key, value in health.values.items()}
    parts = {key: part for health in healths for key, part in health.parts.items()}
    return Health(level=level, message="; ".join(messages), values=values, parts=parts)
