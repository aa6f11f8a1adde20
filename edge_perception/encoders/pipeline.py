"""One source from message to feature: the same code on the vehicle and in replay.

`accept` runs in the callback, `process` in the inference thread (or, in replay, right after it).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_perception.core.clock import Clock
from edge_perception.core.errors import (
    BackendError,
    ConfigurationError,
    InvalidFrameError,
    InvalidOutputError,
    SwapError,
)
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.types import Feature, FrameLatency, Geometry, Instant, ModelVersion
from edge_perception.encoders import Encoder, EncoderOutput, EncoderSpec, Intake
from edge_perception.encoders.candidate import CandidateTrial, Sample
from edge_perception.encoders.content import ContentCheck, Finding, Verdict
from edge_perception.models.loading import LoadedModel
from edge_perception.models.quiet import quietly

_AFTER_CHANGE_NS = 1_000_000_000  # sessions are closed, memory is given back
_SETTLE_NS = 1_000_000_000  # frames are older than the clock, but not by so much
FRAME_ERRORS = (InvalidFrameError, InvalidOutputError, BackendError, ConfigurationError)


@dataclass(kw_only=True)
class ServedModel:
    """A loaded model with the intake and encoder built for it, and what it served."""

    loaded: LoadedModel
    intake: Intake
    encoder: Encoder
    since_ns: int = 0  # stamp of the first frame it served
    frames: int = 0

    @classmethod
    def build(cls, spec: EncoderSpec, loaded: LoadedModel) -> ServedModel:
        """Build intake and encoder of modality `spec` for a loaded model."""
        manifest = loaded.bundle.manifest
        return cls(
            loaded=loaded,
            intake=spec.make_intake(manifest),
            encoder=spec.make_encoder(manifest, loaded.backend),
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One frame on its way to the inference thread."""

    stamp_ns: int
    frame_id: str
    received: Instant
    items: tuple[tuple[ServedModel, Any], ...]  # what each model's intake made of the message
    refusal: str = ""  # the message was refused already


class EncoderPipeline:
    """Runs one source's frames through its model, and changes the model at a stamp."""

    def __init__(
        self,
        *,
        source: str,
        spec: EncoderSpec,
        model: ServedModel,
        geometry: Geometry,
        clock: Clock,
        content_limits: Any = None,
    ) -> None:
        """Build the path of one source.

        Args:
            source: its name.
            spec: its modality.
            model: what serves first.
            geometry: where the sensor sits.
            clock: the clocks.
            content_limits: thresholds of the content check; None: the modality's defaults.
        """
        self._source = source
        self._spec = spec
        self._clock = clock
        self._lock = threading.Lock()  # guards the models; taken once a frame
        self._current = model
        self._next: ServedModel | None = None
        self._effective_stamp_ns: int | None = None
        self._dropped: list[ServedModel] = []
        self._left: list[ServedModel] = []
        self._trial: CandidateTrial | None = None
        self._last_job: Job | None = None
        self._to_shadow: tuple[Job, Sample] | None = None  # inference thread only
        self._sequence = 0
        self._refused = 0
        self.geometry = geometry
        self._content: ContentCheck | None = None
        if spec.content is not None:
            self._content = spec.content.make(content_limits or spec.content.limits())
        self.loading = False  # set by whoever loads models
        self._changed_ns = -_AFTER_CHANGE_NS  # steady clock
        self._finding: Finding | None = None  # of the frame in work; inference thread only
        self.content_s = LatencyWindow()  # what the content check takes, s
        self.dropped: Callable[[], int] = lambda: 0  # set by whoever owns the queue
        # Takes models that have no reader any more; set by whoever owns the models.
        self.retired: Callable[[ServedModel], None] = lambda model: model.loaded.backend.close()
        # Takes models that served until a change; None: they are retired.
        self.left: Callable[[ServedModel], None] | None = None

    @property
    def source(self) -> str:
        """Name of the source."""
        return self._source

    @property
    def model(self) -> ServedModel:
        """The model that serves now."""
        return self._current

    def describe(self) -> Mapping[str, str]:
        """Return what the modality says of its input beyond what all have."""
        describe = self._spec.describe_intake
        return {} if describe is None else describe(self._current.intake)

    def set_content_limits(self, limits: Any) -> None:
        """Change the thresholds of the content check; what it learnt stays."""
        if self._content is not None:
            self._content.limits = limits

    @property
    def refused(self) -> int:
        """Frames refused since start."""
        return self._refused

    @property
    def changing(self) -> bool:
        """Whether a model is loaded beside the one that serves, or took over a moment ago."""
        if self.loading or self._next is not None:
            return True
        return self._clock.now().steady_ns < self._changed_ns + _AFTER_CHANGE_NS

    # -- the path of a frame --

    def accept(self, message: Any, stamp_ns: int, frame_id: str, received: Instant) -> Job | None:
        """Take a message in the callback; None: nothing to infer yet (a stream filling up)."""
        models = self._models()
        refusal, items = "", []
        if stamp_ns <= 0:
            refusal = f"{self._source}: expected an acquisition stamp, got a zero stamp"
        else:
            try:
                items = _offer(models, message)
            except InvalidFrameError as error:
                refusal = f"{self._source}: {error}"
        if not items and not refusal:
            return None
        return Job(
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            received=received,
            items=tuple(items),
            refusal=refusal,
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
        self._finding = None
        latency = FrameLatency(
            receive_s=(job.received.node_ns - job.stamp_ns) / 1e9,
            queue_s=(started.steady_ns - job.received.steady_ns) / 1e9,
        )
        if job.refusal:
            return self._refuse(job, latency, job.refusal)
        model = self._model_for(job)
        self._last_job = job
        trial = self._trial
        if trial is not None and trial.serves(job.stamp_ns):
            feature = self._serve_candidate(job, trial, started, latency)
            if feature is not None:
                return feature
        item = _item_for(job, model)
        if item is None:
            return None
        try:
            sample, latency = self._run(model, item, started, latency)
        except FRAME_ERRORS as error:
            return self._refuse(job, latency, f"{self._source}: {error}")
        if trial is not None and trial.shadows(job.stamp_ns):
            self._to_shadow = (job, sample)
        return self._served(job, model, latency, sample)

    def after(self) -> None:
        """Do what the feature need not wait for.

        Models that have no reader any more go, and the candidate runs on the frame just published,
        where a trial wants it in the shadow. Called by the inference thread once the feature is on
        its way.
        """
        self._let_go()
        pending, self._to_shadow = self._to_shadow, None
        trial, candidate = self._trial, self._next
        if pending is None or trial is None or candidate is None:
            return
        job, current = pending
        item = _item_for(job, candidate)
        if item is None:
            return
        try:
            sample, _ = self._run(candidate, item, self._clock.now(), FrameLatency())
        except Exception as error:  # whatever it raises, it is the candidate's end and not ours
            trial.fail(f"shadow: {error}")
            return
        trial.compared(sample, current)

    def _serve_candidate(
        self, job: Job, trial: CandidateTrial, started: Instant, latency: FrameLatency
    ) -> Feature | None:
        """Let the candidate serve; None: it failed, or has no window yet, the current one must."""
        candidate = self._next
        item = _item_for(job, candidate) if candidate is not None else None
        if candidate is None or item is None:
            return None
        try:
            sample, latency = self._run(candidate, item, started, latency)
        except InvalidFrameError:
            return None  # the frame is to blame, or the current model does better
        except Exception as error:  # whatever it raises, the current model serves this frame
            trial.fail(f"canary: {error}")
            return None
        trial.served(sample)
        return self._served(job, candidate, latency, sample)

    def _served(
        self, job: Job, model: ServedModel, latency: FrameLatency, sample: Sample
    ) -> Feature:
        model.since_ns = model.since_ns or job.stamp_ns
        model.frames += 1
        return self._feature(
            job, model, latency, output=sample.output, warning=self._warning(sample.output)
        )

    def _run(
        self, model: ServedModel, item: Any, started: Instant, latency: FrameLatency
    ) -> tuple[Sample, FrameLatency]:
        geometry = self.geometry
        frame = model.intake.frame(item)
        self._check_content(frame)
        inputs = model.encoder.preprocess(frame, geometry)
        preprocessed = self._clock.now()
        outputs = model.encoder.infer(inputs)
        inferred = self._clock.now()
        output = model.encoder.postprocess(outputs, frame, geometry)
        finished = self._clock.now()
        inference_s = (inferred.steady_ns - preprocessed.steady_ns) / 1e9
        sample = Sample(outputs=dict(outputs), output=output, inference_s=inference_s)
        return sample, replace(
            latency,
            preprocess_s=(preprocessed.steady_ns - started.steady_ns) / 1e9,
            inference_s=inference_s,
            postprocess_s=(finished.steady_ns - inferred.steady_ns) / 1e9,
        )

    def _check_content(self, frame: Any) -> None:
        """Refuse a frame that shows nothing; once a frame, however many models run on it."""
        if self._content is None:
            return
        if self._finding is None:
            began = self._clock.now()
            self._finding = self._content.check(frame)
            self.content_s.add((self._clock.now().steady_ns - began.steady_ns) / 1e9)
        if self._finding.verdict is Verdict.WORTHLESS:
            raise InvalidFrameError(self._finding.text)

    def _warning(self, output: EncoderOutput) -> str:
        found = self._finding.text if self._finding is not None else ""
        text = "; ".join(filter(None, (found, output.warning)))
        return f"{self._source}: {text}" if text else ""

    def _refuse(self, job: Job, latency: FrameLatency, reason: str) -> Feature:
        self._refused += 1
        return self._feature(job, self._current, latency, reason=reason)

    def _feature(
        self,
        job: Job,
        model: ServedModel,
        latency: FrameLatency,
        *,
        output: EncoderOutput | None = None,
        reason: str = "",
        warning: str = "",
    ) -> Feature:
        self._sequence += 1
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
            warning=warning,
            geometry=self.geometry,
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
            latency=latency,
        )

    # -- changing the model --

    def prepare(self, model: ServedModel, *, warm: bool = False) -> None:
        """Warm `model` on the newest frame and keep it beside the current one.

        Streams start to fill its intake; one that takes the same windows goes on with the
        current intake, so no window is lost at the change.

        Args:
            model: what is to serve.
            warm: it served before, and needs no warming.
        """
        manifest = model.loaded.bundle.manifest
        serving = self._current.loaded.bundle.manifest
        space = serving.feature_space
        if self._spec.stateful and manifest.preprocessing == serving.preprocessing:
            model.intake = self._current.intake
        elif self._last_job is not None and not warm:
            self._warm(model, self._last_job)
        trial = CandidateTrial(
            manifest,
            same_space=manifest.feature_space == space,
            stateful=self._spec.stateful,
        )
        with self._lock:
            self._next, self._effective_stamp_ns, self._trial = model, None, trial

    def _warm(self, model: ServedModel, job: Job) -> None:
        """Fill what the encoder computes once, such as the sampling grid of a calibration."""
        item = _item_for(job, self._current)
        if item is None or self._spec.stateful:
            return
        try:
            frame = model.intake.frame(item)
            inputs = model.encoder.preprocess(frame, self.geometry)
            outputs = quietly(lambda: model.encoder.infer(inputs))
            model.encoder.postprocess(outputs, frame, self.geometry)
        except InvalidFrameError:
            return  # the frame was no good, and that is no fault of the model

    @property
    def trial(self) -> CandidateTrial:
        """Counts of the prepared model.

        Raises:
            SwapError: nothing is prepared.
        """
        trial = self._trial
        if trial is None:
            raise SwapError(f"{self._source}: no prepared model to try")
        return trial

    def commit(self, effective_stamp_ns: int) -> ModelVersion:
        """Let the prepared model serve frames with a stamp at or after `effective_stamp_ns`."""
        with self._lock:
            if self._next is None:
                raise SwapError(f"{self._source}: no prepared model to commit")
            self._effective_stamp_ns = effective_stamp_ns
            return self._next.loaded.bundle.version_for(self._source)

    def abort(self) -> None:
        """Drop the prepared model; it is retired after the next frame, when it has no reader."""
        with self._lock:
            dropped, self._next = self._next, None
            self._effective_stamp_ns = self._trial = None
            if dropped is not None:
                self._dropped.append(dropped)

    @property
    def committed(self) -> ServedModel:
        """The model that serves, or will from the stamp of a commit on."""
        with self._lock:
            waits = self._next is not None and self._effective_stamp_ns is not None
            return self._next if waits and self._next is not None else self._current

    def settle(self, now_ns: int) -> bool:
        """Return whether no commit is pending; one that no frame came for is done by the clock."""
        with self._lock:
            if self._next is None or self._effective_stamp_ns is None:
                return True
            if now_ns < self._effective_stamp_ns + _SETTLE_NS:
                return False
            # The thread may be using the old model: it retires it after its next frame.
            self._left.append(self._current)
            self._changed_ns = self._clock.now().steady_ns
            self._current, self._next = self._next, None
            self._effective_stamp_ns = self._trial = None
            return True

    def _models(self) -> list[ServedModel]:
        with self._lock:
            return [self._current] if self._next is None else [self._current, self._next]

    def _model_for(self, job: Job) -> ServedModel:
        """Return the model that serves a frame; runs in the inference thread, between frames.

        A stream whose new window is not full yet stays on the old model until it is.
        """
        with self._lock:
            after, effective = self._next, self._effective_stamp_ns
            due = effective is not None and job.stamp_ns >= effective
            if after is not None and due and _item_for(job, after) is not None:
                self._left.append(self._current)
                self._changed_ns = self._clock.now().steady_ns
                self._current, self._next = after, None
                self._effective_stamp_ns = self._trial = None
            return self._current

    def _let_go(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, []
            left, self._left = self._left, []
        for model in dropped:
            self.retired(model)
        for model in left:
            (self.left or self.retired)(model)


def _offer(models: list[ServedModel], message: Any) -> list[tuple[ServedModel, Any]]:
    """Give a message to each intake once; models may share one, which is a stream."""
    taken: dict[int, Any] = {}
    for model in models:
        if id(model.intake) not in taken:
            taken[id(model.intake)] = model.intake.accept(message)
    pairs = [(model, taken[id(model.intake)]) for model in models]
    return [(model, item) for model, item in pairs if item is not None]


def _item_for(job: Job, model: ServedModel) -> Any | None:
    return next((item for candidate, item in job.items if candidate is model), None)
