"""Frames that were lost because the machine is slow, and because of changes, counted apart.

Under load an encoder that is behind takes the newest frame and overwrites the one before, with or
without a change. So the share of lost frames while nothing changes is the baseline of the run, and
what is lost beyond it in the changes is theirs.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_perception.bench._swap_check import RunSeen

TAIL_S = 1.0  # after its stamp a change still costs time: sessions are closed, models are kept
_SIGMAS = 3.0


@dataclass(kw_only=True)
class Loss:
    """Frames of one part of a run."""

    frames: int = 0
    lost: int = 0

    @property
    def share(self) -> float:
        """Lost of all."""
        return self.lost / self.frames if self.frames else 0.0


def count_losses(run: RunSeen) -> dict[str, Any]:
    """Return lost frames while nothing changed, in changes, and those that changes cost."""
    steady, changes = Loss(), Loss()
    spans = _spans(run)
    for source, stamps in run.sent.items():
        seen = {feature.stamp_ns for feature in run.features if feature.source == source}
        if not seen:
            continue  # all are lost, which is told elsewhere
        first, last = min(seen), max(seen)
        for stamp in stamps:
            if first <= stamp <= last:
                part = changes if _inside(spans, stamp) else steady
                part.frames += 1
                part.lost += stamp not in seen
    expected = steady.share * changes.frames
    return {
        "lost_steady": steady.lost,
        "lost_steady_percent": round(100 * steady.share, 3),
        "lost_in_changes": changes.lost,
        "lost_in_changes_percent": round(100 * changes.share, 3),
        "lost_by_changes": max(round(changes.lost - expected), 0),
        "lost_by_changes_surely": changes.lost > expected + _SIGMAS * math.sqrt(expected),
        "overwritten": _overwritten(run),
        "frames_steady": steady.frames,
        "frames_in_changes": changes.frames,
    }


def _overwritten(run: RunSeen) -> int:
    """Return how many frames the encoders themselves say that they overwrote."""
    total = 0
    for source in run.sent:
        counts = [feature.dropped for feature in run.features if feature.source == source]
        total += max(counts) - min(counts) if counts else 0
    return total


def _spans(run: RunSeen) -> list[tuple[int, int]]:
    """Return from when to when changes may cost time, joined where they meet."""
    joined: list[tuple[int, int]] = []
    for swap in sorted(run.swaps, key=lambda swap: swap.requested_ns):
        end_ns = max(swap.stamp_ns, swap.answered_ns) + round(TAIL_S * 1e9)
        if joined and swap.requested_ns <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_ns))
        else:
            joined.append((swap.requested_ns, end_ns))
    return joined


def _inside(spans: Sequence[tuple[int, int]], stamp_ns: int) -> bool:
    index = bisect.bisect_right(spans, (stamp_ns, 2**63)) - 1
    return index >= 0 and stamp_ns <= spans[index][1]
