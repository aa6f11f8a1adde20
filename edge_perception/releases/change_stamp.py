"""At which stamp all nodes change, so that no fused group of frames is cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

_MIN_GROUPS = 3
_MARGIN_NS = 5_000_000  # drivers do not stamp to the nanosecond


def change_stamp(
    groups: Sequence[tuple[int, int]],
    *,
    earliest_ns: int,
    latest_ns: int,
    soonest: bool = False,
) -> int:
    """Return a stamp in the middle between two groups of frames that are fused together.

    Args:
        groups: oldest and newest stamp of the last fused groups, in order, ns.
        earliest_ns: when every node has surely heard of the change.
        latest_ns: where no gap is found by then, `earliest_ns` it is.
        soonest: take the first stamp of a gap that is not too early, not its middle.
    """
    newest = [group[1] for group in groups]
    steps = [after - before for before, after in pairwise(newest)]
    if len(groups) < _MIN_GROUPS or min(steps) <= 0:
        return earliest_ns
    period_ns = round(median(steps))
    oldest_ns, newest_ns = groups[-1]
    gap_ns = oldest_ns + period_ns - newest_ns
    if gap_ns <= 0:
        return earliest_ns
    if soonest:
        margin_ns = min(gap_ns // 4, _MARGIN_NS)
        since_ns = (earliest_ns - newest_ns) % period_ns
        if margin_ns <= since_ns <= gap_ns - margin_ns:
            return earliest_ns
        stamp_ns = earliest_ns + (margin_ns - since_ns) % period_ns
        return stamp_ns if stamp_ns <= latest_ns else earliest_ns
    middle_ns = newest_ns + gap_ns // 2
    if middle_ns < earliest_ns:
        middle_ns += -(-(earliest_ns - middle_ns) // period_ns) * period_ns
    return middle_ns if middle_ns <= latest_ns else earliest_ns
