"""Virtual time for fusion: drivers deliver, fusion is polled as its node does, views are kept."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from edge_perception.core.clock import FakeClock
from edge_perception.core.types import (
    Feature,
    FusedView,
    Geometry,
    ModelVersion,
    SoundEvent,
    SourceState,
    SourceStatus,
)
from edge_perception.encoders import source_defaults
from edge_perception.fusion.config import CycleConfig, FusionConfig, SourceConfig
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.policy import DegradationPolicy

MS = 1_000_000
PLACED = Geometry(pose_source="parameter")


def make_feature(source: str, stamp_ns: int, **more: object) -> Feature:
    modality = source.split("_")[0]
    version = ModelVersion(
        role=modality, name=f"{modality}_net", version="1.0.0", sha256="0" * 64, feature_space="a"
    )
    return replace(
        Feature(
            stamp_ns=stamp_ns,
            frame_id=source,
            source=source,
            modality=modality,
            model=version,
            sequence=0,
            geometry=PLACED,
        ),
        **more,
    )


def make_config(*sources: SourceConfig | str, **cycle: object) -> FusionConfig:
    configs = [
        SourceConfig(**source_defaults(item)) if isinstance(item, str) else item for item in sources
    ]
    return FusionConfig(sources=tuple(configs), cycle=CycleConfig(**cycle))


@dataclass
class Output:
    """One view and when it was published, ms of the steady clock."""

    at_ms: float
    view: FusedView

    @property
    def contributors(self) -> set[str]:
        return {status.source for status in self.view.sources if status.contributed}

    def status(self, source: str) -> SourceStatus:
        return next(item for item in self.view.sources if item.source == source)

    def state(self, source: str) -> SourceState:
        return self.status(source).state


@dataclass
class Rig:
    """Runs events in order of time; between them fusion is polled whenever it asks for it."""

    config: FusionConfig
    clock: FakeClock = field(default_factory=FakeClock)
    models: tuple = ()
    policy: DegradationPolicy | None = None

    def __post_init__(self) -> None:
        self.fusion = Fusion(
            config=self.config, now=self.clock.now(), models=self.models, policy=self.policy
        )
        self.outputs: list[Output] = []
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.node_moves = True

    def at(self, ms: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (round(ms * MS), next(self._order), action))

    def driver(
        self,
        source: str,
        times_ms: Iterable[float],
        *,
        latency_ms: float = 0.0,
        **more: object,
    ) -> None:
        """Deliver frames taken at these times of the node clock, `latency_ms` later."""
        for time_ms in times_ms:
            self.at(time_ms + latency_ms, lambda: self.deliver(source, latency_ms, **more))

    def deliver(self, source: str, latency_ms: float = 0.0, **more: object) -> None:
        stamp_ns = self.clock.now().node_ns - round(latency_ms * MS)
        self.offer(make_feature(source, stamp_ns, **more))

    def offer(self, feature: Feature) -> None:
        self.fusion.offer(feature, self.clock.now())

    def hear(self, class_name: str) -> None:
        end_ns = self.clock.now().node_ns
        event = SoundEvent(
            class_name=class_name, score=0.9, window_start_ns=end_ns - 10**9, window_end_ns=end_ns
        )
        self.deliver("audio", sound_events=(event,))

    def run(self, until_ms: float) -> list[Output]:
        """Run to a time and return everything published so far."""
        end_ns = round(until_ms * MS)
        polls = 0
        while True:
            event_ns = self._events[0][0] if self._events else end_ns + 1
            due_ns = self.fusion.next_deadline_ns()
            assert due_ns is not None, "fusion forgot to ask for a call"
            if min(event_ns, due_ns) > end_ns:
                self._move_to(end_ns)
                return self.outputs
            if event_ns <= due_ns:
                self._move_to(event_ns)
                heapq.heappop(self._events)[2]()
                polls = 0
            else:
                self._move_to(due_ns)
                polls += 1
                assert polls < 1000, f"fusion asks again and again for {due_ns} ns"
            self._poll()

    def _poll(self) -> None:
        now = self.clock.now()
        view = self.fusion.poll(now)
        if view is not None:
            self.outputs.append(Output(now.steady_ns / MS, view))

    def _move_to(self, steady_ns: int) -> None:
        step_s = (steady_ns - self.clock.now().steady_ns) / 1e9
        if step_s > 0:
            self.clock.advance(step_s)
            if not self.node_moves:
                self.clock.jump_node_clock(-step_s)


def times(start_ms: float, period_ms: float, end_ms: float) -> list[float]:
    count = int((end_ms - start_ms) / period_ms + 1e-9) + 1
    return [start_ms + index * period_ms for index in range(count)]


def gaps_ms(outputs: list[Output], start_ms: float, end_ms: float) -> list[float]:
    """Gaps between outputs that touch an interval."""
    moments = [output.at_ms for output in outputs]
    return [
        after - before
        for before, after in itertools.pairwise(moments)
        if after >= start_ms and before <= end_ms
    ]
