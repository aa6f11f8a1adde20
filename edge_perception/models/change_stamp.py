"""At which stamp all nodes change, so that no fused group of frames is cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

_MIN_GROUPS = 3


def change_stamp(groups: Sequence[tuple[int, int]], *, earliest_ns: int, latest_ns: int) -> int:
    """Return a stamp in the middle between two groups of frames that are fused together.

    Args:
        groups: oldest and newest stamp of the last fused groups, in order, ns.
        earliest_ns: when every node has surely heard of the change.
        latest_ns: where no gap is found by then, `earliest_ns` it is.
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
    middle_ns = newest_ns + gap_ns // 2
    if middle_ns < earliest_ns:
        middle_ns += -(-(earliest_ns - middle_ns) // period_ns) * period_ns
    return middle_ns if middle_ns <= latest_ns else earliest_ns
