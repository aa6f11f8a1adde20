"""What the fused views say of a change: those before it are sampled, those after it judged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.serialization import deserialize_message

from edge_perception import msg
from edge_perception.nodes.conversion import stamp_ns
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.releases.breaker import Watched
from edge_perception.releases.past import Past, ViewFacts, past_of
from edge_perception.releases.slo import Slo
from edge_perception.releases.watch import Burn, Watch

_BEFORE_PERIOD_S = 0.2  # views before a change are sampled
_MEMORY_PERIOD_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is to be done about the change that is watched."""

    watched: Watched
    warnings: tuple[str, ...]  # objectives that burn and do not roll back, not told yet
    burn: Burn | None  # that is to roll back
    over: bool  # the soak time
    memory_due: bool  # the nodes are to be asked for their memory


class WatchedViews:
    """Views come in the thread of a receiver, all else from other threads.

    Args:
        slo: what the operator asks.
    """

    def __init__(self, slo: Callable[[], Slo]) -> None:
        self._slo = slo
        self._lock = threading.Lock()
        self._before: deque[tuple[float, ViewFacts]] = deque()
        self._sampled_s = self._memory_s = 0.0
        self._memory_mb = 0.0
        self._watch: Watch | None = None
        self._watched: Watched | None = None
        self._from_stamp_ns = 0
        self._burn: Burn | None = None
        self._warned: set[str] = set()
        self._to_tell: list[str] = []

    @property
    def watched(self) -> Watched | None:
        """The change that is watched; None: there is none."""
        return self._watched

    @property
    def watched_s(self) -> float:
        """For how long views were judged, s."""
        watch = self._watch
        return 0.0 if watch is None else watch.watched_s

    def past(self, memory_mb: float) -> Past:
        """Return what a change that is decided now is held against.

        Args:
            memory_mb: of the nodes.
        """
        with self._lock:
            if self._watched is not None:  # two changes in a soak time: the time before both
                return self._watched.past
            return past_of(self._before, self._slo(), memory_mb=memory_mb)

    def begin(self, watched: Watched, from_stamp_ns: int, now_s: float) -> None:
        """Judge the views from a stamp on."""
        with self._lock:
            self._watch, self._watched = Watch(self._slo(), watched.past), watched
            self._from_stamp_ns, self._burn = from_stamp_ns, None
            self._warned.clear()
            self._memory_mb, self._memory_s = 0.0, now_s

    def end(self) -> Watched | None:
        """Judge no more, and return what was watched; those sampled before were of others."""
        with self._lock:
            watched, self._watch, self._watched, self._burn = self._watched, None, None, None
            self._before.clear()
        return watched

    def learn_memory(self, memory_mb: float) -> None:
        """Take the resident memory of the nodes."""
        with self._lock:
            self._memory_mb = memory_mb

    def add(self, data: bytes, now_s: float) -> bool:
        """Take a serialised view; return whether there is something to `take`."""
        with self._lock:
            watch = self._watch
            if watch is None and now_s < self._sampled_s + _BEFORE_PERIOD_S:
                return False
            if self._burn is not None:
                return False
            view = deserialize_message(data, msg.FusedPerception)
            facts = facts_of(view)
            if watch is None:
                self._sample(facts, now_s)
            elif stamp_ns(view.header.stamp) >= self._from_stamp_ns:
                return self._judge(watch, facts, now_s)
        return False

    def _sample(self, facts: ViewFacts, now_s: float) -> None:
        self._sampled_s = now_s
        self._before.append((now_s, facts))
        while self._before[0][0] < now_s - self._slo().watch.before_s:
            self._before.popleft()

    def _judge(self, watch: Watch, facts: ViewFacts, now_s: float) -> bool:
        watch.add_memory(self._memory_mb)
        watch.add(facts, now_s)
        for burn in watch.burns():
            self._note(burn, " (and did before the change)" if burn.before else "")
            if self._burn is not None:
                break
        return bool(self._burn or self._to_tell or watch.over or self._memory_due(now_s))

    def _note(self, burn: Burn, why: str = "") -> None:
        if burn.rolls_back:
            self._burn = burn
        elif burn.objective.name not in self._warned:
            self._warned.add(burn.objective.name)
            self._to_tell.append(f"{burn.text}{why}")

    def _memory_due(self, now_s: float) -> bool:
        return now_s > self._memory_s + _MEMORY_PERIOD_S

    def silence(self, now_s: float) -> Burn | None:
        """Return what a silence of all views breaks, and was not found before."""
        with self._lock:
            if self._watch is None or self._burn is not None:
                return None
            burn = self._watch.silence(now_s)
        return None if burn is None or burn.objective.name in self._warned else burn

    def note_silence(self, burn: Burn, watched: Watched | None) -> None:
        """Take that nobody asked for the silence that was found while `watched` was watched."""
        with self._lock:
            if self._watched is watched and self._burn is None:
                self._note(burn)

    def excuse_silence(self, now_s: float) -> None:
        """Take that somebody ended the views on purpose."""
        with self._lock:
            if self._watch is not None:
                self._watch.silence(now_s, asked_for=True)

    def take(self, now_s: float) -> Findings | None:
        """Return what is to be done, each warning once; None: nothing is watched."""
        with self._lock:
            warnings, self._to_tell = self._to_tell, []
            if self._watch is None or self._watched is None:
                return None
            memory_due = self._memory_due(now_s)
            if memory_due:
                self._memory_s = now_s
            return Findings(
                watched=self._watched,
                warnings=tuple(warnings),
                burn=self._burn,
                over=self._watch.over,
                memory_due=memory_due,
            )
