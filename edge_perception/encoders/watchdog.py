"""Decides what to do about an inference that does not end. Pure logic; steady clock only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from edge_perception.core.parameter import parameter

NS = 1_000_000_000


class Remedy(Enum):
    """What a hung inference needs."""

    NONE = "none"
    NEW_SESSION = "new session"  # load the model again and go on in a new thread
    NEW_PROCESS = "new process"  # end the process; whoever supervises starts it again


@dataclass(frozen=True, kw_only=True)
class WatchdogLimits:
    """When an inference counts as hung, and how often a session may be replaced."""

    hung_after_budgets: float = parameter(
        20.0,
        "an inference longer than this many budgets is hung; 0: no watchdog",
        unit="budgets",
        low=0.0,
        high=10000.0,
        dynamic=True,
    )
    hung_after_s: float = parameter(
        2.0, "but not before this time", unit="s", low=0.05, high=3600.0, dynamic=True
    )
    session_restarts: int = parameter(
        2,
        "new sessions within a minute until the process ends to be started anew",
        low=0,
        high=1000,
        dynamic=True,
    )


class InferenceWatchdog:
    """Looks at how long the inference thread has been busy."""

    WINDOW_NS = 60 * NS

    def __init__(self) -> None:
        self._restarts: deque[int] = deque()

    def look(
        self, *, busy_s: float, budget_s: float, limits: WatchdogLimits, steady_ns: int
    ) -> Remedy:
        """Return the remedy; a new session is counted when it is asked for."""
        limit_s = hung_limit_s(budget_s, limits)
        if not limit_s or busy_s <= limit_s:
            return Remedy.NONE
        while self._restarts and steady_ns - self._restarts[0] > self.WINDOW_NS:
            self._restarts.popleft()
        if len(self._restarts) >= limits.session_restarts:
            return Remedy.NEW_PROCESS
        self._restarts.append(steady_ns)
        return Remedy.NEW_SESSION


def hung_limit_s(budget_s: float, limits: WatchdogLimits) -> float:
    """Return the longest inference that is not hung, s; 0: no watchdog."""
    if not limits.hung_after_budgets:
        return 0.0
    return max(limits.hung_after_s, limits.hung_after_budgets * budget_s)
