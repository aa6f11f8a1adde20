"""A circuit breaker: a server that fails is left alone for a while, then asked once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BreakerLimits:
    """When a breaker opens, and for how long."""

    failures: int = 3  # in a row
    open_s: float = 1.0  # at first; doubled at each probe that fails
    most_open_s: float = 30.0


class Breaker:
    """Closed: requests pass. Open: none does. Half open: one does, and decides."""

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._failures = 0
        self._open_until_s: float | None = None
        self._open_s = limits.open_s

    @property
    def closed(self) -> bool:
        """Whether requests pass as they come."""
        return self._open_until_s is None

    def allows(self, now_s: float) -> bool:
        """Whether a request may be sent now (steady clock)."""
        return self._open_until_s is None or now_s >= self._open_until_s

    def succeeded(self) -> None:
        """Note an answer: all is well again."""
        self._failures, self._open_until_s, self._open_s = 0, None, self._limits.open_s

    def failed(self, now_s: float) -> None:
        """Note a failure (steady clock)."""
        self._failures += 1
        if self._open_until_s is not None:  # the probe failed
            self._open_s = min(self._open_s * 2, self._limits.most_open_s)
        elif self._failures < self._limits.failures:
            return
        self._open_until_s = now_s + self._open_s
