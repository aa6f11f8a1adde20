"""Health as data: what a part says of itself when asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

NOT_AS_ASKED = "not_as_asked"  # value of a node whose model runs otherwise than parameters ask for


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
    evidence_s: float = 0.0  # age of the evidence, steady clock
    period_s: float = math.inf  # of the evidence: an older one is not enough for OK

    @property
    def may_be_said(self) -> bool:
        """Whether the evidence is young enough for the level; anything but OK needs none."""
        return self.level is not Level.OK or self.evidence_s <= self.period_s


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


class Report:
    """Decides what is said when: at once when a level changes, else from time to time.

    OK is only said with evidence younger than a period. While a frame is overdue nothing is said:
    either it comes, or its own limit makes the level worse. What stays overdue for longer than the
    repetition, as only sources slower than it can, is said as a warning.
    """

    def __init__(self, *, repeat_s: float) -> None:
        self._repeat_ns = round(repeat_s * 1e9)
        self._said: dict[str, tuple[Level | None, int]] = {}  # level and when, by name

    def step(self, statuses: Mapping[str, Health], steady_ns: int) -> dict[str, Health]:
        """Return what is to be said now, of all that there is to say."""
        saying = {}
        for name, health in statuses.items():
            level, at_ns = self._said.setdefault(name, (None, steady_ns - self._repeat_ns))
            waited_ns = steady_ns - at_ns
            if health.level is level and waited_ns < self._repeat_ns:
                continue
            if not health.may_be_said:
                if waited_ns < 2 * self._repeat_ns:
                    continue
                text = f"last frame {health.evidence_s:.2f} s ago > {health.period_s:.2f} s"
                health = replace(health, level=Level.WARN, message=text)
            saying[name] = health
            self._said[name] = (health.level, steady_ns)
        return saying


def with_findings(health: Health, findings: Iterable[Health]) -> Health:
    """Return the health with what else was found; its evidence stays what it rests on."""
    said = worst(health, *findings)
    return replace(health, level=said.level, message=said.message, values=said.values)


def worst(*healths: Health) -> Health:
    """Return the worst level with every message of that level, and all values."""
    level = max(health.level for health in healths)
    said = [health.message for health in healths if health.level == level and health.message]
    messages = list(dict.fromkeys(said))  # what two of them say is said once
    values = {key: value for health in healths for key, value in health.values.items()}
    parts = {key: part for health in healths for key, part in health.parts.items()}
    return Health(level=level, message="; ".join(messages), values=values, parts=parts)
