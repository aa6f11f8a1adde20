"""Fusion and the encoders' pipelines in virtual time, driven by simulated sensors with faults.

Conversion, content checks, refusals, the latest-only hand-over, alignment, states and policy are
the real ones. Only inference is left out: a frame takes its modality's usual time and gives an
empty feature. Real models, nodes and Fast DDS run in the other layer of the matrix.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.clock import FakeClock
from edge_perception.core.share import share_file
from edge_perception.core.types import Feature, FusedView, Geometry
from edge_perception.encoders import EncoderOutput, encoders, source_defaults
from edge_perception.encoders.lidar.encoder import in_raster, lidar_preprocessing
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import Job, ServedModel
from edge_perception.faults.frames import PERIOD_S, Frames, plain, stamp_of
from edge_perception.faults.injector import Injection, Injector
from edge_perception.faults.judge import Observed, observed_of
from edge_perception.fusion.config import FusionConfig, SourceConfig
from edge_perception.fusion.fusion import Fusion
from edge_perception.models.manifest import Bundle, load_bundle

NS = 1_000_000_000
SOURCES = ("camera", "lidar", "audio")
PHASE_S: Mapping[str, float] = {"camera": 0.0, "lidar": 0.02, "audio": 0.05}
LATENCY_S: Mapping[str, float] = {"camera": 0.02, "lidar": 0.03, "audio": 0.005}
TRANSPORT_S = 0.002
AT_1_8_M = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]], float)


class _NoInference:
    """Stands where a model runs: the matrix asks for the logic around it.

    Its range is the real one.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def preprocess(self, _frame: Any, _geometry: Geometry) -> dict:
        return {}

    def infer(self, _inputs: Mapping) -> dict:
        return {}

    def postprocess(self, _outputs: Mapping, _frame: Any, _geometry: Geometry) -> EncoderOutput:
        return EncoderOutput()

    def in_range(self, xyz_m: NDArray[np.float32], geometry: Geometry) -> NDArray[np.bool_]:
        return in_raster(xyz_m, geometry, lidar_preprocessing(self._bundle.manifest))


@cache
def _bundle(modality: str) -> Bundle:
    return load_bundle(share_file(f"models/{encoders()[modality].default_model}"))


def _served(source: str) -> ServedModel:
    spec = encoders()[source.split("_", maxsplit=1)[0]]
    bundle = _bundle(spec.modality)
    loaded: Any = SimpleNamespace(bundle=bundle)
    return ServedModel(
        loaded=loaded, intake=spec.make_intake(bundle.manifest), encoder=_NoInference(bundle)
    )


@dataclass(kw_only=True)
class Encoder:
    """One source's pipeline with its inference time, behind a latest-only place for one job."""

    source: str
    pipeline: EncoderPipeline
    factor: float = 1.0  # of the inference time
    hung: bool = False  # the frame in work does not end
    alive: bool = True
    pending: Job | None = None
    working: Job | None = None
    dropped: int = 0


@dataclass(kw_only=True)
class VirtualRun:
    """A robot in virtual time; `at` adds whatever is to happen to it."""

    injections: Sequence[Injection] = ()
    jitter: float = 0.01  # standard deviation is this part of a period; cut at 5 %
    seed: int = 0
    fusion_config: FusionConfig | None = None
    keep: bool = True  # keep the messages; False: hand them to `on_view` only
    on_view: Callable[[Observed], None] | None = None
    paused: bool = False  # neither clock nor sensors move, as in a paused playback
    stamps_follow_clock: bool = True
    phase_s: Mapping[str, float] = field(default_factory=lambda: PHASE_S)
    observed: list[Observed] = field(default_factory=list)
    alter: Callable[[Feature], Feature] = lambda feature: feature  # what fusion gets of each

    def __post_init__(self) -> None:
        self.clock = FakeClock(node_ns=1_700_000_000 * NS)
        self._rng = np.random.default_rng(self.seed)
        self._frames = Frames(plain, seed=self.seed)
        self._injector = Injector(self.injections, make=plain, seed=self.seed)
        self._stamp_shift_ns = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        config = self.fusion_config or FusionConfig(
            sources=tuple(SourceConfig(**source_defaults(name)) for name in SOURCES)
        )
        self.fusion = Fusion(config=config, now=self.clock.now())
        self.encoders = {name: self._encoder(name) for name in SOURCES}
        for source in SOURCES:
            self._schedule(source, 0)

    def _encoder(self, source: str) -> Encoder:
        pipeline = EncoderPipeline(
            source=source,
            spec=encoders()[source],
            model=_served(source),
            geometry=Geometry(T_base_sensor=AT_1_8_M, pose_source="parameter"),
            clock=self.clock,
        )
        encoder = Encoder(source=source, pipeline=pipeline)
        pipeline.dropped = lambda: encoder.dropped
        return encoder

    # -- what may happen to the robot --

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something at a time of the steady clock."""
        heapq.heappush(self._events, (round(time_s * NS), next(self._order), action))

    def bad_from_s(self, source: str, start_s: float) -> float:
        """Return when the first message of a source that a fault from `start_s` on hits was due."""
        periods = math.ceil((start_s - self.phase_s[source]) / PERIOD_S - 1e-6)
        due_s = self.phase_s[source] + periods * PERIOD_S
        return self._injector.first_s.get(source, due_s)

    def jump_clock(self, seconds: float) -> None:
        """Step the node clock; the sensors' stamps follow it or not."""
        self.clock.jump_node_clock(seconds)
        if not self.stamps_follow_clock:
            self._stamp_shift_ns -= round(seconds * NS)

    def kill(self, source: str) -> None:
        """End an encoder: what it works on is lost."""
        encoder = self.encoders[source]
        encoder.alive, encoder.pending, encoder.working = False, None, None

    def respawn(self, source: str) -> None:
        """Start an encoder anew."""
        self.encoders[source] = self._encoder(source)

    # -- sensors --

    def _schedule(self, source: str, number: int) -> None:
        jitter_s = float(np.clip(self._rng.normal(0.0, self.jitter), -0.05, 0.05)) * PERIOD_S
        due_s = self.phase_s[source] + number * PERIOD_S + jitter_s
        self.at(max(0.0, due_s), lambda: self._sense(source, number))

    def _sense(self, source: str, number: int) -> None:
        self._schedule(source, number + 1)
        if self.paused:
            return
        now = self.clock.now()
        length_ns = round(PERIOD_S * NS) if source == "audio" else 0  # stamped at its first sample
        message = self._frames.frame(source, now.node_ns + self._stamp_shift_ns - length_ns)
        nominal_s = self.phase_s[source] + number * PERIOD_S
        for delay_s, item in self._injector.apply(source, message, nominal_s):
            arrival_s = now.steady_ns / NS + delay_s + TRANSPORT_S
            self.at(arrival_s, partial(self._arrive, source, item))

    # -- encoders --

    def _arrive(self, source: str, message: Any) -> None:
        encoder = self.encoders[source]
        if not encoder.alive:
            return
        job = encoder.pipeline.accept(
            message, stamp_of(message), message.header.frame_id, self.clock.now()
        )
        if job is None:
            return
        if encoder.working is not None:
            encoder.dropped += encoder.pending is not None
            encoder.pending = job
        else:
            self._start(encoder, job)

    def _start(self, encoder: Encoder, job: Job) -> None:
        encoder.working = job
        now_s = self.clock.now().steady_ns / NS
        self.at(
            now_s + LATENCY_S[encoder.source] * encoder.factor, lambda: self._finish(encoder, job)
        )

    def _finish(self, encoder: Encoder, job: Job) -> None:
        if encoder.working is not job:  # it was killed meanwhile
            return
        if encoder.hung:
            self.at(self.clock.now().steady_ns / NS + 0.01, lambda: self._finish(encoder, job))
            return
        feature = encoder.pipeline.process(job)
        if feature is not None:
            self.fusion.offer(self.alter(feature), self.clock.now())
        encoder.working = None
        if encoder.pending is not None:
            pending, encoder.pending = encoder.pending, None
            self._start(encoder, pending)

    # -- time --

    def run(self, until_s: float) -> list[Observed]:
        """Run to a time of the steady clock and return every fused message."""
        end_ns = round(until_s * NS)
        while True:
            event_ns = self._events[0][0]
            due_ns = self.fusion.next_deadline_ns()
            due_ns = end_ns + 1 if due_ns is None else due_ns
            if min(event_ns, due_ns) > end_ns:
                return self.observed
            if event_ns <= due_ns:
                self._move_to(event_ns)
                heapq.heappop(self._events)[2]()
            else:
                self._move_to(due_ns)
            view = self.fusion.poll(self.clock.now())
            if view is not None:
                self._note(view)

    def _move_to(self, steady_ns: int) -> None:
        step_s = (steady_ns - self.clock.now().steady_ns) / NS
        if step_s > 0:
            self.clock.advance(step_s)
            if self.paused:
                self.clock.jump_node_clock(-step_s)

    def _note(self, view: FusedView) -> None:
        item = observed_of(view, self.clock.now().steady_ns / NS)
        if self.keep:
            self.observed.append(item)
        if self.on_view is not None:
            self.on_view(item)
