"""What a replay met and cost, counted on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge_perception.core.types import FrameLatency


@dataclass(kw_only=True)
class ReplayStats:
    """What a replay cost and what it met."""

    wall_s: float = 0.0  # without the loops of the bare models
    messages: int = 0
    outputs: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by topic or source
    undecoded: Counter[str] = field(default_factory=Counter)  # by topic: no such message
    first_error: dict[str, str] = field(default_factory=dict)
    clock_jumps: list[str] = field(default_factory=list)
    stamp_faults: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)  # by topic: the message before again
    notes: list[str] = field(default_factory=list)  # of inputs read otherwise than they say
    dropped: dict[str, int] = field(default_factory=dict)
    bare_s: float = 0.0  # inference alone in a loop, for as many frames
    work_s: float = 0.0  # the same with their pre- and postprocessing
    measured: dict[str, list[FrameLatency]] = field(default_factory=dict)
    fusion_measured_s: list[float] = field(default_factory=list)
    _last_stamp: dict[str, int] = field(default_factory=dict)

    def note_error(self, where: str, error: Exception) -> None:
        """Count an error of a topic or source; the first of each is kept."""
        self.errors[where] += 1
        self.first_error.setdefault(where, f"{error}")

    def note_stamp(self, topic: str, stamp_ns: int) -> None:
        """Count stamps of a topic that repeat or go back."""
        last_ns = self._last_stamp.get(topic)
        if last_ns is not None and stamp_ns <= last_ns:
            what = "repeat" if stamp_ns == last_ns else "go back"
            self.stamp_faults[f"{topic}: stamps {what}"] += 1
        self._last_stamp[topic] = stamp_ns
