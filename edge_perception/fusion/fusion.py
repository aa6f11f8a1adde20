"""The fusion of one robot: features in, fused views out, time as an argument.

Call ``offer`` for every feature, then ``close``; call ``close`` again at ``next_deadline_ns``.
These share state: hold one lock around them. ``fuse`` uses the closed cycle only and runs
outside of the lock.

The way of a frame: ``intake`` (what arrives, states) → ``closing`` (which features, when) →
``judgement`` (mode, confidence, validity) → ``hybrid`` (objects) → ``view``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from edge_perception.core.types import Feature, FusedView, Instant, SourceState
from edge_perception.fusion.closing import Closed, Closing
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.hearing import Hearing
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.fusion.intake import Intake, IntakeCounters
from edge_perception.fusion.judgement import Judge
from edge_perception.fusion.meeting import Apart, Meetings
from edge_perception.fusion.model import FusionModel
from edge_perception.fusion.motion import EgoMotion
from edge_perception.fusion.odometry_watch import OdometryState, Pose
from edge_perception.fusion.one_set import Sets, TwoSets, of_set, sets_of
from edge_perception.fusion.policy import DegradationPolicy, default_policy
from edge_perception.fusion.publishers import Route
from edge_perception.fusion.state import Arrival
from edge_perception.fusion.track_kinds import CAMERA
from edge_perception.fusion.tracks import Tracker
from edge_perception.fusion.view import failed_view


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
        self._intake = Intake(now)
        self._closing = Closing(config, self._intake, now.steady_ns)
        self._judge = Judge(policy or default_policy())
        self._meetings = Meetings()
        self._motion = EgoMotion()
        self._two_sets = TwoSets()
        self.set_models(models)
        self._sequence = 0
        self._tracker, self._hearing = Tracker(), Hearing()  # of the thread that fuses
        self.configure(config)

    def configure(self, config: FusionConfig) -> None:
        """Take a new configuration; what is known of sources that stay is kept."""
        self._judge.configure(config)
        self._config = config
        self._intake.configure(config)
        self._closing.configure(config, self._intake.clock.last.steady_ns)

    def set_models(
        self,
        models: tuple[FusionModel, ...],
        *,
        exclusive: Iterable[Collection[str]] = (),
        successors: tuple[FusionModel, ...] | None = None,
        from_stamp_ns: int = 0,
    ) -> None:
        """Set the fusion models, the preferred one first; several while a set is swapped.

        Args:
            models: those that may fuse from now on.
            exclusive: feature spaces of each of the sets that replace one another: features of two
                sets never meet in one cycle, unless both go on for longer than a change takes.
            successors: those that fuse cycles whose oldest stamp is at or after `from_stamp_ns`.
            from_stamp_ns: see `successors`.
        """
        self._models, self._exclusive = models, sets_of(exclusive)
        self._successors = models if successors is None else successors
        self._from_stamp_ns = from_stamp_ns

    @property
    def config(self) -> FusionConfig:
        """The configuration in use."""
        return self._config

    @property
    def counters(self) -> IntakeCounters:
        """What happened to features since the start."""
        return self._intake.counters

    def last_arrivals_ns(self) -> dict[str, int]:
        """Return when each source was last heard, steady clock; never heard: left out."""
        return self._intake.last_arrivals_ns()

    # -- in --

    def offer(self, feature: Feature, now: Instant, route: Route | None = None) -> None:
        """Take in a feature that just arrived.

        Args:
            feature: as its encoder gave it, or whoever says so.
            now: the present moment.
            route: by which way it came; None: it is what it says it is, as in a replay.
        """
        self._observe(now)
        arrival = self._intake.offer(feature, now, route)
        if arrival is not None:
            self._closing.add(arrival)

    def refuse(self, source: str, reason: str, now: Instant) -> None:
        """Note something that arrived for a source and is no feature: too large, or broken."""
        self._observe(now)
        self._intake.refuse(source, reason, now)

    def add_odometry(self, pose: Pose) -> None:
        """Take in where the vehicle is: features of other stamps are moved along from now on."""
        self._motion.add(pose)

    @property
    def odometry(self) -> OdometryState:
        """What is known of the odometry."""
        return self._motion.state

    def _observe(self, now: Instant) -> None:
        if self._intake.observe(now):
            self._closing.clear()
            self._motion.clear()

    # -- out --

    def poll(self, now: Instant) -> FusedView | None:
        """Close the cycle if it is due, and fuse it."""
        cycle = self.close(now)
        return None if cycle is None else self.fuse(cycle)

    def close(self, now: Instant) -> Cycle | None:
        """Return the cycle that is due now; None: nothing is. Cheap, runs no model."""
        self._observe(now)
        raws = self._intake.raw_states(now)
        tracks = self._intake.tracks
        newest = [tracks[name].newest for name, raw in raws.items() if raw is SourceState.OK]
        sets = self._two_sets.apart(filter(None, newest), self._exclusive, now.steady_ns)
        closed = self._closing.due(
            now,
            raws,
            compensated=self._motion.reaches(now.node_ns - self._closing.compensated_ns),
            sets=sets,
        )
        return None if closed is None else self._cycle(now, raws, closed, sets)

    def fuse(
        self, cycle: Cycle, on_error: Callable[[Exception], None] = lambda _: None
    ) -> FusedView:
        """Fuse a closed cycle, in the order of closing; one thread calls it.

        `fusion_s` is left to the caller, who has a clock. A cycle that cannot be fused becomes a
        view that says so, and `on_error` hears of it: the output never stops.
        """
        try:
            view = fuse_cycle(cycle)
            return self._tracked(view, cycle)
        except Exception as error:
            on_error(error)
            self._tracker.forget()
            self._hearing.forget()
            return failed_view(cycle, error)

    def _tracked(self, view: FusedView, cycle: Cycle) -> FusedView:
        """Return a view whose objects have their tracks; where nobody looked, tracks wait."""
        objects = view.objects
        if cycle.placed_ns:
            sources = cycle.config.sources
            objects = self._tracker.track(
                objects,
                stamp_ns=view.stamp_ns,
                measured_ns=cycle.placed_ns,
                pose=cycle.pose,
                cameras={item.source for item in sources if item.modality == CAMERA},
            )
        places = self._tracker.places(view.stamp_ns) if cycle.placed_ns else ()
        objects, events = self._hearing.attach(objects, view.sound_events, places, view.stamp_ns)
        return replace(view, objects=objects, sound_events=events)

    def next_deadline_ns(self) -> int | None:
        """Return when `close` must be called again if nothing arrives; steady clock."""
        return self._closing.next_ns(self._intake.clock.last)

    def _cycle(
        self, now: Instant, raws: dict[str, SourceState], closed: Closed, sets: Sets
    ) -> Cycle:
        reused = of_set(self._intake.reused(now, raws), closed.picks, sets)
        used = {**closed.picks, **reused}
        evidence_ns = {name: arrival.evidence_ns for name, arrival in used.items()}
        paced = (closed.picks or used).values()
        stamps = [arrival.stamp_ns for arrival in paced]
        newest_ns, oldest_ns = max(stamps, default=0), min(stamps, default=0)
        apart = self._apart(now, raws, closed.picks)
        statuses = self._intake.statuses(now, raws, used, _doubts(apart))
        conditions = self._intake.conditions(raws)
        judgement = self._judge.step(
            now,
            self._config,
            raws=raws,
            statuses=statuses,
            stamps_ns=evidence_ns.values(),
            apart=apart,
            conditions=conditions,
        )
        due = oldest_ns >= self._from_stamp_ns
        cycle = Cycle(
            sequence=self._sequence,
            config=self._config,
            opened_steady_ns=closed.opened_ns,
            closed_steady_ns=now.steady_ns,
            closed_by=closed.by,
            features={name: arrival.feature for name, arrival in used.items()},
            stamps_ns=evidence_ns,
            stamp_ns=newest_ns if stamps else now.node_ns,
            oldest_stamp_ns=min((arrival.evidence_ns for arrival in paced), default=0),
            sources=statuses,
            mode=judgement.mode,
            valid=judgement.valid,
            reason=judgement.reason,
            deadline_s=self._closing.deadline_s,
            confidence=judgement.confidence,
            safe_stop_reason=judgement.safe_stop_reason,
            conditions=conditions,
            min_score=judgement.min_score,
            speed_advice_mps=judgement.speed_advice_mps,
            variants=judgement.variants,
            sound_events=tuple(self._intake.untold),
            fresh=frozenset(self._intake.fresh),
            models=self._successors if due else self._models,
            motion=self._motion.moves(evidence_ns, newest_ns),
            pose=self._motion.pose_at(newest_ns),
        )
        self._sequence += 1
        self._intake.on_view()
        self._closing.on_view(
            now,
            stamp_ns=cycle.stamp_ns,
            sources=used,
            live=[name for name, raw in raws.items() if raw is SourceState.OK],
            mode=judgement.mode,
            mode_deadline_s=judgement.deadline_s,
        )
        return cycle

    def _apart(
        self, now: Instant, raws: Mapping[str, SourceState], picks: Mapping[str, Arrival]
    ) -> tuple[Apart, ...]:
        """Return the sources that set the pace and do not meet."""
        if not self._closing.aligns:
            return ()
        tracks = self._intake.tracks
        self._meetings.on_view(self._intake.pacing(raws), picks, tracks, now.steady_ns)
        return self._meetings.apart(tracks, now.steady_ns, self._closing.applied_ns)


def _doubts(apart: Sequence[Apart]) -> dict[str, list[str]]:
    """Return what is to be said of each source that does not meet another one."""
    doubts: dict[str, list[str]] = {}
    for pair in apart:
        for name in pair.sources if pair.long else ():
            doubts.setdefault(name, []).append(pair.text)
    return doubts
