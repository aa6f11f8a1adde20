"""Messages of the pipeline to values of the metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edge_perception.core.conditions import CONDITIONS
from edge_perception.core.health import Level
from edge_perception.core.types import ClosedBy, FusionLevel, Mode, SourceState
from edge_perception.observe.metrics.board import Board
from edge_perception.observe.metrics.catalogue import (
    EVENTS,
    FUSION_STAGES,
    METRICS,
    NODE_STALE_S,
    STAGES,
    STALE_S,
)
from edge_perception.observe.metrics.drift_values import DriftValues
from edge_perception.observe.metrics.told import Told
from edge_perception.releases.past import ViewFacts, is_bad
from edge_perception.releases.slo import EVENTS as EVENT_INDICATORS
from edge_perception.releases.slo import Slo

_NOT_LOST = 10_000  # a larger gap of sequences is another publisher
_MOST_NAMES = 64  # of sources and nodes that are kept; labels have their own bound
# What the newest view says of now; dropped once it is old.
_OF_VIEW = (
    "mode",
    "fused_valid",
    "confidence_ratio",
    "safe_stop",
    "objects",
    "model",
    "condition_confidence_ratio",
    "speed_advice_meters_per_second",
)
_BURNS = ("burns", "burnt")  # events: warned of, and rolled back for
_OF_DRIFT = ("drift_known", "drifted_quantities", "drift_psi")
_OF_SOURCES = (
    "source_state",
    "source_doubtful",
    "source_rate_hertz",
    "source_age_seconds",
    "source_silence_seconds",
    "source_clock_offset_seconds",
)


class PipelineState:
    """Takes messages from any thread; the board holds what they say.

    Args:
        slo: the operator's objectives; those that are held against single views are counted.
        facts: what a message of `perception/fused` tells of the objectives.
        started_ns: steady clock.
        started_stamp_ns: node clock: older events of models were before us.
    """

    def __init__(
        self,
        slo: Slo,
        facts: Callable[[Any], ViewFacts],
        *,
        started_ns: int,
        started_stamp_ns: int,
    ) -> None:
        self.board = Board(METRICS)
        self._named = [o.name for o in slo.objectives]
        self._objectives = [o for o in slo.objectives if o.indicator in EVENT_INDICATORS]
        self._facts = facts
        self._view: Any = None
        self._whole: Callable[[], Any] | None = None
        self._view_ns = started_ns
        self._started_stamp_ns = started_stamp_ns
        self._counted: dict[str, tuple[int, int]] = {}  # stamp of the newest feature, by source
        self._levels: dict[str, tuple[str, int]] = {}  # level and when it was said, by node
        self._drift: dict[str, tuple[DriftValues, int]] = {}  # and when it was said, by source
        self.told = Told()
        for name in self._named:
            self.board.add("slo_burns", name, by=0.0)
        for objective in self._objectives:
            for name in ("slo_events", "slo_good_events"):
                self.board.add(name, objective.name, by=0.0)

    def on_view(self, view: Any, steady_ns: int, *, whole: Callable[[], Any] | None = None) -> None:
        """Take a message of `perception/fused`.

        Args:
            view: the message; models and conditions may be missing in it where `whole` has them.
            steady_ns: when it came.
            whole: returns all of the message; asked when the metrics are read, which most views
                do not live to see.

        Raises:
            ValueError: a mode, level or state of another version of the message; nothing of it is
                counted.
        """
        mode, level, closed_by = (
            Mode(view.mode).name,
            FusionLevel(view.level).name,
            ClosedBy(view.closed_by).name,
        )
        for status in view.sources:
            SourceState(status.state)
        facts, board = self._facts(view), self.board
        with board.lock:
            self._count_gap(view)
            self._view, self._view_ns, self._whole = view, steady_ns, whole
            board.add("fused_views", mode, str(view.valid).lower())
            board.add("fused_level_views", level)
            board.add("fused_cycles", closed_by)
            board.observe("end_to_end_seconds", value=view.end_to_end_s)
            for stage in FUSION_STAGES:
                board.observe("fusion_stage_seconds", stage, value=getattr(view, f"{stage}_s"))
            for status in view.sources:
                self._count_source(status)
            for objective in self._objectives:
                board.add("slo_events", objective.name)
                board.add("slo_good_events", objective.name, by=not is_bad(objective, facts))

    def _count_gap(self, view: Any) -> None:
        if self._view is not None:
            missed = view.sequence - self._view.sequence - 1
            if 0 < missed < _NOT_LOST:
                self.board.add("metrics_missed_views", by=missed)

    def _count_source(self, status: Any) -> None:
        board, source = self.board, status.source
        board.add("source_contributed_views", source, by=status.contributed)
        stamp = (status.stamp.sec, status.stamp.nanosec)
        if not status.contributed or self._counted.get(source) == stamp:
            return
        if source not in self._counted and len(self._counted) >= _MOST_NAMES:
            return
        self._counted[source] = stamp
        for stage in STAGES:
            board.observe(
                "stage_seconds", source, stage, value=getattr(status.latency, f"{stage}_s")
            )

    def on_event(self, event: Any) -> None:
        """Take a message of `model_events`.

        The topic keeps old ones for those who come later: they were before us and are not counted.
        """
        kind = event_kind(event.event)
        stamp_ns = event.stamp.sec * 10**9 + event.stamp.nanosec
        with self.board.lock:
            self.board.put("model_event_timestamp_seconds", kind, value=stamp_ns / 1e9)
            if stamp_ns >= self._started_stamp_ns:
                self.board.add("model_events", kind, str(event.error).lower())
                if kind in _BURNS:
                    self._count_burn(event.reason)

    def _count_burn(self, reason: str) -> None:
        """Count a burn for the objective that `releases/watch.py` begins its reason with."""
        for name in self._named:
            if reason.startswith(f"{name}: "):
                self.board.add("slo_burns", name)

    def on_status(self, node: str, level: int, steady_ns: int) -> None:
        """Take what a node says of itself.

        Args:
            node: its name.
            level: of diagnostic_msgs/DiagnosticStatus.
            steady_ns: when it came.

        Raises:
            ValueError: no such level.
        """
        with self.board.lock:
            self._levels[node] = (Level(level).name, steady_ns)
            while len(self._levels) > _MOST_NAMES:
                self._levels.pop(next(iter(self._levels)))

    def on_drift(self, source: str, said: DriftValues, steady_ns: int) -> None:
        """Take what the encoder of a source says of drift."""
        with self.board.lock:
            self._drift[source] = (said, steady_ns)
            while len(self._drift) > _MOST_NAMES:
                self._drift.pop(next(iter(self._drift)))

    def on_bad_message(self, topic: str) -> None:
        """Count a message that could not be read."""
        with self.board.lock:
            self.board.add("metrics_bad_messages", topic)

    def silence_s(self, steady_ns: int) -> float:
        """Return the time since the newest view, or since the start."""
        return (steady_ns - self._view_ns) / 1e9

    def totals(self, *names: str) -> dict[str, float]:
        """Return the sums of counters."""
        with self.board.lock:
            return {name: self.board.total(name) for name in names}

    def refresh(self, steady_ns: int) -> None:
        """Let the gauges say what is so now; before they are read."""
        board = self.board
        with board.lock:
            board.forget(*_OF_VIEW, *_OF_SOURCES, *_OF_DRIFT)
            silence_s = self.silence_s(steady_ns)
            board.put("fused_silence_seconds", value=silence_s)
            if self._whole is not None:
                self._view, self._whole = self._whole(), None
            if self._view is not None:
                self._show_counters(self._view)
                if silence_s <= STALE_S:
                    self._show_view(self._view)
                    self._show_sources(self._view.sources)
            for node, (level, at_ns) in self._levels.items():
                stale = (steady_ns - at_ns) / 1e9 > NODE_STALE_S
                board.choose("node_level", node, chosen=Level.STALE.name if stale else level)
            for source, (said, at_ns) in self._drift.items():
                if (steady_ns - at_ns) / 1e9 <= NODE_STALE_S:
                    self._show_drift(source, said)
            self.told.show(board, steady_ns)

    def _show_drift(self, source: str, said: DriftValues) -> None:
        board = self.board
        board.put("drift_known", source, value=said.known)
        if said.known:
            board.put("drifted_quantities", source, value=len(said.drifted))
        for quantity, psi in said.psi.items():
            board.put("drift_psi", source, quantity, value=psi)

    def _show_counters(self, view: Any) -> None:
        """Show what others count: it stays, as a counter does, when they fall silent."""
        board = self.board
        board.put("deadline_misses", value=view.deadline_missed_total)
        for status in view.sources:
            name = status.source
            board.put("source_features", name, value=status.received)
            board.put("source_drops", name, "overwritten", value=status.dropped)
            board.put("source_drops", name, "refused", value=status.refused)
            board.put("source_drops", name, "late", value=status.late)

    def _show_view(self, view: Any) -> None:
        board = self.board
        board.choose("mode", chosen=Mode(view.mode).name)
        board.put("fused_valid", value=view.valid)
        board.put("confidence_ratio", value=view.confidence)
        board.put("safe_stop", value=view.safe_stop)
        board.put("objects", value=len(view.objects))
        for condition in view.conditions:
            if condition.name in CONDITIONS:  # of a later version of the message, maybe not
                board.put("condition_confidence_ratio", condition.name, value=condition.confidence)
        board.put("speed_advice_meters_per_second", value=view.speed_advice_mps)
        for model in view.models:
            board.inform(
                "model", model.role, model.name, model.version, model.sha256, model.feature_space
            )

    def _show_sources(self, sources: Sequence[Any]) -> None:
        board = self.board
        for status in sources:
            name = status.source
            board.choose("source_state", name, chosen=SourceState(status.state).name)
            board.put("source_doubtful", name, value=bool(status.warning))
            board.put("source_rate_hertz", name, value=status.rate_hz)
            board.put("source_age_seconds", name, value=status.age_s)
            board.put("source_silence_seconds", name, value=status.silence_s)
            board.put("source_clock_offset_seconds", name, value=status.clock_offset_s)


def event_kind(event: str) -> str:
    """Return the name of a step as the label has it: `rolled_back`, `shadow` of `shadow 100%`."""
    words = event.split()
    for count in range(len(words), 0, -1):
        kind = "_".join(words[:count])
        if kind in EVENTS:
            return kind
    return "other"
