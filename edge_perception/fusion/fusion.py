"""The fusion of one robot: features in, fused views out, time as an argument.

Call ``offer`` for every feature, then ``close``; call ``close`` again at ``next_deadline_ns``.
These share state: hold one lock around them. ``fuse`` uses the closed cycle only and runs
outside of the lock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.rate import RateMeter
from edge_perception.core.types import (
    UNKNOWN,
    ClosedBy,
    Feature,
    FusedView,
    Instant,
    Mode,
    SoundEvent,
    SourceState,
    SourceStatus,
)
from edge_perception.fusion.alignment import Aligner, count_late, of_set, settle_ns
from edge_perception.fusion.clock_watch import ClockWatch
from edge_perception.fusion.config import NS, FusionConfig
from edge_perception.fusion.cycle import Cycle, judge
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.fusion.model import FusionModel
from edge_perception.fusion.motion import EgoMotion, Pose
from edge_perception.fusion.policy import (
    DegradationPolicy,
    PolicyState,
    Situation,
    default_policy,
)
from edge_perception.fusion.schedule import Schedule
from edge_perception.fusion.state import Arrival, SourceTrack
from edge_perception.fusion.velocity import EgoStep, VelocityTracker

MAX_UNTOLD_EVENTS = 64


@dataclass(frozen=True, kw_only=True)
class FusionCounters:
    """What happened since the start."""

    closed: Mapping[ClosedBy, int]
    modes: Mapping[Mode, int]
    superseded: Mapping[str, int]  # features replaced by a newer one of their source, unused
    unknown: int  # features of sources that are not configured
    last_unknown: str
    clock_jumps: int


class Fusion:
    """Aligns features, watches their sources and decides when a view is due."""

    def __init__(
        self,
        *,
        config: FusionConfig,
        now: Instant,
        models: tuple[FusionModel, ...] = (),
        policy: DegradationPolicy | None = None,
    ) -> None:
        self._policy = PolicyState(policy or default_policy())
        self._outputs = RateMeter()
        self._clock = ClockWatch(now)
        self._aligner = Aligner()
        self._schedule = Schedule(config.cycle, now.steady_ns)
        self._tracks: dict[str, SourceTrack] = {}
        self._motion = EgoMotion()
        self._models = models
        self._exclusive: frozenset[str] = frozenset()
        self._successors, self._from_stamp_ns = models, 0
        self._untold: deque[SoundEvent] = deque(maxlen=MAX_UNTOLD_EVENTS)
        self._fresh: set[str] = set()  # sources that set no pace, with something new
        self._sequence = 0
        self._closed: Counter[ClosedBy] = Counter()
        self._modes: Counter[Mode] = Counter()
        self._unknown, self._last_unknown = 0, ""
        self._last_stamp_ns = 0  # of the last output, and who contributed to it
        self._last_sources: frozenset[str] = frozenset()
        self._live: frozenset[str] = frozenset()  # in time at the last output
        self._tracked_ns = 0  # stamp of the newest view with objects to follow
        self._velocities = VelocityTracker()  # of the thread that fuses
        self.configure(config)

    def configure(self, config: FusionConfig) -> None:
        """Take a new configuration; what is known of sources that stay is kept."""
        self._policy.policy.check_sources(config.sources)
        last = self._clock.last
        tracks = {}
        for source in config.sources:
            track = self._tracks.get(source.source)
            if track is None or track.config.modality != source.modality:
                track = SourceTrack(source, last)
            track.configure(source)
            tracks[source.source] = track
        self._config, self._tracks = config, tracks
        self._schedule.configure(config.cycle, last.steady_ns)
        self._window_ns = round(config.cycle.alignment_window_s * NS)
        self._compensated_ns = max(self._window_ns, round(config.cycle.compensated_window_s * NS))
        if self._schedule.fixed:
            self._aligner.clear()
        self._aligner.keep(name for name, track in tracks.items() if track.paces)
        self._fresh &= {name for name, track in tracks.items() if not track.paces}

    def set_models(
        self,
        models: tuple[FusionModel, ...],
        *,
        exclusive: Collection[str] = (),
        successors: tuple[FusionModel, ...] | None = None,
        from_stamp_ns: int = 0,
    ) -> None:
        """Set the fusion models, the preferred one first; several while a set is swapped.

        Args:
            models: those that may fuse from now on.
            exclusive: feature spaces of sets that replace one another: features of two of them
                never meet in one cycle.
            successors: those that fuse cycles whose oldest stamp is at or after `from_stamp_ns`.
            from_stamp_ns: see `successors`.
        """
        self._models, self._exclusive = models, frozenset(exclusive)
        self._successors = models if successors is None else successors
        self._from_stamp_ns = from_stamp_ns

    @property
    def config(self) -> FusionConfig:
        """The configuration in use."""
        return self._config

    @property
    def counters(self) -> FusionCounters:
        """What happened since the start."""
        return FusionCounters(
            closed=dict(self._closed),
            modes=dict(self._modes),
            superseded={name: track.superseded for name, track in self._tracks.items()},
            unknown=self._unknown,
            last_unknown=self._last_unknown,
            clock_jumps=self._clock.jumps,
        )

    def last_arrivals_ns(self) -> dict[str, int]:
        """Return when each source was last heard, steady clock; never heard: left out."""
        return {
            name: track.last_arrival_ns
            for name, track in self._tracks.items()
            if track.last_arrival_ns is not None
        }

    def offer(self, feature: Feature, now: Instant) -> None:
        """Take in a feature that just arrived."""
        self._observe(now)
        track = self._tracks.get(feature.source)
        if track is None:
            self._unknown, self._last_unknown = self._unknown + 1, feature.source
            return
        arrival = track.offer(feature, now, self._clock, self._config.cycle.recovery_frames)
        if arrival is None:
            return
        if now.node_ns - arrival.stamp_ns > track.max_age_ns:
            count_late(track, arrival)
            return
        for event in feature.sound_events:
            self._untold.append(event if event.source else replace(event, source=feature.source))
        if not track.paces:
            self._fresh.add(feature.source)
            return
        if arrival.stamp_ns <= self._last_stamp_ns and feature.source not in self._last_sources:
            count_late(track, arrival)
        if not self._schedule.fixed:
            self._aligner.add(track, arrival)

    def add_odometry(self, pose: Pose) -> None:
        """Take in where the vehicle is: features of other stamps are moved along from now on."""
        self._motion.add(pose)

    @property
    def odometry_ns(self) -> int:
        """Stamp of the newest odometry; 0: there is none."""
        return self._motion.newest_ns

    def poll(self, now: Instant) -> FusedView | None:
        """Close the cycle if it is due, and fuse it."""
        cycle = self.close(now)
        return None if cycle is None else self.fuse(cycle)

    def close(self, now: Instant) -> Cycle | None:
        """Return the cycle that is due now; None: nothing is. Cheap, runs no model."""
        self._observe(now)
        raws = {name: track.raw_state(now) for name, track in self._tracks.items()}
        pacing = [
            name for name, raw in raws.items() if raw is SourceState.OK and self._tracks[name].paces
        ]
        if self._schedule.fixed:
            return self._on_timer(now, raws, pacing)
        self._aligner.drop_older(self._tracks, now.node_ns)
        opened_ns = self._aligner.opened_ns
        if opened_ns is None:
            return None if pacing else self._when_idle(now, raws)
        moving = self._motion.reaches(now.node_ns - self._compensated_ns)
        window_ns = self._compensated_ns if moving else self._window_ns
        selection = self._aligner.select_one_set(window_ns, pacing, self._exclusive)
        complete = all(name in selection.picks for name in pacing)
        closed_by = self._schedule.due(
            complete=complete,
            settle_ns=settle_ns(selection, self._tracks, self._window_ns),
            opened_ns=opened_ns,
            now_ns=now.steady_ns,
        )
        if closed_by is None:
            return None
        self._aligner.consume(selection, self._tracks, now.steady_ns)
        return self._emit(now, raws, selection.picks, closed_by, opened_ns)

    def fuse(self, cycle: Cycle) -> FusedView:
        """Fuse a closed cycle, in the order of closing; one thread calls it.

        `fusion_s` is left to the caller, who has a clock.
        """
        view = fuse_cycle(cycle)
        if cycle.ego_step is None:
            return view
        objects = self._velocities.track(view.objects, view.stamp_ns, cycle.ego_step)
        return replace(view, objects=objects)

    def next_deadline_ns(self) -> int | None:
        """Return when `close` must be called again if nothing arrives; steady clock."""
        last = self._clock.last
        live = [track for track in self._tracks.values() if track.raw_state(last) is SourceState.OK]
        return self._schedule.next_ns(
            opened_ns=self._aligner.opened_ns,
            pacing=any(track.paces for track in live),
            late_ns=[track.late_at_ns for track in live],
        )

    def _observe(self, now: Instant) -> None:
        if self._clock.observe(now):
            self._aligner.clear()
            self._motion.clear()
            self._last_stamp_ns = self._tracked_ns = 0
            for track in self._tracks.values():
                track.on_clock_jump()

    def _when_idle(self, now: Instant, raws: dict[str, SourceState]) -> Cycle | None:
        """Speak without a source that sets the pace: at the rate of the others, or a heartbeat."""
        fresh = [self._tracks[name].newest for name in self._fresh]
        arrivals = [arrival.arrived_ns for arrival in fresh if arrival is not None]
        if arrivals:
            return self._emit(now, raws, {}, ClosedBy.COMPLETE, min(arrivals))
        live = {name for name, raw in raws.items() if raw is SourceState.OK}
        lost = self._live - live  # said at once, not at the next heartbeat
        if lost or now.steady_ns >= self._schedule.idle_until_ns():
            return self._emit(now, raws, {}, ClosedBy.DEADLINE, now.steady_ns)
        return None

    def _on_timer(
        self, now: Instant, raws: dict[str, SourceState], pacing: list[str]
    ) -> Cycle | None:
        """Close on the timer, with the freshest feature of every source that is in time."""
        tick_ns = self._schedule.take_tick(now.steady_ns)
        if tick_ns is None:
            return None
        picks = {name: newest for name in pacing if (newest := self._tracks[name].newest)}
        return self._emit(now, raws, picks, ClosedBy.TIMER, tick_ns)

    def _reused(self, now: Instant, raws: dict[str, SourceState]) -> dict[str, Arrival]:
        """Newest features of the sources that set no pace, while they may be used."""
        alone = not any(
            raw is SourceState.OK and self._tracks[name].paces for name, raw in raws.items()
        )
        reused = {}
        for name, track in self._tracks.items():
            newest = track.newest
            if track.paces or newest is None or raws[name] is not SourceState.OK:
                continue
            young = now.steady_ns - newest.arrived_ns <= track.reuse_ns
            if alone or young or name in self._fresh:
                reused[name] = newest
        return reused

    def _emit(
        self,
        now: Instant,
        raws: dict[str, SourceState],
        picks: dict[str, Arrival],
        closed_by: ClosedBy,
        opened_ns: int,
    ) -> Cycle:
        reused = of_set(self._reused(now, raws), picks, self._exclusive)
        used = {**picks, **reused}
        stamps = [arrival.stamp_ns for arrival in (picks or used).values()]
        due = min(stamps, default=0) >= self._from_stamp_ns
        note, recovery = self._clock.note(), self._config.cycle.recovery_frames
        statuses = tuple(
            track.status(now, raws[name], note, recovery, name in used)
            for name, track in self._tracks.items()
        )
        situation = self._situation(now, raws, used, statuses)
        self._live = frozenset(situation.in_time)
        verdict = self._policy.step(situation, now.steady_ns)
        judgement = judge(situation, verdict)
        cycle = Cycle(
            sequence=self._sequence,
            config=self._config,
            opened_steady_ns=opened_ns,
            closed_steady_ns=now.steady_ns,
            closed_by=closed_by,
            features={name: arrival.feature for name, arrival in used.items()},
            stamps_ns={name: arrival.stamp_ns for name, arrival in used.items()},
            stamp_ns=max(stamps, default=now.node_ns),
            oldest_stamp_ns=min(stamps, default=0),
            sources=statuses,
            mode=judgement.mode,
            valid=judgement.valid,
            reason=judgement.reason,
            deadline_s=self._schedule.deadline_s,
            confidence=verdict.confidence,
            safe_stop_reason=verdict.safe_stop_reason,
            sound_events=tuple(self._untold),
            fresh=frozenset(self._fresh),
            models=self._successors if due else self._models,
            motion=self._motion_of(used, max(stamps, default=0)),
            ego_step=self._ego_step(max(stamps, default=0)),
        )
        self._note_output(cycle)
        self._schedule.on_output(now.steady_ns, verdict.mode, verdict.deadline_s)
        return cycle

    def _motion_of(
        self, used: dict[str, Arrival], stamp_ns: int
    ) -> dict[str, tuple[NDArray[np.float64], float]]:
        """Return what the vehicle moved between the stamp of each feature and the view's."""
        if not self._motion.newest_ns:
            return {}
        between = {
            name: (self._motion.between(arrival.stamp_ns, stamp_ns), stamp_ns - arrival.stamp_ns)
            for name, arrival in used.items()
        }
        return {name: (T, ns / NS) for name, (T, ns) in between.items() if T is not None}

    def _ego_step(self, stamp_ns: int) -> EgoStep | None:
        """Return how the base moved since the view before; None: odometry does not say.

        A view that is older than one before it is left out of the chain.
        """
        since_ns = self._tracked_ns
        if not self._motion.newest_ns or stamp_ns <= since_ns:
            return None
        self._tracked_ns = stamp_ns
        if not (self._motion.reaches(since_ns) and self._motion.reaches(stamp_ns)):
            return None
        T = self._motion.between(since_ns, stamp_ns)
        return EgoStep(since_ns=since_ns, T=np.eye(4) if T is None else T)

    def _situation(
        self,
        now: Instant,
        raws: dict[str, SourceState],
        used: dict[str, Arrival],
        statuses: tuple[SourceStatus, ...],
    ) -> Situation:
        ages_ns = [now.node_ns - arrival.stamp_ns for arrival in used.values()]
        self._outputs.add(now.steady_ns)
        rate_hz = self._outputs.rate_hz(now.steady_ns)
        return Situation(
            sources=self._config.sources,
            statuses=statuses,
            in_time=[name for name, raw in raws.items() if raw is SourceState.OK],
            oldest_age_s=max(ages_ns) / NS if ages_ns else UNKNOWN,
            rate_hz=rate_hz or UNKNOWN,
        )

    def _note_output(self, cycle: Cycle) -> None:
        self._sequence += 1
        self._untold.clear()
        self._fresh.clear()
        self._closed[cycle.closed_by] += 1
        self._modes[cycle.mode] += 1
        if cycle.features:
            self._last_stamp_ns = cycle.stamp_ns
        self._last_sources = frozenset(cycle.features)
