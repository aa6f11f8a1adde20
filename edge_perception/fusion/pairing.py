"""How sources of one rate pair: by their stamps alone, whatever the pairs of before were.

Stamps of one rate lie on a circle of one period. A set of them begins somewhere on it, and is the
narrower the larger the gap before its first. Where gaps are as large, as with two sensors half a
period apart, several ways of pairing are as good, and each goes on as it once began.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_perception.fusion.state import Arrival, SourceTrack

JITTER_SHARE = 10  # of a period: stamps of two live sources vary by so much against each other


class Pairing:
    """The set that stamps ask for, of sources of one rate."""

    __slots__ = ("_most_ns", "_offsets_ns", "_periods_ns", "_reference", "_spread_ns")

    def __init__(self, stamps_ns: Mapping[str, int], periods_ns: Mapping[str, int]) -> None:
        """Decide how sources pair.

        Least spread is best; of as good sets that in which the first source by name is earliest.

        Args:
            stamps_ns: one of each source, two or more.
            periods_ns: of the same sources, as good as equal.
        """
        self._reference = min(stamps_ns)
        self._periods_ns = periods_ns
        period_ns = periods_ns[self._reference]
        at_ns = {
            name: (stamp_ns - stamps_ns[self._reference]) % period_ns
            for name, stamp_ns in stamps_ns.items()
        }
        order = sorted(at_ns.values())
        # Of each stamp that a set may begin with: its spread, and how much later the reference is.
        sets = [
            ((before - first) % period_ns, -first % period_ns)
            for before, first in zip([order[-1], *order], order, strict=False)
        ]
        slack_ns = period_ns // (2 * JITTER_SHARE)  # sets by so much wider are as good
        as_good_ns = min(sets)[0] + slack_ns
        self._spread_ns, lead_ns = min(
            (each for each in sets if each[0] <= as_good_ns), key=lambda each: each[1]
        )
        self._offsets_ns = {
            name: (at + lead_ns) % period_ns - lead_ns for name, at in at_ns.items()
        }
        self._most_ns = max(stamps_ns.values()) - min(stamps_ns.values()) + slack_ns

    @property
    def is_as_good(self) -> bool:
        """Whether sets of this pairing are about as narrow as the stamps that were given."""
        return self._spread_ns <= self._most_ns

    def newest_set(self, unused: Mapping[str, Sequence[Arrival]]) -> dict[str, Arrival] | None:
        """Return the newest set that is complete and as good; None: there is none."""
        for first in reversed(unused[self._reference]):
            near = {name: self._near(unused[name], name, first) for name in self._offsets_ns}
            found = {name: item for name, item in near.items() if item is not None}
            stamps = [item.stamp_ns for item in found.values()]
            if len(found) == len(near) and max(stamps) - min(stamps) <= self._most_ns:
                return found
        return None

    def complete_ns(self, unused: Mapping[str, Sequence[Arrival]]) -> int:
        """Return when the next set is to be complete, with some jitter; steady clock."""
        first = unused[self._reference][0]
        ends_ns = [0]
        for name, period_ns in self._periods_ns.items():
            if self._near(unused[name], name, first) is None:
                after_ns = period_ns + 2 * period_ns // JITTER_SHARE
                ends_ns.append(unused[name][-1].arrived_ns + after_ns)
        return max(ends_ns)

    def _near(self, items: Sequence[Arrival], name: str, reference: Arrival) -> Arrival | None:
        wanted_ns = reference.stamp_ns + self._offsets_ns[name]
        best = min(items, key=lambda item: abs(item.stamp_ns - wanted_ns))
        within = 2 * abs(best.stamp_ns - wanted_ns) < self._periods_ns[name]
        return best if within else None


def pairing_of(picks: Mapping[str, Arrival], tracks: Mapping[str, SourceTrack]) -> Pairing | None:
    """Return how the slowest of the picked sources pair; None: a single one is slowest.

    What is faster has a frame near by in any case.
    """
    periods_ns = {name: tracks[name].period_ns for name in picks}
    slowest_ns = max(periods_ns.values(), default=0)
    alike = {
        name: period_ns
        for name, period_ns in periods_ns.items()
        if (slowest_ns - period_ns) * JITTER_SHARE < slowest_ns
    }
    if len(alike) < 2:
        return None
    return Pairing({name: picks[name].stamp_ns for name in alike}, alike)
