"""Fusion on virtual time: what the fusion thread of the node does, without a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_perception.core.types import Feature, Instant, PublishedView
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.odometry_watch import Pose
from edge_perception.fusion.view import published
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.replay.encoding import Emergence
from edge_perception.replay.virtual import FUSION, NS, LatencyModel
from edge_perception.running.vehicle_plan import VehiclePlan

AFTER_END_NS = NS  # cycles still close for this long
# The node's thread looks again and again while a deadline has passed and nothing is due; virtual
# time would stand still.
_LOOK_AGAIN_NS = 100_000


class NodeTime:
    """The node clock against the steady one; they part where the recording's clock jumps."""

    def __init__(self, start_ns: int) -> None:
        self.offset_ns = start_ns - NS  # steady time starts at one second

    def instant(self, steady_ns: int) -> Instant:
        """Return a moment on both clocks."""
        return Instant(node_ns=steady_ns + self.offset_ns, steady_ns=steady_ns)

    def steady(self, node_ns: int) -> int:
        """Return the steady time of a moment of the node clock."""
        return node_ns - self.offset_ns


class FusionStage:
    """Takes features in their order, closes cycles on time, yields what is published."""

    def __init__(self, fusion: Fusion, time_: NodeTime, latency: LatencyModel) -> None:
        self.fusion = fusion
        self._time = time_
        self._latency = latency
        self._busy_until_ns = 0
        self._wake_ns: int | None = None
        self._cycles = 0
        self.measured_s: list[float] = []  # real time of fusing, a bounded sample

    def until(self, now_ns: int) -> Iterator[PublishedView]:
        """Do what is due before a moment."""
        while self._wake_ns is not None and self._wake_ns < now_ns:
            yield from self._look(self._wake_ns)

    def offer(self, feature: Feature, at_ns: int) -> Iterator[PublishedView]:
        """Take a feature that just left its encoder."""
        yield from self.until(at_ns)
        self.fusion.offer(feature, self._time.instant(at_ns))
        if at_ns < self._busy_until_ns:
            self._wake_ns = self._busy_until_ns
        else:
            yield from self._look(at_ns)

    def look(self, at_ns: int) -> Iterator[PublishedView]:
        """Look whether a cycle is due, as after a change of the configuration."""
        yield from self._look(max(at_ns, self._busy_until_ns))

    def _look(self, at_ns: int) -> Iterator[PublishedView]:
        while True:
            cycle = self.fusion.close(self._time.instant(at_ns))
            if cycle is None:
                deadline_ns = self.fusion.next_deadline_ns()
                self._wake_ns = (
                    None if deadline_ns is None else max(deadline_ns, at_ns + _LOOK_AGAIN_NS)
                )
                return
            started = time.perf_counter()
            view = self.fusion.fuse(cycle)
            if len(self.measured_s) < 4096:
                self.measured_s.append(time.perf_counter() - started)
            times = self._latency.of(FUSION, self._cycles)
            self._cycles += 1
            self._busy_until_ns = at_ns + times.total_ns
            yield published(
                replace(view, fusion_s=times.total_ns / NS),
                self._time.instant(self._busy_until_ns),
            )
            if times.total_ns:
                self._wake_ns = self._busy_until_ns
                return


@dataclass(frozen=True, kw_only=True)
class Jump:
    """The node clock moves on without the steady one."""

    steady_ns: int
    by_ns: int


@dataclass(frozen=True, kw_only=True)
class FusionSwap:
    """Fusion gets other models."""

    steady_ns: int
    models: tuple[BundleFusionModel, ...]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Odometry arrives."""

    steady_ns: int
    pose: Pose


Event = Emergence | Jump | FusionSwap | Motion


class FusionRun:
    """One fusion that is told what happens on the vehicle, event by event.

    Encoders do not depend on fusion: several runs can be told the same events.

    Args:
        plan: configuration and policy.
        models: for the feature level; none: decisions are fused.
        latency: declared latency of fusion.
        start_ns: node clock when the vehicle starts.
    """

    def __init__(
        self,
        plan: VehiclePlan,
        models: tuple[BundleFusionModel, ...],
        *,
        latency: LatencyModel,
        start_ns: int,
    ) -> None:
        self._time = NodeTime(start_ns)
        self._fusion = Fusion(
            config=plan.fusion, now=self._time.instant(NS), models=models, policy=plan.policy
        )
        self._stage = FusionStage(self._fusion, self._time, latency)

    @property
    def measured_s(self) -> list[float]:
        """Real time of fusing, a bounded sample."""
        return self._stage.measured_s

    def tell(
        self, event: Event, on_error: Callable[[str, Exception], None]
    ) -> Iterator[PublishedView]:
        """Yield what is published up to an event and because of it.

        Args:
            event: in the order in which they happen.
            on_error: is told the source of a frame that could not be inferred, and why.
        """
        if not isinstance(event, Emergence):
            yield from self._stage.until(event.steady_ns)
            self._change(event)
            return
        try:
            feature = event.feature()
        except Exception as error:  # as the node's worker: one bad frame ends no sensor
            on_error(event.source, error)
            return
        if feature is not None:
            yield from self._stage.offer(feature, event.at_ns)

    def _change(self, event: Jump | FusionSwap | Motion) -> None:
        if isinstance(event, Jump):
            self._time.offset_ns += event.by_ns
        elif isinstance(event, FusionSwap):
            self._fusion.set_models(event.models)
        else:
            self._fusion.add_odometry(event.pose)

    def finish(self, last_ns: int) -> Iterator[PublishedView]:
        """Yield what is still due; `last_ns`: node clock at the last message."""
        yield from self._stage.until(self._time.steady(last_ns) + AFTER_END_NS)
