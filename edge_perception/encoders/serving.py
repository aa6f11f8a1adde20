"""Which model serves a frame of one source, and how the next one takes over at a stamp.

The inference thread asks once a frame; services prepare, commit and abort beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_perception.core.clock import Clock
from edge_perception.core.errors import SwapError
from edge_perception.core.types import Instant, ModelCommit
from edge_perception.encoders import Encoder, EncoderOutput, EncoderSpec, Intake
from edge_perception.encoders.device_input import DeviceInput, UsesDevice
from edge_perception.models.loading import LoadedModel

_AFTER_CHANGE_NS = 1_000_000_000  # sessions are closed, memory is given back
_SETTLE_NS = 1_000_000_000  # frames are older than the clock, but not by so much
_STAMPS = 128  # of the newest frames: a commit that is heard later than that is late by no less


@dataclass(kw_only=True)
class ServedModel:
    """A loaded model with the intake and encoder built for it, and what it served."""

    loaded: LoadedModel
    intake: Intake
    encoder: Encoder
    since_ns: int = 0  # stamp of the first frame it served
    frames: int = 0
    device: DeviceInput | None = None  # makes inputs on the GPU
    without_device: str = ""  # why nothing does, where it was asked for

    @classmethod
    def build(cls, spec: EncoderSpec, loaded: LoadedModel) -> ServedModel:
        """Build intake and encoder of modality `spec` for a loaded model."""
        return cls.with_intake(spec, loaded, spec.make_intake(loaded.bundle.manifest))

    @classmethod
    def with_intake(cls, spec: EncoderSpec, loaded: LoadedModel, intake: Intake) -> ServedModel:
        """Build only the encoder."""
        encoder = spec.make_encoder(loaded.bundle.manifest, loaded.backend)
        made = cls(loaded=loaded, intake=intake, encoder=encoder)
        if loaded.preprocess == "cpu":
            return made
        if isinstance(encoder, UsesDevice):
            made.device = DeviceInput(loaded.backend)
            encoder.use_device(made.device)
        elif loaded.preprocess == "gpu":
            made.without_device = "preprocess gpu is not used: the model's encoder has no kernels"
        return made

    @property
    def notes(self) -> tuple[str, ...]:
        """What was asked for and is not so, as it is now."""
        told = "" if self.device is None else self.device.note
        own = tuple(filter(None, (self.without_device, told)))
        return (*self.loaded.notes, *self.loaded.backend.describe().notes, *own)

    def learn_from(self, before: ServedModel) -> None:
        """Let the intake know what that of another model learnt of the source."""
        learn = getattr(self.intake, "learn_from", None)
        if learn is not None:
            learn(before.intake)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One frame on its way to the inference thread."""

    stamp_ns: int
    frame_id: str
    received: Instant
    items: tuple[tuple[ServedModel, Any], ...]  # what each model's intake made of the message
    refusal: str = ""  # the message was refused already
    passing: bool = False  # and the next one will not be

    def item_for(self, model: ServedModel) -> Any | None:
        """Return what a model's intake made of the message; None: nothing."""
        return next((item for taker, item in self.items if taker is model), None)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a model made of one frame, with what comparing needs."""

    outputs: Mapping[str, Any]  # graph outputs
    output: EncoderOutput
    inference_s: float  # NaN: no model ran
    inferred_stamp_ns: int = 0  # of the earlier frame whose output this is; 0: its own


class Trial(Protocol):
    """On which frames a prepared model runs before it is committed, and what it showed there."""

    @property
    def same_space(self) -> bool:
        """Whether its features mean what those of the current model mean."""
        ...

    def serves(self, stamp_ns: int) -> bool:
        """Whether it serves the frame of this stamp, instead of the current model."""
        ...

    def shadows(self, stamp_ns: int) -> bool:
        """Whether it runs after the current model, which serves the frame of this stamp."""
        ...

    def served(self, sample: Sample) -> None:
        """Take a frame that it served."""
        ...

    def compared(self, candidate: Sample, current: Sample, *, served: bool = False) -> None:
        """Take a frame that both ran on; `served`: the candidate did, and it is counted."""
        ...

    def fail(self, reason: str) -> None:
        """End the trial: the model gets no more frames."""
        ...


class Serving:
    """The model that serves, the one prepared beside it, and those that leave."""

    def __init__(self, source: str, model: ServedModel, clock: Clock) -> None:
        self._source, self._clock = source, clock
        self._lock = threading.Lock()  # taken once a frame
        self._current = model
        self._next: ServedModel | None = None
        self._effective_stamp_ns: int | None = None
        self._trial: Trial | None = None
        self._dropped: list[ServedModel] = []
        self._left: list[ServedModel] = []
        self._changed_ns = -_AFTER_CHANGE_NS  # steady clock
        self._stamps: deque[int] = deque(maxlen=_STAMPS)  # of frames that the current model got
        self.loading = False  # set by whoever loads models
        # Takes models that have no reader any more; set by whoever owns the models.
        self.retired: Callable[[ServedModel], None] = lambda model: model.loaded.backend.close()
        # Takes models that served until a change; None: they are retired.
        self.left: Callable[[ServedModel], None] | None = None

    @property
    def current(self) -> ServedModel:
        """The model that serves now."""
        return self._current

    @property
    def candidate(self) -> tuple[ServedModel, Trial] | None:
        """The prepared model and its trial; None: nothing is tried."""
        with self._lock:
            if self._next is None or self._trial is None:
                return None
            return self._next, self._trial

    @property
    def committed(self) -> ServedModel:
        """The model that serves, or will from the stamp of a commit on."""
        with self._lock:
            waits = self._next is not None and self._effective_stamp_ns is not None
            return self._next if waits and self._next is not None else self._current

    @property
    def changing(self) -> bool:
        """Whether a model is loaded beside the one that serves, or took over a moment ago."""
        if self.loading or self._next is not None:
            return True
        return self._clock.now().steady_ns < self._changed_ns + _AFTER_CHANGE_NS

    def models(self) -> list[ServedModel]:
        """Return all whose intakes take messages: the current one, then the prepared one."""
        with self._lock:
            return [self._current] if self._next is None else [self._current, self._next]

    def model_for(self, job: Job) -> ServedModel:
        """Return the model that serves a frame; runs in the inference thread, between frames.

        A stream whose new window is not full yet stays on the old model until it is.
        """
        with self._lock:
            after, effective = self._next, self._effective_stamp_ns
            due = effective is not None and job.stamp_ns >= effective
            if after is not None and due and job.item_for(after) is not None:
                self._take_over(after)
            self._stamps.append(job.stamp_ns)
            return self._current

    def prepare(self, model: ServedModel, trial: Trial | None) -> None:
        """Keep a warm model beside the current one; without a trial it waits for its commit."""
        with self._lock:
            self._next, self._effective_stamp_ns, self._trial = model, None, trial

    def commit(self, effective_stamp_ns: int) -> ModelCommit:
        """Let the prepared model serve frames with a stamp at or after `effective_stamp_ns`.

        Those that the current model has got already keep what it gave; they are counted.

        Raises:
            SwapError: nothing is prepared.
        """
        with self._lock:
            if self._next is None:
                raise SwapError(f"{self._source}: no prepared model to commit")
            self._effective_stamp_ns = effective_stamp_ns
            late = sum(stamp >= effective_stamp_ns for stamp in self._stamps)
            version = self._next.loaded.bundle.version_for(self._source)
            return ModelCommit(version=version, late_frames=late)

    def abort(self) -> None:
        """Drop the prepared model; it is retired after the next frame, when it has no reader."""
        with self._lock:
            dropped, self._next = self._next, None
            self._effective_stamp_ns = self._trial = None
            if dropped is not None:
                self._dropped.append(dropped)

    def settle(self, now_ns: int) -> bool:
        """Return whether no commit is pending; one that no frame came for is done by the clock."""
        with self._lock:
            if self._next is None or self._effective_stamp_ns is None:
                return True
            if now_ns < self._effective_stamp_ns + _SETTLE_NS:
                return False
            # The thread may be using the old model: it retires it after its next frame.
            self._take_over(self._next)
            return True

    def let_go(self) -> None:
        """Hand on models that have no reader any more; inference thread, between frames."""
        with self._lock:
            dropped, self._dropped = self._dropped, []
            left, self._left = self._left, []
        for model in dropped:
            self.retired(model)
        for model in left:
            (self.left or self.retired)(model)

    def _take_over(self, after: ServedModel) -> None:
        self._left.append(self._current)
        self._changed_ns = self._clock.now().steady_ns
        self._current, self._next = after, None
        self._stamps.clear()
        self._effective_stamp_ns = self._trial = None
