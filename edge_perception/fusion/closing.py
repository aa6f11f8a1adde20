"""When a cycle closes and with which features. The second step of a frame in fusion."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edge_perception.core.types import ClosedBy, Instant, Mode, SourceState
from edge_perception.fusion.alignment import Aligner, count_late, settle_ns
from edge_perception.fusion.config import NS, FusionConfig
from edge_perception.fusion.intake import Intake
from edge_perception.fusion.one_set import Sets, largest_set
from edge_perception.fusion.schedule import Schedule
from edge_perception.fusion.state import Arrival


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A cycle that closes now."""

    picks: Mapping[str, Arrival]  # features of the sources that set the pace, by source
    by: ClosedBy
    opened_ns: int  # steady clock


class Closing:
    """Aligns the features of the sources that set the pace and decides when a view is due."""

    def __init__(self, config: FusionConfig, intake: Intake, start_ns: int) -> None:
        self._intake = intake
        self._aligner = Aligner()
        self._schedule = Schedule(config.cycle, start_ns)
        self._last_stamp_ns = 0  # of the last output, and who contributed to it
        self._last_sources: frozenset[str] = frozenset()
        self._live: frozenset[str] = frozenset()  # in time at the last output

    def configure(self, config: FusionConfig, now_ns: int) -> None:
        """Take new times and sources."""
        self._schedule.configure(config.cycle, now_ns)
        self.window_ns = round(config.cycle.alignment_window_s * NS)
        self.applied_ns = self.window_ns  # window of the last look, compensated or not
        self.compensated_ns = max(self.window_ns, round(config.cycle.compensated_window_s * NS))
        if self._schedule.fixed:
            self._aligner.clear()
        self._aligner.keep(name for name, track in self._intake.tracks.items() if track.paces)

    @property
    def aligns(self) -> bool:
        """Whether stamps must fit: not on a timer, which takes the freshest of each source."""
        return not self._schedule.fixed

    @property
    def deadline_s(self) -> float:
        """From the opening of a cycle to its publication."""
        return self._schedule.deadline_s

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._aligner.clear()
        self._last_stamp_ns = 0

    def add(self, arrival: Arrival) -> None:
        """Take a feature; one of a source that sets the pace opens a cycle or joins the open one.

        What comes later than the output that it belonged to joins the next one and is counted.
        """
        source = arrival.feature.source
        track = self._intake.tracks[source]
        if not track.paces:
            return
        if arrival.stamp_ns <= self._last_stamp_ns and source not in self._last_sources:
            count_late(track, arrival)
        if not self._schedule.fixed:
            self._aligner.add(track, arrival)

    def due(
        self,
        now: Instant,
        raws: Mapping[str, SourceState],
        *,
        compensated: bool,
        sets: Sets,
    ) -> Closed | None:
        """Return the cycle that closes now; None: none does.

        Args:
            now: the present moment.
            raws: state of each source, without hysteresis.
            compensated: odometry tells the motion between stamps.
            sets: feature spaces of sets that never meet, see `Fusion.set_models`.
        """
        pacing = self._intake.pacing(raws)
        if self._schedule.fixed:
            return self._on_timer(now, pacing, sets)
        self._aligner.drop_older(self._intake.tracks, now.node_ns)
        opened_ns = self._aligner.opened_ns
        if opened_ns is None:
            return None if pacing else self._when_idle(now, raws)
        return self._aligned(now, pacing, opened_ns, compensated, sets)

    def _aligned(
        self,
        now: Instant,
        pacing: Collection[str],
        opened_ns: int,
        compensated: bool,
        sets: Sets,
    ) -> Closed | None:
        tracks = self._intake.tracks
        self.applied_ns = self.compensated_ns if compensated else self.window_ns
        selection = self._aligner.select_one_set(self.applied_ns, pacing, sets)
        closed_by = self._schedule.due(
            complete=all(name in selection.picks for name in pacing),
            settle_ns=settle_ns(selection, tracks, self.window_ns),
            opened_ns=opened_ns,
            now_ns=now.steady_ns,
        )
        if closed_by is None:
            return None
        self._aligner.consume(selection, tracks, now.steady_ns)
        return Closed(picks=selection.picks, by=closed_by, opened_ns=opened_ns)

    def _when_idle(self, now: Instant, raws: Mapping[str, SourceState]) -> Closed | None:
        """Speak without a source that sets the pace: at the rate of the others, or a heartbeat."""
        fresh = [self._intake.tracks[name].newest for name in self._intake.fresh]
        arrivals = [arrival.arrived_ns for arrival in fresh if arrival is not None]
        if arrivals:
            return Closed(picks={}, by=ClosedBy.COMPLETE, opened_ns=min(arrivals))
        live = {name for name, raw in raws.items() if raw is SourceState.OK}
        lost = self._live - live  # said at once, not at the next heartbeat
        if lost or now.steady_ns >= self._schedule.idle_until_ns():
            return Closed(picks={}, by=ClosedBy.DEADLINE, opened_ns=now.steady_ns)
        return None

    def _on_timer(self, now: Instant, pacing: Collection[str], sets: Sets) -> Closed | None:
        """Close on the timer, with the freshest feature of every source that is in time."""
        tick_ns = self._schedule.take_tick(now.steady_ns)
        if tick_ns is None:
            return None
        tracks = self._intake.tracks
        picks = {name: newest for name in pacing if (newest := tracks[name].newest)}
        return Closed(picks=largest_set(picks, sets), by=ClosedBy.TIMER, opened_ns=tick_ns)

    def on_view(
        self,
        now: Instant,
        *,
        stamp_ns: int,
        sources: Collection[str],
        live: Collection[str],
        mode: Mode,
        mode_deadline_s: float,
    ) -> None:
        """Note a view.

        Args:
            now: when its cycle closed.
            stamp_ns: of the view.
            sources: who contributed.
            live: who is in time.
            mode: of the view.
            mode_deadline_s: of the next cycle; 0: as configured.
        """
        self._live = frozenset(live)
        if sources:
            self._last_stamp_ns = stamp_ns
        self._last_sources = frozenset(sources)
        self._schedule.on_output(now.steady_ns, mode, mode_deadline_s)

    def next_ns(self, last: Instant) -> int | None:
        """Return when to look again if nothing arrives; steady clock."""
        tracks = self._intake.tracks.values()
        live = [track for track in tracks if track.raw_state(last) is SourceState.OK]
        return self._schedule.next_ns(
            opened_ns=self._aligner.opened_ns,
            pacing=any(track.paces for track in live),
            late_ns=[track.late_at_ns for track in live],
        )
