"""Evidence of servers that comes after its frame was fused: held for a time, and never more.

It stands beside the view. No state, mode, object or confidence rests on it.
"""

from __future__ import annotations

import threading
from collections import Counter

from edge_perception.core.types import LateEvidence
from edge_perception.fusion.plausible import implausible_evidence

_NS = 1_000_000_000
MOST_ITEMS = 500  # boxes and events of one source: what is held is sent with every view


class LateBoard:
    """The newest evidence of each source. Any thread may use it."""

    def __init__(self, sources: tuple[str, ...], hold_s: float) -> None:
        """Hold nothing yet.

        Args:
            sources: of this fusion; of others nothing is taken.
            hold_s: how long after the doubtful frame its evidence is held.
        """
        self._sources, self._hold_ns = frozenset(sources), round(hold_s * _NS)
        self._held: dict[str, LateEvidence] = {}
        self._lock = threading.Lock()
        self.refused: Counter[str] = Counter()  # by reason
        self.taken = 0

    def put(self, evidence: LateEvidence, now_ns: int) -> str:
        """Take evidence; return why it is refused, empty: it is held.

        Args:
            evidence: of a server.
            now_ns: node clock.
        """
        reason = self._refusal(evidence, now_ns)
        with self._lock:
            if reason:
                self.refused[reason] += 1
            else:
                self._held[evidence.source] = evidence
                self.taken += 1
        return reason

    def _refusal(self, evidence: LateEvidence, now_ns: int) -> str:
        held = self._held.get(evidence.source)
        items = len(evidence.objects) + len(evidence.image_objects) + len(evidence.sound_events)
        if evidence.source not in self._sources:
            return "of no source"
        if not 0 < evidence.stamp_ns <= evidence.asked_stamp_ns <= now_ns:
            return "stamps out of order"
        if now_ns - evidence.asked_stamp_ns > self._hold_ns:
            return "too late"
        if items > MOST_ITEMS:
            return "too much"
        if implausible_evidence(evidence):
            return "cannot be true"
        # A backward jump of the clock began a new time: what is held is of another one.
        if held is not None and evidence.asked_stamp_ns < held.asked_stamp_ns <= now_ns:
            return "older than what is held"
        return ""

    def values(self) -> dict[str, str]:
        """Return what was taken and refused, for people."""
        refused = ", ".join(f"{why} {n}" for why, n in sorted(self.refused.items()))
        return {"late_evidence": f"{self.taken} taken; refused: {refused or 'none'}"}

    def held(self, now_ns: int) -> tuple[LateEvidence, ...]:
        """Return what is held at a moment of the node clock, by source."""
        if not self._held:
            return ()
        with self._lock:
            self._held = {
                source: evidence
                for source, evidence in self._held.items()
                if 0 <= now_ns - evidence.asked_stamp_ns <= self._hold_ns
            }
            return tuple(self._held[source] for source in sorted(self._held))
