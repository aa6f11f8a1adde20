"""One source from message to feature: the same code on the vehicle and in replay.

`accept` runs in the callback, `process` in the inference thread (or, in replay, right after it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from edge_perception.core.types import UNKNOWN, Feature, FrameLatency, Geometry, Instant
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.encoders.content import ContentCheck, Finding, Verdict
from edge_perception.encoders.frame_reuse import Reused
from edge_perception.encoders.load import EncoderLoad
from edge_perception.encoders.notes import InputNotes
from edge_perception.encoders.pose import Placed, SensorPose, located
from edge_perception.encoders.serving import Job, Sample, ServedModel, Serving, Trial
from edge_perception.encoders.watch import Watch
from edge_perception.models.quiet import quietly
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
        # The frame just served, and whether the candidate served it; inference thread only.
        self._to_compare: tuple[Job, Sample, bool] | None = None
        # Takes what the other model of a trial made of a frame, where its features are of another
        # space: they are for a fusion of their own. Set by whoever has one.
        self.beside: Callable[[Feature], None] | None = None
        self._sequence = 0
        self._refused = 0
        self.geometry = geometry
        self._pose = pose
        self._placed: Placed | None = None  # of the frame in work; inference thread only
        self.watch = Watch(source, spec, monitor)
        self._frame: Any = None  # of the frame in work; inference thread only
        self._told: Feature | None = None  # the feature of it
        self._located = (geometry, geometry)  # as calibrated, and the same at its pose
        self._content: ContentCheck | None = None
        if spec.content is not None:
            self._content = spec.content.make(content_limits or spec.content.limits())
        self._finding: Finding | None = None  # of the frame in work; inference thread only
        self.content_s = LatencyWindow()  # what the content check takes, s
        self.watch_s = LatencyWindow()  # what watching a frame takes, s
        self.notes = InputNotes()
        self.on_note: Callable[[str], None] = lambda _text: None  # set by whoever can tell it
        self._calibration_fault = ""
        self.dropped: Callable[[], int] = lambda: 0  # set by whoever owns the queue
        self.load: EncoderLoad | None = None  # load control; None: there is none

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

    @property
    def located_geometry(self) -> Geometry:
        """The calibration at the pose of the newest frame; the same object while both hold."""
        known, placed = self.geometry, self._placed
        if placed is None:
            return known
        before, at_pose = self._located
        if before is not known or located(at_pose, placed) is not at_pose:
            at_pose = located(known, placed)
            self._located = (known, at_pose)
        return at_pose

    def describe(self) -> Mapping[str, str]:
        """Return what the modality says of its input beyond what all have."""
        describe = self._spec.describe_intake
        said = {} if describe is None else dict(describe(self.serving.current.intake))
        said |= self.watch.describe()
        return {**said, "input_notes": "; ".join(self.notes.now)}

    def calibrate(self, message: Any, topics: Iterable[str] = ()) -> None:
        """Take a calibration; of one that cannot be used the frames after it tell.

        Args:
            message: of the modality's `calibration`.
            topics: of the frames, as the driver calls them.

        Raises:
            InvalidFrameError: it cannot be used; the one before stays.
        """
        try:
            calibrated = self._spec.calibration_of(message, topics)
        except InvalidFrameError as error:
            kept = " (the one before is used)" if self.geometry.intrinsics is not None else ""
            self._calibration_fault = f"{error}{kept}"
            raise
        self._calibration_fault = ""
        found = calibrated.at_pose_of(self.geometry)
        if not found.says_the_same(self.geometry):  # else the same object: nothing is made anew
            self.geometry = found

    def set_content_limits(self, limits: Any) -> None:
        """Change the thresholds of the content check; what it learnt stays."""
        if self._content is not None:
            self._content.limits = limits

    @property
    def refused(self) -> int:
        """Frames refused since start."""
        return self._refused

    def accept(self, message: Any, stamp_ns: int, frame_id: str, received: Instant) -> Job | None:
        """Take a message in the callback; None: nothing to infer yet (a stream filling up)."""
        models = self.serving.models()
        refusal, items, passing = "", [], False
        if stamp_ns <= 0:
            got = f"a negative stamp, {stamp_ns / 1e9:g} s" if stamp_ns else "a zero stamp"
            refusal = f"{self._source}: expected an acquisition stamp, got {got}"
        else:
            try:
                items = _offer(models, message)
            except InvalidFrameError as error:
                refusal = f"{self._source}: {error}"
                passing = isinstance(error, RestartedStreamError)
        if not items and not refusal:
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

        None: the model that serves this stamp has no window yet (a stream just started), or load
        control leaves the frame out.
        """
        started = self._clock.now()
        self._finding = self._to_compare = None
        self._frame = self._told = None
        if self._pose is not None:
            self._placed = self._pose.at(job.frame_id, job.stamp_ns)
        latency = FrameLatency(
            receive_s=(job.received.node_ns - job.stamp_ns) / 1e9,
            queue_s=(started.steady_ns - job.received.steady_ns) / 1e9,
        )
        if job.refusal:
            return self._refuse(job, latency, job.refusal)
        model = self.serving.model_for(job)
        # Before the feature: whoever sees the new model at work can go back to the one that left.
        self.serving.let_go()
        if self.load is not None and self.load.skips():
            return None
        self._last_job = job
        tried = self.serving.candidate
        if tried is not None and tried[1].serves(job.stamp_ns):
            feature = self._serve_candidate(job, *tried, started, latency)
            if feature is not None:
                return feature
        item = job.item_for(model)
        if item is None:
            return None
        # What is tried is compared with the model itself, on frames that ran.
        load = self.load if tried is None and self.load is not None and self.load.active else None
        if load is not None:
            model = load.model_for(model, started.steady_ns)
        try:
            if load is not None:
                sample, latency = self._run_or_reuse(load, job, model, item, started, latency)
            else:
                sample, latency = self._run(model, item, started, latency)
        except FRAME_ERRORS as error:
            why = "; ".join(filter(None, (str(error), self._calibration_fault)))
            return self._refuse(job, latency, f"{self._source}: {why}")
        if tried is not None and tried[1].shadows(job.stamp_ns):
            self._to_compare = (job, sample, False)
        return self._served(job, model, latency, sample)

    def after(self) -> None:
        """Do what the feature need not wait for.

        Where a trial wants it, the other of the two models runs on the frame just published: the
        candidate in the shadow, the current model beside a candidate that serves.
        Called by the inference thread once the feature is on its way.
        """
        pending, self._to_compare = self._to_compare, None
        tried = self.serving.candidate
        if pending is None or tried is None:
            return
        (job, served, by_candidate), (candidate, trial) = pending, tried
        other = self.serving.current if by_candidate else candidate
        item = job.item_for(other)
        if item is None:
            return
        try:
            sample, latency = self._run(other, item, self._clock.now(), FrameLatency())
        except Exception as error:
            if not by_candidate:  # whatever it raises, it is the candidate's end and not ours
                trial.fail(f"shadow: {error}")
            return
        pair = (served, sample) if by_candidate else (sample, served)
        trial.compared(*pair, served=by_candidate)
        if self.beside is not None and not trial.same_space:
            self.beside(self._described(job, other, latency, output=sample.output))

    def observe(self) -> None:
        """Watch drift and conditions of the frame just processed.

        Called like `after`, by a replay as well.
        """
        frame, feature = self._frame, self._told
        self._frame = self._told = None
        if frame is not None and feature is not None:
            began = self._clock.now()
            if self.watch.see(frame, self.located_geometry, feature, self.serving.current.loaded):
                self.watch_s.add((self._clock.now().steady_ns - began.steady_ns) / 1e9)

    def _serve_candidate(
        self,
        job: Job,
        candidate: ServedModel,
        trial: Trial,
        started: Instant,
        latency: FrameLatency,
    ) -> Feature | None:
        """Let the candidate serve; None: it failed, or has no window yet, the current one must."""
        item = job.item_for(candidate)
        if item is None:
            return None
        try:
            sample, latency = self._run(candidate, item, started, latency)
        except InvalidFrameError:
            return None  # the frame is to blame, or the current model does better
        except Exception as error:  # whatever it raises, the current model serves this frame
            trial.fail(f"canary: {error}")
            return None
        trial.served(sample)
        self._to_compare = (job, sample, True)
        return self._served(job, candidate, latency, sample)

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
            warning=self._warning(sample.output),
            inferred_stamp_ns=sample.inferred_stamp_ns,
        )

    def _run(
        self,
        model: ServedModel,
        item: Any,
        started: Instant,
        latency: FrameLatency,
        *,
        again: Callable[[Any, Geometry], Reused | None] = lambda _frame, _geometry: None,
    ) -> tuple[Sample, FrameLatency]:
        geometry = self.located_geometry
        frame = model.intake.frame(item)
        if self._frame is None:  # one frame, however many models run on it
            self._frame = frame
        notes = (*getattr(frame, "notes", ()), *geometry.notes)
        try:
            self._check_content(frame, model, geometry)
            reused = again(frame, geometry)
            if reused is not None:
                return self._reused(reused, started, latency)
            inputs = model.encoder.preprocess(frame, geometry)
            preprocessed = self._clock.now()
            outputs = model.encoder.infer(inputs)
            inferred = self._clock.now()
            output = model.encoder.postprocess(outputs, frame, geometry)
            notes = (*notes, *output.notes)
        finally:
            for text in self.notes.see(notes):
                self.on_note(text)
        finished = self._clock.now()
        inference_s = (inferred.steady_ns - preprocessed.steady_ns) / 1e9
        sample = Sample(outputs=dict(outputs), output=output, inference_s=inference_s)
        return sample, replace(
            latency,
            preprocess_s=(preprocessed.steady_ns - started.steady_ns) / 1e9,
            inference_s=inference_s,
            postprocess_s=(finished.steady_ns - inferred.steady_ns) / 1e9,
        )

    def _reused(
        self, reused: Reused, started: Instant, latency: FrameLatency
    ) -> tuple[Sample, FrameLatency]:
        """Return an earlier output for this frame; it says so, and has no time of inference."""
        looked_s = (self._clock.now().steady_ns - started.steady_ns) / 1e9
        output = replace(reused.output, warning=reused.text)
        sample = Sample(
            outputs={}, output=output, inference_s=UNKNOWN, inferred_stamp_ns=reused.stamp_ns
        )
        return sample, replace(latency, preprocess_s=looked_s)

    def _run_or_reuse(
        self,
        load: EncoderLoad,
        job: Job,
        model: ServedModel,
        item: Any,
        started: Instant,
        latency: FrameLatency,
    ) -> tuple[Sample, FrameLatency]:
        """Run a frame unless an earlier output may serve; load control learns what it took."""
        sample, latency = self._run(
            model,
            item,
            started,
            latency,
            again=lambda frame, geometry: load.reused(frame, job.stamp_ns, model, geometry),
        )
        if not sample.inferred_stamp_ns:
            load.inferred(
                sample.output,
                job.stamp_ns,
                model,
                self.located_geometry,
                doubt=self._warning(sample.output),
            )
            if not self.serving.changing:
                now_ns = self._clock.now().steady_ns
                load.took((now_ns - job.received.steady_ns) / 1e9, now_ns)
        return sample, latency

    def _check_content(self, frame: Any, model: ServedModel, geometry: Geometry) -> None:
        """Refuse a frame that shows nothing; once a frame, however many models run on it."""
        if self._content is None:
            return
        if self._finding is None:
            began = self._clock.now()
            self._finding = self._content.check(frame, model.encoder, geometry)
            self.content_s.add((self._clock.now().steady_ns - began.steady_ns) / 1e9)
        if self._finding.verdict is Verdict.WORTHLESS:
            raise InvalidFrameError(self._finding.text)

    def _warning(self, output: EncoderOutput) -> str:
        found = self._finding.text if self._finding is not None else ""
        doubt = self._placed.doubt if self._placed is not None else ""
        text = "; ".join(filter(None, (found, doubt, output.warning, self._calibration_fault)))
        return f"{self._source}: {text}" if text else ""

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
            geometry=self.located_geometry,
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
            if self._last_job is not None and not warm:
                self._warm(model, self._last_job)
        self.serving.prepare(model, trial)

    def _warm(self, model: ServedModel, job: Job) -> None:
        """Fill what the encoder computes once, such as the sampling grid of a calibration."""
        item = job.item_for(self.serving.current)
        if item is None or self._spec.stateful:
            return
        try:
            frame = model.intake.frame(item)
            geometry = self.located_geometry
            inputs = model.encoder.preprocess(frame, geometry)
            outputs = quietly(lambda: model.encoder.infer(inputs))
            model.encoder.postprocess(outputs, frame, geometry)
        except InvalidFrameError:
            return  # the frame was no good, and that is no fault of the model


def _offer(models: list[ServedModel], message: Any) -> list[tuple[ServedModel, Any]]:
    """Give a message to each intake once; models may share one, which is a stream."""
    taken: dict[int, Any] = {}
    for model in models:
        if id(model.intake) not in taken:
            taken[id(model.intake)] = model.intake.accept(message)
    pairs = [(model, taken[id(model.intake)]) for model in models]
    return [(model, item) for model, item in pairs if item is not None]
