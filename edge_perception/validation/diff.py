"""What changed between two runs of one recording: messages, states, timing, objects, sounds.

Both are streams in order of publication, paired by `pairing`; `changes` names what differs in a
pair, here it is counted and judged.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_perception.validation.changes import (
    TrackPairs,
    by_source,
    condition_changes,
    object_changes,
    sound_changes,
    state_changes,
    timing_changes,
)
from edge_perception.validation.findings import Finding
from edge_perception.validation.metrics import well_apart
from edge_perception.validation.pairing import Record, distance_m, match_objects, pair
from edge_perception.validation.thresholds import Tolerances

NS = 1_000_000_000
_CANDIDATES = 32  # of the frames that differ most
_COUNTERS = ("received", "dropped", "refused", "late")


@dataclass(kw_only=True)
class _Tally:
    """Equal differences of many messages."""

    count: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf

    def add(self, time_s: float) -> None:
        self.count += 1
        self.first_s = min(self.first_s, time_s)
        self.last_s = max(self.last_s, time_s)


@dataclass(frozen=True, kw_only=True)
class WorstFrame:
    """A message that differs most from its baseline."""

    cost: float
    time_s: float
    current: Record | None
    baseline: Record | None


@dataclass(kw_only=True)
class Comparison:
    """The outcome of a diff."""

    messages: int = 0
    paired: int = 0
    added: int = 0
    removed: int = 0
    objects: int = 0
    objects_same: int = 0
    objects_added: int = 0
    objects_removed: int = 0
    objects_changed: int = 0
    max_position_m: float = 0.0
    max_score: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    worst: list[WorstFrame] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not any(finding.failed for finding in self.findings)


class Differ:
    """Compares two streams of records.

    Args:
        tolerances: what counts as a difference.
        start_ns: start of the recording; times are told from there.
        min_score: lowest score that is published now, for objects at the edge.
        min_score_then: the same in the baseline.
    """

    def __init__(
        self,
        tolerances: Tolerances,
        *,
        start_ns: int,
        min_score: float,
        min_score_then: float,
    ) -> None:
        self._tolerances = tolerances
        self._start_ns = start_ns
        self._least = {"removed": min_score, "added": min_score_then}
        self._tallies: dict[tuple[str, str], _Tally] = defaultdict(_Tally)
        self._touched: dict[str, int] = defaultdict(int)  # kind -> messages with it
        self._last_touched: dict[str, int] = {}
        self._events = self._events_different = 0
        self._heap: list[tuple[float, int, WorstFrame]] = []
        self._gaps: dict[tuple[str, str], int] = {}
        self._tracks = TrackPairs()
        self.result = Comparison()

    def run(self, current: Iterable[Record], baseline: Iterable[Record]) -> Comparison:
        """Compare, and name what fails."""
        for now, then in pair(current, baseline):
            self.result.messages += 1
            time_s = ((now or then or {})["published_ns"] - self._start_ns) / NS
            if now is None or then is None:
                cost = self._alone(now, then, time_s)
            else:
                cost = self._both(now, then, time_s)
            self._keep_worst(cost, time_s, now, then)
        self._judge()
        return self.result

    def _alone(self, now: Record | None, then: Record | None, time_s: float) -> float:
        """Note a message that has no partner; return how bad that is."""
        what = "removed" if now is None else "added"
        self.result.removed += now is None
        self.result.added += then is None
        self._note("messages", f"message {what}, mode {(then or now or {})['mode']}", time_s)
        return 1.0

    def _both(self, now: Record, then: Record, time_s: float) -> float:
        """Note what differs in a pair; return how much."""
        self.result.paired += 1
        for text in state_changes(now, then):
            self._note("states", text, time_s)
        for text in condition_changes(now, then):
            self._note("conditions", text, time_s)
        self._frames(now, then, time_s)
        for text in timing_changes(now, then, self._tolerances):
            self._note("timing", text, time_s)
        sounds, events = sound_changes(now, then, self._tolerances)
        self._events += events
        self._events_different += len(sounds)
        for text in sounds:
            self._note("events", text, time_s)
        return self._objects(now, then, time_s)

    def _note(self, kind: str, text: str, time_s: float) -> None:
        self._tallies[kind, text].add(time_s)
        if self._last_touched.get(kind) != self.result.messages:
            self._last_touched[kind] = self.result.messages
            self._touched[kind] += 1

    def _frames(self, now: Record, then: Record, time_s: float) -> None:
        """Name frames by the message in which a counter of a source leaves the baseline's."""
        others = by_source(then)
        for status in now["sources"]:
            other = others.get(status["source"])
            if other is None:
                continue
            for counter in _COUNTERS:
                key = (status["source"], counter)
                gap = status[counter] - other[counter]
                more = gap - self._gaps.get(key, 0)
                self._gaps[key] = gap
                if more:
                    word = "more" if more > 0 else "fewer"
                    self._note("frames", f"{status['source']} {abs(more)} {word} {counter}", time_s)

    def _objects(self, now: Record, then: Record, time_s: float) -> float:
        result, cost = self.result, 0.0
        pairs, added, removed = match_objects(
            now["objects"], then["objects"], self._tolerances.match_m
        )
        result.objects += len(pairs) + len(added) + len(removed)
        for item, other in pairs:
            moved_m = distance_m(item["center_m"], other["center_m"])
            result.max_position_m = max(result.max_position_m, moved_m)
            result.max_score = max(result.max_score, abs(item["score"] - other["score"]))
            changes = list(object_changes(item, other, self._tolerances))
            if switched := self._tracks.change(item, other):
                changes.append(switched)
            for text in changes:
                self._note("objects", text, time_s)
            result.objects_changed += bool(changes)
            result.objects_same += not changes
            cost += 0.5 * bool(changes)
        for items, what in ((added, "added"), (removed, "removed")):
            for item in items:
                beyond = item["score"] - self._least[what]
                if abs(beyond) <= self._tolerances.edge_score:  # by a hair
                    result.objects_same += 1
                    continue
                cost += 1.0
                name = f"objects_{what}"
                setattr(result, name, getattr(result, name) + 1)
                self._note("objects", f"{item['class_name']} {what}", time_s)
        return cost

    def _keep_worst(
        self, cost: float, time_s: float, now: Record | None, then: Record | None
    ) -> None:
        if cost > 0.0:
            frame = WorstFrame(cost=cost, time_s=time_s, current=now, baseline=then)
            heapq.heappush(self._heap, (cost, -self.result.messages, frame))
            if len(self._heap) > _CANDIDATES:
                heapq.heappop(self._heap)

    def _judge(self) -> None:
        result, limits = self.result, self._tolerances
        total = max(result.messages, 1)
        different = result.objects_added + result.objects_removed + result.objects_changed
        shares = {
            "messages": ((result.added + result.removed) / total, limits.messages_share),
            "states": (self._touched["states"] / total, limits.states_share),
            "conditions": (self._touched["conditions"] / total, limits.conditions_share),
            "frames": (self._touched["frames"] / total, limits.frames_share),
            "timing": (self._touched["timing"] / total, limits.timing_share),
            "objects": (different / max(result.objects, 1), limits.objects_share),
            "events": (self._events_different / max(self._events, 1), limits.events_share),
        }
        for (kind, text), tally in self._tallies.items():
            share, allowed = shares[kind]
            result.findings.append(
                Finding(
                    kind=kind,
                    text=text,
                    count=tally.count,
                    first_s=tally.first_s,
                    last_s=tally.last_s,
                    failed=share > allowed,
                )
            )
        ranked = [item[-1] for item in sorted(self._heap, key=lambda x: (-x[0], -x[1]))]
        result.worst = well_apart(ranked, lambda frame: frame.time_s)
