"""What was sent to a node and did not arrive: a verdict over a window of the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Messages of one topic, since its subscription."""

    received: int = 0
    lost: int = 0  # sent, and never there


def how_to_arrive(topic: str) -> str:
    """Return what helps where messages get lost between two processes."""
    return (
        "start its driver with the environment of `edge-perception transport`, or make both sides "
        f"reliable (parameter qos_overrides.{topic}.subscription.reliability: reliable)"
    )


class ArrivalWindow:
    """Says how many of the last messages did not arrive."""

    WINDOW_S = 10.0
    STEP_S = 0.5
    LEAST_LOST = 3  # one message lost at a start is no news
    LEAST_SHARE = 0.02

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[int, Arrivals]]] = {}

    def step(self, arrivals: Mapping[str, Arrivals], steady_ns: int) -> dict[str, str]:
        """Take in the counts of now.

        Args:
            arrivals: by topic.
            steady_ns: steady clock.

        Returns:
            By topic, what to say of it where too much got lost.
        """
        return {
            topic: text
            for topic, counts in arrivals.items()
            if (text := self._finding(topic, counts, steady_ns))
        }

    def _finding(self, topic: str, now: Arrivals, steady_ns: int) -> str:
        seen = self._seen.setdefault(topic, deque([(steady_ns, now)]))
        if steady_ns - seen[-1][0] >= self.STEP_S * NS:
            seen.append((steady_ns, now))
        while len(seen) > 1 and steady_ns - seen[1][0] >= self.WINDOW_S * NS:
            seen.popleft()
        since_ns, then = seen[0]
        lost, received = now.lost - then.lost, now.received - then.received
        if lost < self.LEAST_LOST or lost < self.LEAST_SHARE * (lost + received):
            return ""
        return (
            f"{lost} of {lost + received} messages on {topic} did not arrive in the last "
            f"{(steady_ns - since_ns) / NS:.0f} s: {how_to_arrive(topic)}"
        )
