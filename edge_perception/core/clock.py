"""Clocks as arguments: core code never reads one by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from edge_perception.core.types import Instant


class Clock(Protocol):
    """Tells the present moment on both clocks."""

    def now(self) -> Instant:
        """Return the present moment."""
        ...


class SystemClock:
    """Steady clock of the machine, and a node clock given as a function of no arguments."""

    def __init__(self, node_clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._node_clock_ns = node_clock_ns

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(node_ns=self._node_clock_ns(), steady_ns=time.monotonic_ns())


class FakeClock:
    """A clock that moves only when told to; the two hands can be moved apart."""

    def __init__(self, *, node_ns: int = 1_000_000_000_000, steady_ns: int = 0) -> None:
        self._instant = Instant(node_ns=node_ns, steady_ns=steady_ns)

    def now(self) -> Instant:
        """Return the present moment."""
        return self._instant

    def advance(self, seconds: float) -> Instant:
        """Move both hands forward by `seconds` and return the new moment."""
        step_ns = round(seconds * 1e9)
        self._instant = Instant(
            node_ns=self._instant.node_ns + step_ns, steady_ns=self._instant.steady_ns + step_ns
        )
        return self._instant

    def jump_node_clock(self, seconds: float) -> Instant:
        """Move only the node clock, forward or backward, as a clock step or a bag loop does."""
        self._instant = Instant(
            node_ns=self._instant.node_ns + round(seconds * 1e9),
            steady_ns=self._instant.steady_ns,
        )
        return self._instant
