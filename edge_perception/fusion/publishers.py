"""Who publishes a source: the first one that is heard, until it is gone.

Two encoders that publish one source, as after a second launch, give features of two views of the
world in turn. Neither is to be preferred by guess, so the second is refused and named for as long
as it speaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Publisher(Protocol):
    """A publisher as fusion sees it; equal: the same one."""

    def name(self) -> str:
        """Return what a reader finds it by."""
        ...

    def present(self) -> bool:
        """Whether it still exists, as far as is known."""
        ...


@dataclass(frozen=True, kw_only=True)
class Route:
    """By which way a feature came in."""

    source: str  # whose topic it was, or whose encoder
    publisher: Publisher | None = None  # None: cannot be told apart
    name: str = ""  # of the topic, for texts


class PublisherWatch:
    """Remembers the publisher of one source."""

    def __init__(self) -> None:
        self._known: Publisher | None = None
        self._heard_ns = 0

    def refusal(self, publisher: Publisher | None, now_ns: int, quiet_ns: int) -> str:
        """Say why a feature of a publisher is refused; empty: it is not.

        Args:
            publisher: who sent it.
            now_ns: steady clock.
            quiet_ns: silence after which the known one has left its place to another. One that
                ended orderly leaves it at once.
        """
        if publisher is None:
            return ""
        known = self._known
        if known is None or publisher == known:
            self._known, self._heard_ns = publisher, now_ns
            return ""
        if now_ns - self._heard_ns > quiet_ns or not known.present():
            self._known, self._heard_ns = publisher, now_ns
            return ""
        return f"second publisher: {publisher.name()} beside {known.name()}"
