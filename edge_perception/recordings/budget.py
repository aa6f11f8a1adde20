"""How many events an hour are kept, so that frequent kinds leave room for rare ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from edge_perception.core.parameter import parameter
from edge_perception.recordings.stamps import NS

_HOUR_NS = 3600 * NS


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """Events an hour; 0: as many as there are."""

    per_hour: int = parameter(0, "of all kinds together", low=0, high=100_000)
    per_kind: int = parameter(0, "of one kind", low=0, high=100_000)


class Budget:
    """Admits events over any hour. One place stays free for each kind that had none in it.

    Args:
        options: how many.
        kinds: all there are.
    """

    def __init__(self, options: BudgetOptions, kinds: Collection[str]) -> None:
        self._options = options
        self._kept: dict[str, deque[int]] = {kind: deque() for kind in kinds}
        self.swallowed: dict[str, int] = {}  # by kind, since the start

    def admits(self, kind: str, now_ns: int) -> bool:
        """Count an event; False: it is beyond the budget, and counted as such."""
        for kept in self._kept.values():
            while kept and not 0 <= now_ns - kept[0] < _HOUR_NS:  # over, or time went back
                kept.popleft()
        if self._is_beyond(kind):
            self.swallowed[kind] = self.swallowed.get(kind, 0) + 1
            return False
        self._kept.setdefault(kind, deque()).append(now_ns)
        return True

    def _is_beyond(self, kind: str) -> bool:
        options, own = self._options, len(self._kept.get(kind, ()))
        if options.per_kind and own >= options.per_kind:
            return True
        if not options.per_hour:
            return False
        used = sum(map(len, self._kept.values()))
        if used >= options.per_hour:
            return True
        # Where there are fewer places than kinds, the first come have them.
        others = sum(not kept for name, kept in self._kept.items() if name != kind)
        reserved = min(others, max(options.per_hour - 1, 0))
        return own > 0 and used + reserved >= options.per_hour
