"""The encoders of a replay: latest-only mailboxes and busy times on virtual time.

What a source does with its frames depends on arrivals and on the declared latency only, never on
fusion. A frame is inferred when its encoder takes it up, and its feature leaves when the declared
latency has passed.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from edge_perception.core.types import Feature, FrameLatency, Instant
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.encoders.serving import Job
from edge_perception.replay.metering import LOOP_FRAMES, LoopTimes
from edge_perception.replay.virtual import LatencyModel, StageTimes


@dataclass(frozen=True, kw_only=True)
class Emergence:
    """A feature leaves its encoder."""

    at_ns: int  # virtual, steady
    order: int  # of the arrival behind it
    source: str
    feature: Callable[[], Feature | None]  # raises what inference raised; None: no window yet


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    job: Job
    order: int


class EncoderLane:
    """One source: its mailbox and its worker's busy time."""

    def __init__(self, pipeline: EncoderPipeline, latency: LatencyModel, *, stateful: bool) -> None:
        self.pipeline = pipeline
        self._latency = latency
        self._stateful = stateful
        self._waiting: _Waiting | None = None
        self._busy_until_ns = 0
        self._started = 0
        self.dropped = 0
        self.measured: list[FrameLatency] = []  # real time of the stages, a bounded sample
        self.inferred = 0
        self.loop = LoopTimes()
        self._kept: deque[Job] = deque(maxlen=LOOP_FRAMES)
        self._taken_s: deque[float] = deque(maxlen=64)  # real time of taking in a message

    def accept(self, message: Any, stamp_ns: int, frame_id: str, received: Instant) -> Job | None:
        """Take in a message; None: nothing to infer yet."""
        started = time.perf_counter()
        job = self.pipeline.accept(message, stamp_ns, frame_id, received)
        self._taken_s.append(time.perf_counter() - started)
        return job

    def arrive(self, job: Job, at_ns: int, order: int) -> Iterator[Emergence]:
        """Take a frame; yields what is started by it or became ready to start before it."""
        yield from self.advance(at_ns)
        if self._waiting is not None:
            self.dropped += 1
        self._waiting = _Waiting(job=job, order=order)
        yield from self.advance(at_ns)

    def advance(self, now_ns: int) -> Iterator[Emergence]:
        """Start the waiting frame if the worker is free by now."""
        waiting = self._waiting
        if waiting is not None and self._busy_until_ns <= now_ns:
            self._waiting = None
            arrived_ns = waiting.job.received.steady_ns
            yield self._start(waiting, max(self._busy_until_ns, arrived_ns))

    def finish(self) -> Iterator[Emergence]:
        """Start what still waits at the end of the recording."""
        return self.advance(2**62)

    def _start(self, waiting: _Waiting, at_ns: int) -> Emergence:
        times = self._latency.of(self.pipeline.source, self._started)
        self._started += 1
        self._busy_until_ns = at_ns + times.total_ns
        job, dropped = waiting.job, self.dropped
        queue_s = (at_ns - job.received.steady_ns) / 1e9

        future: Future[Feature | None] = Future()
        try:
            future.set_result(self._infer(job, dropped, queue_s, times))
        except Exception as error:  # told when the feature would have left
            future.set_exception(error)
        return Emergence(
            at_ns=self._busy_until_ns,
            order=waiting.order,
            source=self.pipeline.source,
            feature=future.result,
        )

    def run_again(self, index: int) -> None:
        """Run the model on a kept frame once more, from the message on; nothing is changed.

        A stream is cut into windows as it arrives, and postprocessing follows it from window to
        window: of these the median of what was measured on the way is added.
        """
        served = self.pipeline.model
        job = self._kept[index] if index < len(self._kept) else None
        item = next((item for model, item in job.items if model is served), None) if job else None
        if item is None:
            return
        geometry = self.pipeline.place.located
        started = time.perf_counter()
        frame = served.intake.frame(item)
        inputs = served.encoder.preprocess(frame, geometry)
        prepared = time.perf_counter()
        outputs = served.encoder.infer(inputs)
        self.loop.inference_s += time.perf_counter() - prepared
        if not self._stateful:
            served.encoder.postprocess(outputs, frame, geometry)
        self.loop.work_s += time.perf_counter() - started
        if self._stateful:
            self.loop.work_s += median(self._taken_s)
            self.loop.work_s += median(x.postprocess_s for x in self.measured[-64:])
        self.loop.runs += 1

    def _infer(self, job: Job, dropped: int, queue_s: float, times: StageTimes) -> Feature | None:
        feature = self.pipeline.process(job)
        self.pipeline.observe()
        if feature is None:
            return None
        if feature.valid:
            self.inferred += 1
            self._kept.append(job)
        if feature.valid and len(self.measured) < 4096:
            self.measured.append(feature.latency)
        receive_s = (job.received.node_ns - job.stamp_ns) / 1e9
        latency = times.onto(FrameLatency(receive_s=receive_s, queue_s=queue_s))
        return replace(feature, dropped=dropped, latency=latency)


class EncoderStage:
    """All sources; gives features in the order in which they leave their encoders."""

    def __init__(
        self,
        pipelines: Mapping[str, EncoderPipeline],
        latency: LatencyModel,
        *,
        stateful: Collection[str] = (),
    ) -> None:
        self.lanes = {
            name: EncoderLane(item, latency, stateful=name in stateful)
            for name, item in pipelines.items()
        }
        self._ready: list[tuple[int, int, int, Emergence]] = []
        self._rank = {name: rank for rank, name in enumerate(pipelines)}
        self._order = 0

    def message(
        self, source: str, message: Any, stamp_ns: int, frame_id: str, received: Instant
    ) -> Iterator[Emergence]:
        """Take a message of a source and yield the features that left before it arrived."""
        yield from self.until(received.steady_ns)
        job = self.lanes[source].accept(message, stamp_ns, frame_id, received)
        self._arrive(source, job)

    def refuse(self, source: str, reason: str, received: Instant) -> Iterator[Emergence]:
        """Take what is no message of a source: its feature says so."""
        yield from self.until(received.steady_ns)
        self._arrive(source, self.lanes[source].pipeline.refuse(reason, received))

    def _arrive(self, source: str, job: Job | None) -> None:
        self._order += 1
        if job is not None:
            at_ns = job.received.steady_ns
            for emergence in self.lanes[source].arrive(job, at_ns, self._order):
                self._push(emergence)

    def until(self, now_ns: int) -> Iterator[Emergence]:
        """Yield the features that leave before a moment."""
        for lane in self.lanes.values():
            for emergence in lane.advance(now_ns):
                self._push(emergence)
        while self._ready and self._ready[0][0] < now_ns:
            yield heapq.heappop(self._ready)[-1]

    def finish(self) -> Iterator[Emergence]:
        """Yield all that is left."""
        for lane in self.lanes.values():
            for emergence in lane.finish():
                self._push(emergence)
        while self._ready:
            yield heapq.heappop(self._ready)[-1]

    def _push(self, emergence: Emergence) -> None:
        rank = self._rank[emergence.source]
        heapq.heappush(self._ready, (emergence.at_ns, emergence.order, rank, emergence))
