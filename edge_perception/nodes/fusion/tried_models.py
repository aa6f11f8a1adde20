"""A fusion model on trial: beside the one that serves, or in its place, and what ends its trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from edge_perception.core.errors import InvalidOutputError
from edge_perception.core.types import Feature
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.serving import Sample
from edge_perception.fusion.finite import is_finite
from edge_perception.fusion.model import FusionModel, FusionOutput
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.releases.candidate import SHADOW, CandidateTrial


class LockedModel:
    """A model that two threads ask."""

    def __init__(self, model: BundleFusionModel) -> None:
        self._model, self._lock = model, model.lock
        self.version, self.compatible = model.version, model.compatible
        self.misfit = model.misfit

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse, one thread at a time."""
        with self._lock:
            return self._model.run(features)


class FailingModel:
    """A candidate beside what serves: its first failure ends the trial."""

    def __init__(self, candidate: FusionModel, trial: CandidateTrial) -> None:
        self._candidate, self._trial = candidate, trial
        self.version, self.compatible = candidate.version, candidate.compatible

    def misfit(self, feature: Feature) -> str:
        """Why a feature of its own space cannot be taken, which is the candidate's end."""
        return _end_of(self._candidate, feature, self._trial, SHADOW)

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse; an error is the candidate's end."""
        try:
            return self._candidate.run(features)
        except Exception as error:
            self._trial.fail(f"shadow: {error}")
            raise


class ShadowedModel:
    """The current model and a candidate of the same features: both run, one of them serves."""

    def __init__(self, model: FusionModel, candidate: FusionModel, trial: CandidateTrial) -> None:
        self._model, self._candidate, self._trial = model, candidate, trial
        self.version, self.compatible = model.version, model.compatible
        self.misfit = model.misfit  # what the candidate alone cannot take makes it fail in `run`

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse with the model that serves this stamp; what the other does is only counted.

        In its share of a canary the candidate serves. Where it fails, the current model does.
        """
        stamp_ns = max(feature.stamp_ns for feature in features.values())
        serves = self._trial.serves(stamp_ns)
        beside = serves or self._trial.shadows(stamp_ns)
        current, current_s = _timed(self._model, features)
        if not beside:
            return current
        try:
            candidate, candidate_s = _timed(self._candidate, features)
            _check_finite(candidate)
        except Exception as error:  # the candidate's end, not ours
            self._trial.fail(f"{self._trial.mode}: {error}")
            return current
        samples = _sample(candidate, candidate_s), _sample(current, current_s)
        if serves:
            self._trial.served(samples[0])
        self._trial.compared(*samples, served=serves)
        return replace(candidate, version=self._candidate.version) if serves else current


class GuardedModel:
    """A candidate that fuses features of its own space; its first failure ends the trial."""

    def __init__(self, candidate: FusionModel, trial: CandidateTrial) -> None:
        self._candidate, self._trial = candidate, trial
        self.version, self.compatible = candidate.version, candidate.compatible

    def misfit(self, feature: Feature) -> str:
        """Why a feature of its own space cannot be taken, which is the candidate's end."""
        return _end_of(self._candidate, feature, self._trial, "canary")

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse; an error is counted and goes on to fusion, which then takes the decisions."""
        try:
            output, inference_s = _timed(self._candidate, features)
        except Exception as error:
            self._trial.fail(f"canary: {error}")
            raise
        self._trial.served(_sample(output, inference_s))
        return output


def _end_of(candidate: FusionModel, feature: Feature, trial: CandidateTrial, how: str) -> str:
    """Return the candidate's misfit; a candidate that cannot take its own features has failed."""
    why = candidate.misfit(feature)
    if why:
        trial.fail(f"{how}: {why}")
    return why


def _timed(model: FusionModel, features: Mapping[str, Feature]) -> tuple[FusionOutput, float]:
    started_s = time.monotonic()
    output = model.run(features)
    return output, time.monotonic() - started_s


def _check_finite(output: FusionOutput) -> None:
    for box in output.objects:
        if not is_finite(box):
            raise InvalidOutputError(f"{box.class_name} is not finite")


def _sample(output: FusionOutput, inference_s: float) -> Sample:
    return Sample(outputs={}, output=EncoderOutput(objects=output.objects), inference_s=inference_s)
