"""One source from message to feature: the same code on the vehicle and in replay.

`accept` runs in the callback, `process` in the inference thread (or, in replay, right after it).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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
from edge_perception.core.types import Feature, FrameLatency, Geometry, Instant, ModelVersion
from edge_perception.encoders import Encoder, EncoderOutput, EncoderSpec, Intake
from edge_perception.models.loading import LoadedModel

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
    ) -> None:
        self._source = source
        self._spec = spec
        self._clock = clock
        self._lock = threading.Lock()  # guards the models; taken once a frame
        self._current = model
        self._next: ServedModel | None = None
        self._effective_stamp_ns: int | None = None
        self._sequence = 0
        self._refused = 0
        self.geometry = geometry
        self.dropped: Callable[[], int] = lambda: 0  # set by whoever owns the queue

    @property
    def source(self) -> str:
        """Name of the source."""
        return self._source

    @property
    def model(self) -> ServedModel:
        """The model that serves now."""
        return self._current

    @property
    def refused(self) -> int:
        """Frames refused since start."""
        return self._refused

    # -- the path of a frame --

    def accept(self, message: Any, stamp_ns: int, frame_id: str, received: Instant) -> Job | None:
        """Take a message in the callback; None: nothing to infer yet (a stream filling up)."""
        models = self._models()
        refusal, items = "", []
        if stamp_ns <= 0:
            refusal = f"{self._source}: expected an acquisition stamp, got a zero stamp"
        else:
            try:
                offered = [(model, model.intake.accept(message)) for model in models]
                items = [(model, item) for model, item in offered if item is not None]
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

    def process(self, job: Job) -> Feature | None:
        """Infer a frame; a frame that cannot be used gives a feature that says so.

        None: the model that serves this stamp has no window yet (a stream just started).
        """
        started = self._clock.now()
        latency = FrameLatency(
            receive_s=(job.received.node_ns - job.stamp_ns) / 1e9,
            queue_s=(started.steady_ns - job.received.steady_ns) / 1e9,
        )
        if job.refusal:
            return self._refuse(job, latency, job.refusal)
        model = self._model_for(job.stamp_ns)
        item = next((item for candidate, item in job.items if candidate is model), None)
        if item is None:
            return None
        try:
            output, latency = self._run(model, item, started, latency)
        except FRAME_ERRORS as error:
            return self._refuse(job, latency, f"{self._source}: {error}")
        model.since_ns = model.since_ns or job.stamp_ns
        model.frames += 1
        return self._feature(job, model, latency, output=output)

    def _run(
        self, model: ServedModel, item: Any, started: Instant, latency: FrameLatency
    ) -> tuple[EncoderOutput, FrameLatency]:
        geometry = self.geometry
        frame = model.intake.frame(item)
        inputs = model.encoder.preprocess(frame, geometry)
        preprocessed = self._clock.now()
        outputs = model.encoder.infer(inputs)
        inferred = self._clock.now()
        output = model.encoder.postprocess(outputs, frame, geometry)
        finished = self._clock.now()
        return output, replace(
            latency,
            preprocess_s=(preprocessed.steady_ns - started.steady_ns) / 1e9,
            inference_s=(inferred.steady_ns - preprocessed.steady_ns) / 1e9,
            postprocess_s=(finished.steady_ns - inferred.steady_ns) / 1e9,
        )

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
            geometry=self.geometry,
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
            latency=latency,
        )

    # -- changing the model --

    def prepare(self, model: ServedModel) -> None:
        """Keep `model` beside the current one; streams start to fill its intake."""
        with self._lock:
            self._next, self._effective_stamp_ns = model, None

    def commit(self, effective_stamp_ns: int) -> ModelVersion:
        """Let the prepared model serve frames with a stamp at or after `effective_stamp_ns`."""
        with self._lock:
            if self._next is None:
                raise SwapError(f"{self._source}: no prepared model to commit")
            self._effective_stamp_ns = effective_stamp_ns
            return self._next.loaded.bundle.version_for(self._source)

    def abort(self) -> None:
        """Drop the prepared model."""
        with self._lock:
            self._next = self._effective_stamp_ns = None

    def _models(self) -> list[ServedModel]:
        with self._lock:
            return [self._current] if self._next is None else [self._current, self._next]

    def _model_for(self, stamp_ns: int) -> ServedModel:
        with self._lock:
            effective = self._effective_stamp_ns
            if self._next is not None and effective is not None and stamp_ns >= effective:
                self._current, self._next, self._effective_stamp_ns = self._next, None, None
            return self._current
