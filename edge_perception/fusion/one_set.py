"""Features of two sets of models that replace one another never meet in one cycle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from edge_perception.fusion.config import NS
from edge_perception.fusion.state import Arrival

Sets = tuple[frozenset[str], ...]  # the feature spaces of each set
# Nodes that are told late change within this time. Two sets that both go on are no change: a
# manager that died between its messages leaves them so, and each has eyes that the other has not.
_CHANGE_NS = 5 * NS


def sets_of(spaces: Iterable[Collection[str]]) -> Sets:
    """Return sets, each once, in their order; what knows no space is none."""
    return tuple(dict.fromkeys(frozenset(each) for each in spaces if each))


def space_of(arrival: Arrival) -> str:
    """Return the feature space of a feature; empty: none."""
    return arrival.feature.model.feature_space


def fits(arrivals: Iterable[Arrival], sets: Sets) -> bool:
    """Whether one set has the spaces of all these; spaces of no set fit everywhere."""
    spaces = _spaces(arrivals, sets)
    return not spaces or any(spaces <= each for each in sets)


def of_set(
    arrivals: Mapping[str, Arrival], picks: Mapping[str, Arrival], sets: Sets
) -> dict[str, Arrival]:
    """Return the arrivals that may join these picks."""
    picked = list(picks.values())
    return {name: item for name, item in arrivals.items() if fits([*picked, item], sets)}


def largest_set(picks: Mapping[str, Arrival], sets: Sets) -> dict[str, Arrival]:
    """Return the picks of the set that most of them are of; of as many, the newest."""
    if fits(picks.values(), sets):
        return dict(picks)
    best: dict[str, Arrival] = {}
    for each in sets:
        others = frozenset().union(*sets) - each
        mine = {name: item for name, item in picks.items() if space_of(item) not in others}
        if (len(mine), _newest_ns(mine)) > (len(best), _newest_ns(best)):
            best = mine
    return best


def in_order(arrivals: Iterable[Arrival], sets: Sets) -> list[frozenset[str]]:
    """Return the sets that have features here, the one whose newest is oldest first."""
    newest_ns: dict[frozenset[str], int] = {}
    for item in arrivals:
        for each in sets:
            others = frozenset().union(*(other for other in sets if other is not each))
            if space_of(item) in each - others:
                newest_ns[each] = max(newest_ns.get(each, 0), item.stamp_ns)
    return sorted(newest_ns, key=lambda each: newest_ns[each])


class TwoSets:
    """For how long features of two sets have come side by side."""

    def __init__(self) -> None:
        self._since_ns: int | None = None  # steady clock

    def apart(self, newest: Iterable[Arrival], sets: Sets, now_ns: int) -> Sets:
        """Return the sets to keep apart: none where two go on for longer than any change takes.

        Args:
            newest: feature of each source that is in time.
            sets: those that replace one another.
            now_ns: steady clock.
        """
        if fits(newest, sets):
            self._since_ns = None
            return sets
        if self._since_ns is None:
            self._since_ns = now_ns
        return sets if now_ns - self._since_ns < _CHANGE_NS else ()


def _spaces(arrivals: Iterable[Arrival], sets: Sets) -> frozenset[str]:
    return frozenset(map(space_of, arrivals)) & frozenset().union(*sets)


def _newest_ns(picks: Mapping[str, Arrival]) -> int:
    return max((item.stamp_ns for item in picks.values()), default=0)
