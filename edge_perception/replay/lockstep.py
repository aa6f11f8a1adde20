"""Lock-step replay: the vehicle's own encoders and fusion on virtual time, as fast as it goes.

A message arrives at the time the recording noted; equal times are ordered by topic and then as
recorded. Encoders are busy for the declared latency and keep the newest frame only, cycles close
at their deadlines, all on virtual time: the same recording, parameters and models give the same
bytes, whatever the machine is doing meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_perception.core.errors import EdgePerceptionError, TransformError
from edge_perception.core.transforms import transforms_of
from edge_perception.core.types import PublishedView
from edge_perception.encoders.ways import WayChoice
from edge_perception.fusion.motion import EgoMotion
from edge_perception.fusion.odometry import pose_from_msg
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.stamps import NS
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding
from edge_perception.replay.encoding import Emergence, EncoderStage
from edge_perception.replay.fusing import Event, FusionRun, FusionSwap, Jump, Motion, NodeTime
from edge_perception.replay.metering import LOOP_FRAMES, Looped, run_loop
from edge_perception.replay.model_changes import ModelChanges, Swap
from edge_perception.replay.stats import MAX_GAP_NS, ReplayStats, jump_told
from edge_perception.replay.vehicle import Vehicle
from edge_perception.replay.virtual import LatencyModel
from edge_perception.running.vehicle_plan import SourcePlan

SILENT_PERIODS = 5  # of a source's rate: another way of it is read then
LOOP_EVERY = 12 * LOOP_FRAMES  # outputs between two turns of the bare models in a loop
_AFTER_STAMP = 12  # bytes of CDR: encapsulation, sec, nanosec


@dataclass(frozen=True, kw_only=True)
class ReadMessage:
    """A message on its way into the replay."""

    message: RecordedMessage
    source: str | None  # that it feeds; None: a calibration
    content: Any  # of an input: decoded, or the error that came instead


class LockStep:
    """One replay.

    Args:
        vehicle: models and configuration; its pipelines are used up.
        binding: what the topics mean.
        decoder: for the messages.
        latency: declared latency of the stages.
        start_ns: node clock when the vehicle starts, not after the first message.
        swaps: model changes on the way, by time.
        alter: changes a decoded message of a source before it arrives.
        measure_bare: now and then run the bare models in a loop, for `throughput_ratio`.
        counted_from_ns: messages that arrive before it are a warm-up and counted elsewhere.
    """

    def __init__(
        self,
        vehicle: Vehicle,
        binding: Binding,
        decoder: MessageDecoder,
        *,
        latency: LatencyModel,
        start_ns: int,
        swaps: Iterable[Swap] = (),
        alter: Callable[[str, Any], Any] | None = None,
        measure_bare: bool = False,
        counted_from_ns: int = 0,
    ) -> None:
        self._vehicle, self._binding, self._decoder = vehicle, binding, decoder
        # Encoders run ahead of fusion: each has its own view of a clock that jumps.
        self._arrivals = NodeTime(start_ns)
        self._encoders = EncoderStage(
            vehicle.pipelines,
            latency,
            stateful={source.name for source in vehicle.plan.sources if source.spec.stateful},
        )
        self._fusion = FusionRun(
            vehicle.plan, vehicle.fusion_models, latency=latency, start_ns=start_ns
        )
        self._models = ModelChanges(vehicle, swaps)
        self._alter = alter
        self._measure_bare = measure_bare
        self._counted_from_ns, self._counts = counted_from_ns, False
        self._last_ns = start_ns
        self._arrived = False  # a message behind start_ns: before it, a cut made the silence
        self._choices = {
            source.name: _choice(source, binding, self._arrivals.steady(start_ns))
            for source in vehicle.plan.sources
        }
        self._silence_ns = {
            config.source: round(SILENT_PERIODS * config.period_ns)
            for config in vehicle.plan.fusion.sources
        }
        self._motion = EgoMotion()  # only looked at: each fusion has its own
        self._calibration: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}  # newest message by topic
        self.stats = ReplayStats()

    def read(self, messages: Iterable[RecordedMessage]) -> Iterator[ReadMessage]:
        """Decode the inputs among messages; a thread may run ahead with it."""
        for message in messages:
            source = self._binding.inputs.get(message.topic)
            content: Any = None
            if source is not None:
                try:
                    content = self._decoder.decode(message.data, message.type)
                    if self._alter is not None:
                        content = self._alter(source, content)
                except EdgePerceptionError as error:
                    content = error
            yield ReadMessage(message=message, source=source, content=content)

    def run(
        self,
        messages: Iterable[ReadMessage],
        progress: Callable[[RecordedMessage], None] | None = None,
    ) -> Iterator[PublishedView]:
        """Yield the published views in their order."""
        started = time.perf_counter()
        loop_s = 0.0
        try:
            for output in self._outputs(messages, progress):
                self.stats.outputs += 1
                yield output
                if self._measure_bare and self.stats.outputs % LOOP_EVERY == LOOP_EVERY // 2:
                    loop_s += run_loop(self._looped())
        finally:
            self.stats.wall_s = time.perf_counter() - started - loop_s
            self._collect()

    # -- events in their order --

    def _outputs(
        self,
        messages: Iterable[ReadMessage],
        progress: Callable[[RecordedMessage], None] | None,
    ) -> Iterator[PublishedView]:
        for event in self.events(messages, progress):
            yield from self._fusion.tell(event, self.stats.note_error)
        yield from self._fusion.finish(self._last_ns)

    def events(
        self,
        messages: Iterable[ReadMessage],
        progress: Callable[[RecordedMessage], None] | None = None,
    ) -> Iterator[Event]:
        """Yield what fusion is told, in its order: for a `FusionRun` of one's own."""
        for read in messages:
            message = read.message
            self.stats.messages += 1
            if not self._counts and message.log_time_ns >= self._counted_from_ns:
                self._counts = True
                self.stats.forget_counts()
            if progress is not None:
                progress(message)
            gap_ns = message.log_time_ns - self._last_ns
            if gap_ns > MAX_GAP_NS and self.stats.messages > 1:
                yield from self._jump(gap_ns)
            self._arrived |= message.log_time_ns > self._last_ns
            self._last_ns = max(message.log_time_ns, self._last_ns)
            yield from self._change_models(self._last_ns)
            if message.topic == self._binding.odometry:
                yield from self._odometry(message)
            elif message.topic in self._binding.transforms:
                self._transform(message)
            else:
                yield from self._message(read)
        yield from self._encoders.finish()

    def _change_models(self, now_ns: int) -> Iterator[Event]:
        self._models.prepare(self._encoders, now_ns)
        for swap in self._models.due(now_ns):
            steady_ns = self._arrivals.steady(swap.at_ns)
            yield from self._encoders.until(steady_ns)
            yield FusionSwap(steady_ns=steady_ns, models=self._models.fusion_models)

    def _jump(self, gap_ns: int) -> Iterator[Event]:
        """Let the node clock jump: one second passes on the steady clock."""
        yield from self._encoders.finish()
        if self._arrived:
            self.stats.clock_jumps.append(jump_told(gap_ns))
        yield Jump(steady_ns=self._arrivals.steady(self._last_ns) + NS, by_ns=gap_ns - NS)
        self._arrivals.offset_ns += gap_ns - NS

    def _odometry(self, message: RecordedMessage) -> Iterator[Event]:
        steady_ns = self._arrivals.steady(message.log_time_ns)
        base_frame = self._vehicle.plan.fusion.cycle.base_frame
        decoded = self._decoded(message)
        if decoded is None:
            return
        try:
            pose = pose_from_msg(decoded, base_frame)
        except EdgePerceptionError as error:
            self.stats.note_error(message.topic, error)
            return
        before = self._motion.state.jumps
        self._motion.add(pose)
        motion = self._motion.state
        self.stats.note_odometry(message.topic, jumped=motion.jumps > before, fault=motion.fault)
        yield from self._encoders.until(steady_ns)
        yield Motion(steady_ns=steady_ns, pose=pose)

    def _decoded(self, message: RecordedMessage) -> Any | None:
        """Return the content of a message; None: its bytes are no such message."""
        try:
            return self._decoder.decode(message.data, message.type)
        except EdgePerceptionError as error:
            self.stats.note_error(message.topic, error)
            self.stats.undecoded[message.topic] += 1
            return None

    def _transform(self, message: RecordedMessage) -> None:
        """Take in what tf said; each of the transforms counts by itself."""
        static = self._binding.transforms[message.topic]
        decoded = self._decoded(message)
        if decoded is None:
            return
        for transform in transforms_of(decoded):
            try:
                self._vehicle.transforms.add(transform, static=static)
            except TransformError as error:
                self.stats.note_error(message.topic, error)

    def _message(self, read: ReadMessage) -> Iterator[Emergence]:
        message, source, decoded = read.message, read.source, read.content
        if source is None:
            try:
                self._calibrate(message)
            except EdgePerceptionError as error:
                self.stats.note_error(message.topic, error)
            return
        received = self._arrivals.instant(self._arrivals.steady(message.log_time_ns))
        if isinstance(decoded, EdgePerceptionError):
            self.stats.note_error(message.topic, decoded)
            self.stats.undecoded[message.topic] += 1
            yield from self._encoders.refuse(source, str(decoded), received)
            return
        header = getattr(decoded, "header", None)
        if header is None:  # tells how to read the messages after it
            stamp_ns, frame_id = received.node_ns, ""
        else:
            stamp_ns = int(header.stamp.sec) * NS + int(header.stamp.nanosec)
            frame_id = str(header.frame_id)
            if self._again(message):
                return
            choice, way = self._choices[source], self._binding.ways.get(message.topic, "")
            if not choice.take(way, stamp_ns, received.steady_ns, self._silence_ns[source]):
                return
            self.stats.note_stamp(message.topic, stamp_ns, message.log_time_ns)
        yield from self._encoders.message(source, decoded, stamp_ns, frame_id, received)

    def _again(self, message: RecordedMessage) -> bool:
        """Whether a message with a stamp is the one before of its topic, byte for byte.

        Two recorders, or files that overlap, hold it twice; the sensor sent it once.
        """
        again = self._before.get(message.topic) == message.data
        self._before[message.topic] = message.data
        self.stats.repeated[message.topic] += again
        return again

    def _calibrate(self, message: RecordedMessage) -> None:
        source = self._binding.calibrations.get(message.topic)
        if source is None or self._calibration.get(source) == message.data[_AFTER_STAMP:]:
            return
        pipeline = self._encoders.lanes[source].pipeline
        decoded = self._decoded(message)
        if decoded is None:
            return
        pipeline.place.calibrate(decoded, self._binding.topics_of(source))
        self._calibration[source] = message.data[_AFTER_STAMP:]

    # -- accounts --

    def _looped(self) -> Iterator[Looped]:
        yield from self._encoders.lanes.values()
        yield from self._models.fusion_models[
            :1
        ]  # those behind it serve features on their way only

    def _collect(self) -> None:
        stats = self.stats
        if not self._counts:
            stats.forget_counts()
        stats.fusion_measured_s = self._fusion.measured_s
        frames = [(model.loop, model.runs) for model in self._models.all_fusion_models()]
        for name, lane in self._encoders.lanes.items():
            stats.dropped[name] = lane.dropped
            stats.notes += [f"{name}: {text}" for text in lane.pipeline.frames.notes.all]
            stats.measured[name] = lane.measured
            frames.append((lane.loop, lane.inferred))
        for loop, count in frames:
            inference_s, work_s = loop.scaled(count)
            stats.bare_s += inference_s
            stats.work_s += work_s


def _choice(source: SourcePlan, binding: Binding, start_ns: int) -> WayChoice:
    """Return the choice among the ways of a source that the recording has."""
    present = {binding.ways.get(topic, "") for topic, name in binding.inputs.items()
               if name == source.name}  # fmt: skip
    ways = [way for way in dict.fromkeys(t.way for t in source.spec.topics) if way in present]
    choice = WayChoice(ways or [""])
    choice.offer(ways, start_ns)
    return choice
