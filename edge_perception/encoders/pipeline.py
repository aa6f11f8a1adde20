"""One source from message to feature: the same code on the vehicle and in replay.

`accept` runs in the callback, `process` in the inference thread (or, in replay, right after it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edge_perception.core.clock import Clock
from edge_perception.core.errors import (
    BackendError,
    ConfigurationError,
    InvalidFrameError,
    InvalidOutputError,
    RestartedStreamError,
)
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.types import Feature, FrameLatency, Geometry, Instant
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.encoders.frame_runner import FrameRunner
from edge_perception.encoders.load import EncoderLoad
from edge_perception.encoders.place import SensorPlace
from edge_perception.encoders.pose import SensorPose
from edge_perception.encoders.serving import Job, Sample, ServedModel, Serving, Trial
from edge_perception.encoders.trial_runs import TrialRuns
from edge_perception.encoders.watch import SourceWatch
from edge_perception.models.manifest import Bundle
from edge_perception.monitoring.source import MonitorOptions

FRAME_ERRORS = (InvalidFrameError, InvalidOutputError, BackendError, ConfigurationError)


class EncoderPipeline:
    """Runs one source's frames through its model."""

    def __init__(
        self,
        *,
        source: str,
        spec: EncoderSpec,
        model: ServedModel,
        geometry: Geometry,
        clock: Clock,
        content_limits: Any = None,
        pose: SensorPose | None = None,
        monitor: MonitorOptions | None = None,
    ) -> None:
        """Build the path of one source.

        Args:
            source: its name.
            spec: its modality.
            model: what serves first.
            geometry: where the sensor sits.
            clock: the clocks.
            content_limits: thresholds of the content check; None: the modality's defaults.
            pose: where the sensor sits, frame by frame; None: where `geometry` says.
            monitor: how drift and conditions are watched; None: they are not.
        """
        self._source = source
        self._spec = spec
        self._clock = clock
        self.serving = Serving(source, model, clock)
        self._last_job: Job | None = None
        # Takes what the other model of a trial made of a frame, where its features are of another
        # space: they are for a fusion of their own. Set by whoever has one.
        self.beside: Callable[[Feature], None] | None = None
        self._sequence = 0
        self._refused = 0
        self.place = SensorPlace(spec, geometry, pose)
        self.frames = FrameRunner(source, spec, self.place, clock, content_limits)
        self._trial = TrialRuns(self.serving, self.frames, clock)
        self.watch = SourceWatch(source, spec, monitor)
        self.watch_s = LatencyWindow()  # what watching a frame takes, s
        self._told: Feature | None = None  # of the frame in work; inference thread only
        self.dropped: Callable[[], int] = lambda: 0  # set by whoever owns the queue
        # Takes each frame whose feature has left, with the bundle that serves, in the inference
        # thread; the next frame overwrites it. Set by whoever asks others about frames.
        self.seen: Callable[[Any, Feature, Geometry, Bundle], None] | None = None
        self.load: EncoderLoad | None = None  # load control; None: there is none
        # Takes what a frame should not have raised, before its feature says so. Set by whoever
        # tells of errors.
        self.failed: Callable[[Exception], None] = lambda _error: None

    @property
    def source(self) -> str:
        """Name of the source."""
        return self._source

    @property
    def spec(self) -> EncoderSpec:
        """Its modality."""
        return self._spec

    @property
    def model(self) -> ServedModel:
        """The model that serves now."""
        return self.serving.current

    def describe(self) -> Mapping[str, str]:
        """Return what the modality says of its input beyond what all have."""
        describe = self._spec.describe_intake
        said = {} if describe is None else dict(describe(self.serving.current.intake))
        said |= self.watch.describe()
        return {**said, "input_notes": "; ".join(self.frames.notes.now)}

    @property
    def refused(self) -> int:
        """Frames refused since start."""
        return self._refused

    def accept(self, message: Any, stamp_ns: int, frame_id: str, received: Instant) -> Job | None:
        """Take a message in the callback.

        None: nothing to infer yet (a stream filling up), or load control leaves the frame out.
        """
        models = self.serving.models()
        refusal, items, passing = "", [], False
        odd = _odd_stamp(message, stamp_ns)
        if odd:
            refusal = f"{self._source}: expected an acquisition stamp, got {odd}"
        else:
            try:
                items = _offer(models, message)
            except InvalidFrameError as error:
                refusal = f"{self._source}: {error}"
                passing = isinstance(error, RestartedStreamError)
        if not refusal and (not items or (self.load is not None and self.load.skips())):
            return None
        return Job(
            stamp_ns=stamp_ns,
            frame_id=frame_id.lstrip("/"),  # of ROS 1; tf2 knows no name that begins with it
            received=received,
            items=tuple(items),
            refusal=refusal,
            passing=passing,
        )

    def refuse(self, reason: str, received: Instant) -> Job:
        """Return the job of a message that could not be read, so that a feature says so."""
        refusal = f"{self._source}: {reason}"
        return Job(stamp_ns=0, frame_id="", received=received, items=(), refusal=refusal)

    def process(self, job: Job) -> Feature | None:
        """Infer a frame; a frame that cannot be used gives a feature that says so.

        None: the model that serves this stamp has no window yet (a stream just started).
        """
        started = self._clock.now()
        self._told = None
        self._trial.begin()
        self.frames.begin(job)
        latency = FrameLatency(
            receive_s=(job.received.node_ns - job.stamp_ns) / 1e9,
            queue_s=(started.steady_ns - job.received.steady_ns) / 1e9,
        )
        if job.refusal:
            return self._refuse(job, latency, job.refusal)
        model = self.serving.model_for(job)
        # Before the feature: whoever sees the new model at work can go back to the one that left.
        self.serving.let_go()
        self._last_job = job
        tried = self.serving.candidate
        run = self._trial.serve(job, tried, started, latency)
        if run is not None:
            return self._served(job, run.model, run.latency, run.sample)
        item = job.item_for(model)
        if item is None:
            return None
        # What is tried is compared with the model itself, on frames that ran.
        load = self.load if tried is None and self.load is not None and self.load.active else None
        try:
            if load is not None:
                model, sample, latency = self._run_in_budget(
                    load, job, model, item, started, latency
                )
            else:
                sample, latency = self.frames.run(model, item, started, latency)
        except FRAME_ERRORS as error:
            return self._refuse(job, latency, f"{self._source}: {self.place.why(error)}")
        except Exception as error:  # an encoder or a runtime may be anybody's code
            self.failed(error)
            said = self.place.why(Exception(f"{type(error).__name__}: {error}"))
            return self._refuse(job, latency, f"{self._source}: {said}")
        self._trial.shadow(job, tried, sample)
        return self._served(job, model, latency, sample)

    def _run_in_budget(
        self,
        load: EncoderLoad,
        job: Job,
        model: ServedModel,
        item: Any,
        started: Instant,
        latency: FrameLatency,
    ) -> tuple[ServedModel, Sample, FrameLatency]:
        """Run a frame as load control says; where who stands in fails on it, on its own model."""

        def run(on: ServedModel) -> tuple[ServedModel, Sample, FrameLatency]:
            sample, took = self.frames.run_or_reuse(
                load,
                job,
                on,
                item,
                started,
                latency,
                changing=self.serving.changing,
                dropped=self.dropped(),
            )
            return on, sample, took

        stands_in = load.model_for(model, started.steady_ns)
        if stands_in is not model:
            try:
                return run(stands_in)
            except InvalidFrameError:
                raise  # of that its own model makes no more
            except Exception as error:  # the model that it stands in for is there
                load.stand_in_failed(error)
        return run(model)

    def after(self) -> None:
        """Do what the feature need not wait for.

        Where a trial wants it, the other of the two models runs on the frame just published.
        Called by the inference thread once the feature is on its way.
        """
        other = self._trial.after()
        if other is not None and self.beside is not None:
            self.beside(
                self._described(other.job, other.model, other.latency, output=other.sample.output)
            )

    def observe(self) -> None:
        """Watch drift and conditions of the frame just processed.

        Called like `after`, by a replay as well.
        """
        frame, feature = self.frames.frame, self._told
        self.frames.frame = self._told = None
        if frame is not None and feature is not None:
            began = self._clock.now()
            loaded = self.serving.current.loaded
            if self.watch.see(frame, self.place.located, feature, loaded):
                self.watch_s.add((self._clock.now().steady_ns - began.steady_ns) / 1e9)
            if self.seen is not None:
                self.seen(frame, feature, self.place.located, loaded.bundle)

    def _served(
        self, job: Job, model: ServedModel, latency: FrameLatency, sample: Sample
    ) -> Feature:
        model.since_ns = model.since_ns or job.stamp_ns
        model.frames += 1
        return self._feature(
            job,
            model,
            latency,
            output=sample.output,
            warning=self.frames.doubt(sample.output.warning),
            inferred_stamp_ns=sample.inferred_stamp_ns,
        )

    def _refuse(self, job: Job, latency: FrameLatency, reason: str) -> Feature:
        self._refused += 1
        return self._feature(job, self.serving.current, latency, reason=reason)

    def _feature(
        self,
        job: Job,
        model: ServedModel,
        latency: FrameLatency,
        *,
        output: EncoderOutput | None = None,
        reason: str = "",
        warning: str = "",
        inferred_stamp_ns: int = 0,
    ) -> Feature:
        self._sequence += 1
        feature = self._described(
            job, model, latency, output=output, reason=reason, warning=warning
        )
        if self.load is not None:
            feature = replace(
                feature,
                inferred_stamp_ns=inferred_stamp_ns,
                skipped=self.load.skipped,
                given_up=self.load.given_up(tried=self.serving.candidate is not None),
            )
        self._told = feature
        return feature

    def _described(
        self,
        job: Job,
        model: ServedModel,
        latency: FrameLatency,
        *,
        output: EncoderOutput | None = None,
        reason: str = "",
        warning: str = "",
    ) -> Feature:
        output = output or EncoderOutput()
        return Feature(
            stamp_ns=job.stamp_ns,
            frame_id=job.frame_id,
            source=self._source,
            modality=self._spec.modality,
            model=model.loaded.bundle.version_for(self._source),
            sequence=self._sequence,
            dropped=self.dropped(),
            refused=self._refused,
            invalid_reason=reason,
            passing=job.passing,
            warning=warning,
            geometry=self.place.located,
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
            latency=latency,
            conditions=self.watch.conditions,
        )

    def prepare(
        self, model: ServedModel, *, trial: Trial | None = None, warm: bool = False
    ) -> None:
        """Warm `model` on the newest frame and keep it beside the current one.

        Streams start to fill its intake; one that takes the same windows goes on with the
        current intake, so no window is lost at the change.

        Args:
            model: what is to serve.
            trial: on which frames it runs before its commit; None: on none.
            warm: it served before, and needs no warming.
        """
        current = self.serving.current
        same = model.loaded.bundle.manifest.preprocessing == (
            current.loaded.bundle.manifest.preprocessing
        )
        if self._spec.stateful and same:
            model.intake = current.intake
        else:
            model.learn_from(current)
            job = self._last_job
            item = job.item_for(current) if job is not None else None
            if item is not None and not warm and not self._spec.stateful:
                self.frames.warm(model, item)
        self.serving.prepare(model, trial)


def _odd_stamp(message: Any, stamp_ns: int) -> str:
    """Say why a stamp is none; empty: it is one.

    Drivers that put all nanoseconds since 1970 into a field of 32 bits are up to 4.3 s off.
    """
    if stamp_ns <= 0:
        return f"a negative stamp, {stamp_ns / 1e9:g} s" if stamp_ns else "a zero stamp"
    nanosec = getattr(getattr(getattr(message, "header", None), "stamp", None), "nanosec", 0)
    return f"nanosec {nanosec}, of a second that has 1000000000" if nanosec >= 10**9 else ""


def _offer(models: list[ServedModel], message: Any) -> list[tuple[ServedModel, Any]]:
    """Give a message to each intake once; models may share one, which is a stream."""
    taken: dict[int, Any] = {}
    for model in models:
        if id(model.intake) not in taken:
            taken[id(model.intake)] = model.intake.accept(message)
    pairs = [(model, taken[id(model.intake)]) for model in models]
    return [(model, item) for model, item in pairs if item is not None]
