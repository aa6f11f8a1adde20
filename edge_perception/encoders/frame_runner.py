"""One frame through one model: content check, preprocessing, inference, decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edge_perception.core.clock import Clock
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.types import UNKNOWN, FrameLatency, Geometry, Instant
from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.content import ContentCheck, Finding, Verdict
from edge_perception.encoders.frame_reuse import Reused
from edge_perception.encoders.load import EncoderLoad
from edge_perception.encoders.notes import InputNotes
from edge_perception.encoders.place import SensorPlace
from edge_perception.encoders.serving import Job, Sample, ServedModel
from edge_perception.models.quiet import await_gap, quietly


class FrameRunner:
    """Runs the frame in work, on more than one model where a trial wants that."""

    def __init__(
        self,
        source: str,
        spec: EncoderSpec,
        place: SensorPlace,
        clock: Clock,
        content_limits: Any = None,
    ) -> None:
        """Prepare.

        Args:
            source: its name.
            spec: the modality.
            place: where the sensor sits.
            clock: the clocks.
            content_limits: thresholds of the content check; None: the modality's defaults.
        """
        self._source, self._place, self._clock = source, place, clock
        self._content: ContentCheck | None = None
        if spec.content is not None:
            self._content = spec.content.make(content_limits or spec.content.limits())
        self._finding: Finding | None = None  # of the frame in work; inference thread only
        self.frame: Any = None  # in work, as the first model's intake reads it; None: not yet read
        self.content_s = LatencyWindow()  # what the content check takes, s
        self.notes = InputNotes()
        self.on_note: Callable[[str], None] = lambda _text: None  # set by whoever can tell it

    def set_content_limits(self, limits: Any) -> None:
        """Change the thresholds of the content check; what it learnt stays."""
        if self._content is not None:
            self._content.limits = limits

    def begin(self, job: Job) -> None:
        """Begin with a frame."""
        self.frame = self._finding = None
        self._place.look_up(job.frame_id, job.stamp_ns)

    def run(
        self,
        model: ServedModel,
        item: Any,
        started: Instant,
        latency: FrameLatency,
        *,
        again: Callable[[Any, Geometry], Reused | None] = lambda _frame, _geometry: None,
    ) -> tuple[Sample, FrameLatency]:
        """Run the frame in work on a model.

        Args:
            model: the model.
            item: of its intake.
            started: when work on the frame began.
            latency: what passed before.
            again: gives an earlier output that may serve instead; None: none may.

        Raises:
            InvalidFrameError: the frame cannot be used.
            EdgePerceptionError: the model failed.
        """
        geometry = self._place.located
        frame = model.intake.frame(item)
        if self.frame is None:  # one frame, however many models run on it
            self.frame = frame
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

    def run_or_reuse(
        self,
        load: EncoderLoad,
        job: Job,
        model: ServedModel,
        item: Any,
        started: Instant,
        latency: FrameLatency,
        *,
        changing: bool,
        dropped: int,
    ) -> tuple[Sample, FrameLatency]:
        """Run a frame unless an earlier output may serve; load control learns what it took."""
        sample, latency = self.run(
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
                self._place.located,
                doubt=self.doubt(sample.output.warning),
            )
            if not changing:
                now_ns = self._clock.now().steady_ns
                load.took(
                    (now_ns - job.received.steady_ns) / 1e9,
                    now_ns,
                    worked_s=(now_ns - started.steady_ns) / 1e9,
                    dropped=dropped,
                )
        return sample, latency

    def warm(self, model: ServedModel, item: Any) -> None:
        """Fill what the encoder computes once, such as the sampling grid of a calibration."""
        try:
            await_gap()
            frame = model.intake.frame(item)
            geometry = self._place.located
            inputs = model.encoder.preprocess(frame, geometry)
            outputs = quietly(lambda: model.encoder.infer(inputs))
            model.encoder.postprocess(outputs, frame, geometry)
        except InvalidFrameError:
            return  # the frame was no good, and that is no fault of the model

    def doubt(self, warning: str) -> str:
        """Say what is doubtful in the frame in work; `warning` is of the decisions."""
        found = self._finding.text if self._finding is not None else ""
        text = "; ".join(filter(None, (found, self._place.doubt, warning, self._place.fault)))
        return f"{self._source}: {text}" if text else ""

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
