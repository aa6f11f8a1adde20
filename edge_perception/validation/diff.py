"""What changed between two runs of one recording: messages, states, timing, objects, sounds.

Both are streams in order of publication. Messages are paired by the nearest time of publication,
the objects of a pair by the nearest centre.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_perception.validation.metrics import well_apart
from edge_perception.validation.thresholds import Thresholds, Tolerances

NS = 1_000_000_000
PAIR_NS = 60_000_000
_CANDIDATES = 32  # of the frames that differ most
_COUNTERS = ("received", "dropped", "refused", "late")
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of difference, named."""

    kind: str  # model, parameter, messages, states, frames, timing, objects, events, limit
    text: str
    count: int = 1
    first_s: float | None = None  # since the start of the recording
    last_s: float | None = None
    failed: bool = True

    def line(self) -> str:
        """Say it in one line."""
        where = ""
        if self.first_s is not None and self.last_s is not None:
            where = f" at {self.first_s:.2f} s"
            if self.last_s - self.first_s > 1e-6:
                where = f" from {self.first_s:.2f} to {self.last_s:.2f} s"
        times = f" ({self.count} x)" if self.count > 1 else ""
        return f"{self.kind}: {self.text}{where}{times}"


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
        self.result = Comparison()

    def run(self, current: Iterable[Record], baseline: Iterable[Record]) -> Comparison:
        """Compare, and name what fails."""
        result = self.result
        for now, then in pair(current, baseline):
            result.messages += 1
            index = result.messages
            time_s = ((now or then or {})["published_ns"] - self._start_ns) / NS
            cost = 0.0
            if now is None or then is None:
                what = "removed" if now is None else "added"
                result.removed += now is None
                result.added += then is None
                mode = (then or now or {})["mode"]
                self._note("messages", f"message {what}, mode {mode}", time_s, index)
                cost = 1.0
            else:
                result.paired += 1
                self._states(now, then, time_s, index)
                self._frames(now, then, time_s, index)
                self._timing(now, then, time_s, index)
                cost = self._objects(now, then, time_s, index)
                self._sounds(now, then, time_s, index)
            self._keep_worst(cost, time_s, index, now, then)
        self._judge()
        return result

    def _note(self, kind: str, text: str, time_s: float, index: int) -> None:
        self._tallies[kind, text].add(time_s)
        if self._last_touched.get(kind) != index:
            self._last_touched[kind] = index
            self._touched[kind] += 1

    def _states(self, now: Record, then: Record, time_s: float, index: int) -> None:
        for key in ("mode", "valid", "level", "closed_by"):
            if now[key] != then[key]:
                kind = "timing" if key == "closed_by" else "states"
                self._note(kind, f"{key} {then[key]} became {now[key]}", time_s, index)
        others = {status["source"]: status for status in then["sources"]}
        for status in now["sources"]:
            name = status["source"]
            other = others.pop(name, None)
            if other is None:
                self._note("states", f"source {name} is new", time_s, index)
                continue
            if status["state"] != other["state"]:
                text = f"{name} {other['state']} became {status['state']}"
                self._note("states", text, time_s, index)
            if status["contributed"] != other["contributed"]:
                verb = (
                    "contributes now" if status["contributed"] else "does not contribute any more"
                )
                self._note("states", f"{name} {verb}", time_s, index)
        for name in others:
            self._note("states", f"source {name} is gone", time_s, index)

    def _frames(self, now: Record, then: Record, time_s: float, index: int) -> None:
        """Name frames by the message in which a counter of a source leaves the baseline's."""
        others = {status["source"]: status for status in then["sources"]}
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
                    text = f"{status['source']} {abs(more)} {word} {counter}"
                    self._note("frames", text, time_s, index)

    def _timing(self, now: Record, then: Record, time_s: float, index: int) -> None:
        limits = self._tolerances
        others = {status["source"]: status for status in then["sources"]}
        for status in now["sources"]:
            other = others.get(status["source"])
            if other is None or not (status["contributed"] and other["contributed"]):
                continue
            shift_ms = (status["stamp_ns"] - other["stamp_ns"]) / 1e6
            if abs(shift_ms) > limits.stamp_ms:
                text = f"{status['source']} stamps shifted by {shift_ms:+.1f} ms"
                self._note("timing", text, time_s, index)
        shift_ms = (now["published_ns"] - then["published_ns"]) / 1e6
        if abs(shift_ms) > limits.published_ms:
            side = "later" if shift_ms > 0 else "earlier"
            self._note("timing", f"published {side}", time_s, index)
        if now["deadline_missed"] != then["deadline_missed"]:
            verb = "missed" if now["deadline_missed"] else "kept"
            self._note("timing", f"deadline {verb} now", time_s, index)

    def _objects(self, now: Record, then: Record, time_s: float, index: int) -> float:
        result, cost = self.result, 0.0
        pairs, added, removed = match_objects(
            now["objects"], then["objects"], self._tolerances.match_m
        )
        result.objects += len(pairs) + len(added) + len(removed)
        for item, other in pairs:
            changes = self._changes(item, other)
            if changes:
                result.objects_changed += 1
                cost += 0.5
                for text in changes:
                    self._note("objects", text, time_s, index)
            else:
                result.objects_same += 1
        for items, what in ((added, "added"), (removed, "removed")):
            for item in items:
                beyond = item["score"] - self._least[what]
                if abs(beyond) <= self._tolerances.edge_score:  # by a hair
                    result.objects_same += 1
                    continue
                cost += 1.0
                name = f"objects_{what}"
                setattr(result, name, getattr(result, name) + 1)
                self._note("objects", f"{item['class_name']} {what}", time_s, index)
        return cost

    def _changes(self, item: Record, other: Record) -> list[str]:
        limits, result, changes = self._tolerances, self.result, []
        moved_m = _distance(item["center_m"], other["center_m"])
        scored = abs(item["score"] - other["score"])
        result.max_position_m = max(result.max_position_m, moved_m)
        result.max_score = max(result.max_score, scored)
        if item["class_name"] != other["class_name"]:
            changes.append(f"{other['class_name']} became {item['class_name']}")
        if moved_m > limits.position_m:
            changes.append(f"{item['class_name']} moved")
        if scored > limits.score:
            changes.append(f"{item['class_name']} score changed")
        if _largest(item["size_m"], other["size_m"]) > limits.size_m:
            changes.append(f"{item['class_name']} size changed")
        turned = abs(math.remainder(item["yaw_rad"] - other["yaw_rad"], math.tau))
        if math.degrees(turned) > limits.yaw_deg:
            changes.append(f"{item['class_name']} heading changed")
        speed, before = _velocity(item), _velocity(other)
        if (speed is None) != (before is None):
            verb = "not told any more" if speed is None else "told now"
            changes.append(f"{item['class_name']} velocity {verb}")
        elif speed and before and _distance(speed, before) > limits.velocity_mps:
            changes.append(f"{item['class_name']} velocity changed")
        return changes

    def _sounds(self, now: Record, then: Record, time_s: float, index: int) -> None:
        def key(event: Record) -> tuple:
            return event["source"], event["class_name"]

        left = {key(event): event for event in then["sound_events"]}
        for event in now["sound_events"]:
            self._events += 1
            other = left.pop(key(event), None)
            if other is None:
                self._event(f"{event['class_name']} added", time_s, index)
            elif abs(event["score"] - other["score"]) > self._tolerances.score:
                self._event(f"{event['class_name']} score changed", time_s, index)
            elif _turned_deg(event, other) > self._tolerances.bearing_deg:
                self._event(f"{event['class_name']} bearing changed", time_s, index)
        for event in left.values():
            self._events += 1
            self._event(f"{event['class_name']} removed", time_s, index)

    def _event(self, text: str, time_s: float, index: int) -> None:
        self._events_different += 1
        self._note("events", text, time_s, index)

    def _keep_worst(
        self, cost: float, time_s: float, index: int, now: Record | None, then: Record | None
    ) -> None:
        if cost > 0.0:
            frame = WorstFrame(cost=cost, time_s=time_s, current=now, baseline=then)
            heapq.heappush(self._heap, (cost, -index, frame))
            if len(self._heap) > _CANDIDATES:
                heapq.heappop(self._heap)

    def _judge(self) -> None:
        result, limits = self.result, self._tolerances
        total = max(result.messages, 1)
        different = result.objects_added + result.objects_removed + result.objects_changed
        shares = {
            "messages": ((result.added + result.removed) / total, limits.messages_share),
            "states": (self._touched["states"] / total, limits.states_share),
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


def pair(
    current: Iterable[Record], baseline: Iterable[Record]
) -> Iterator[tuple[Record | None, Record | None]]:
    """Pair two streams by time of publication; None: the other has no partner."""
    left, right = _Peek(current), _Peek(baseline)
    while left.head is not None or right.head is not None:
        if left.head is None or right.head is None:
            yield left.take(), right.take()
            continue
        gap = left.head["published_ns"] - right.head["published_ns"]
        # A partner may be nearer to the one after: then the first stands alone.
        if abs(gap) <= PAIR_NS and not _better_next(left, right, gap):
            yield left.take(), right.take()
        elif gap > 0:
            yield None, right.take()
        else:
            yield left.take(), None


def _better_next(left: _Peek, right: _Peek, gap: int) -> bool:
    earlier, other = (right, left) if gap > 0 else (left, right)
    following = earlier.following
    if following is None or other.head is None:
        return False
    return abs(following["published_ns"] - other.head["published_ns"]) < abs(gap)


class _Peek:
    """An iterator with two items in sight."""

    def __init__(self, items: Iterable[Record]) -> None:
        self._items = iter(items)
        self.head = next(self._items, None)
        self.following = next(self._items, None)

    def take(self) -> Record | None:
        head, self.head = self.head, self.following
        self.following = next(self._items, None) if self.head is not None else None
        return head


def match_objects(
    now: list[Record], then: list[Record], match_m: float
) -> tuple[list[tuple[Record, Record]], list[Record], list[Record]]:
    """Pair objects by the nearest centre, equal classes first; return the others too."""
    near = sorted(
        (a["class_name"] != b["class_name"], distance, i, j)
        for i, a in enumerate(now)
        for j, b in enumerate(then)
        # Most are far apart already by their first coordinate.
        if abs(a["center_m"][0] - b["center_m"][0]) <= match_m
        and (distance := _distance(a["center_m"], b["center_m"])) <= match_m
    )
    left, right, pairs = set(range(len(now))), set(range(len(then))), []
    for _, _, i, j in near:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((now[i], then[j]))
    return pairs, [now[i] for i in sorted(left)], [then[j] for j in sorted(right)]


def compare_heads(
    parameters: Mapping[str, Any],
    models: Mapping[str, Mapping[str, str]],
    baseline: Any,
    thresholds: Thresholds,
) -> list[Finding]:
    """Name models and parameters that are not those of the baseline."""
    findings = []
    for name in sorted({*models, *baseline.models}):
        now, then = models.get(name), baseline.models.get(name)
        if now is None or then is None or now["sha256"] != then["sha256"]:
            text = f"{name}: {_model_text(then)} became {_model_text(now)}"
            failed = not thresholds.models_may_change
            findings.append(Finding(kind="model", text=text, failed=failed))
    for name in sorted({*parameters, *baseline.parameters}):
        now, then = parameters.get(name), baseline.parameters.get(name)
        if name not in baseline.parameters:
            # Of newer code: nobody changed it, and what it does shows in the messages.
            text = f"{name}: {now}, which the baseline's code did not have"
            findings.append(Finding(kind="parameter", text=text, failed=False))
        elif not _equal(now, then):
            failed = not thresholds.parameters_may_change
            text = f"{name}: {then} became {now}"
            findings.append(Finding(kind="parameter", text=text, failed=failed))
    return findings


def _equal(now: Any, then: Any) -> bool:
    if isinstance(now, (list, tuple)) and isinstance(then, (list, tuple)):
        return len(now) == len(then) and all(map(_equal, now, then))
    if isinstance(now, float) or isinstance(then, float):
        if now is None or then is None or isinstance(now, str) or isinstance(then, str):
            return False
        return math.isclose(now, then, rel_tol=1e-9, abs_tol=1e-9)
    return bool(now == then)


def _model_text(model: Mapping[str, str] | None) -> str:
    return f"{model['name']} {model['version']} ({model['sha256'][:12]})" if model else "none"


def _velocity(item: Record) -> Sequence[float] | None:
    """Return the velocity of an object; None: it is not known."""
    velocity = item.get("velocity_mps")
    return velocity if velocity and velocity[0] is not None else None


def _turned_deg(event: Record, other: Record) -> float:
    """Return how far a bearing turned; infinite: one of two has none."""
    now, then = event.get("bearing_rad"), other.get("bearing_rad")
    if now is None or then is None:
        return 0.0 if now is then else math.inf
    return abs(math.degrees(math.remainder(now - then, math.tau)))


def _distance(a: Any, b: Any) -> float:
    return math.dist(a[:2], b[:2])


def _largest(a: Any, b: Any) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
