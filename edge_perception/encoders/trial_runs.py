"""The candidate of a trial on the frames of one source: instead of what serves, or after it.

For the inference thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.clock import Clock
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import FrameLatency, Instant
from edge_perception.encoders.frame_runner import FrameRunner
from edge_perception.encoders.serving import Job, Sample, ServedModel, Serving, Trial

Tried = tuple[ServedModel, Trial]  # the candidate, and what its trial says


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a model made of a frame."""

    job: Job
    model: ServedModel
    sample: Sample
    latency: FrameLatency


class TrialRuns:
    """Runs what is tried, and has it compared with the model that serves."""

    def __init__(self, serving: Serving, frames: FrameRunner, clock: Clock) -> None:
        """Prepare.

        Args:
            serving: knows the candidate.
            frames: run a frame on a model.
            clock: the clocks.
        """
        self._serving, self._frames, self._clock = serving, frames, clock
        # The frame just served, and whether the candidate served it.
        self._to_compare: tuple[Job, Sample, bool] | None = None

    def begin(self) -> None:
        """Begin with a frame."""
        self._to_compare = None

    def serve(
        self, job: Job, tried: Tried | None, started: Instant, latency: FrameLatency
    ) -> Run | None:
        """Let the candidate serve a frame.

        None: its trial does not say so, or it failed, or has no window yet; the current model must.
        """
        if tried is None or not tried[1].serves(job.stamp_ns):
            return None
        candidate, trial = tried
        item = job.item_for(candidate)
        if item is None:
            return None
        try:
            sample, latency = self._frames.run(candidate, item, started, latency)
        except InvalidFrameError:
            return None  # the frame is to blame, or the current model does better
        except Exception as error:  # whatever it raises, the current model serves this frame
            trial.fail(f"canary: {error}")
            return None
        trial.served(sample)
        self._to_compare = (job, sample, True)
        return Run(job=job, model=candidate, sample=sample, latency=latency)

    def shadow(self, job: Job, tried: Tried | None, sample: Sample) -> None:
        """Note what the current model made of a frame that the candidate may run on after it."""
        if tried is not None and tried[1].shadows(job.stamp_ns):
            self._to_compare = (job, sample, False)

    def after(self) -> Run | None:
        """Run the other of the two models on the frame just published, where the trial wants it.

        That is the candidate in the shadow, and the current model beside a candidate that serves.

        Returns:
            What it made of the frame where its features are of another space, and are for a fusion
            of their own.
        """
        pending, self._to_compare = self._to_compare, None
        tried = self._serving.candidate
        if pending is None or tried is None:
            return None
        (job, served, by_candidate), (candidate, trial) = pending, tried
        other = self._serving.current if by_candidate else candidate
        item = job.item_for(other)
        if item is None:
            return None
        try:
            sample, latency = self._frames.run(other, item, self._clock.now(), FrameLatency())
        except Exception as error:
            if not by_candidate:  # whatever it raises, it is the candidate's end and not ours
                trial.fail(f"shadow: {error}")
            return None
        pair = (served, sample) if by_candidate else (sample, served)
        trial.compared(*pair, served=by_candidate)
        if trial.same_space:
            return None
        return Run(job=job, model=other, sample=sample, latency=latency)
