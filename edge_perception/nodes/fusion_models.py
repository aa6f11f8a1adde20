"""The fusion models of one node: the current one, the prepared one, and those that leave."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from edge_perception.core.errors import SwapError
from edge_perception.core.types import Feature, FusedView, ModelVersion, SourceState
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.serving import Sample
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.model import FusionModel, FusionOutput
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.kept import KeptModel
from edge_perception.models.loading import LoadedModel
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.releases.candidate import SHADOW, CandidateTrial

_LEAVES_AFTER_NS = 1_000_000_000  # a source that died never passes the stamp
Change = Callable[[Callable[[Fusion], None]], None]


class FusionModels:
    """Keeps the models of a set and of its successor until the last old feature has passed."""

    def __init__(
        self, loaded: LoadedModel | None, *, admits: Callable[[], bool] = lambda: False
    ) -> None:
        """Serve `loaded`; a model that leaves stays loaded while `admits` says so."""
        self._kept = KeptModel[LoadedModel](
            bundle=lambda model: model.bundle, release=release_model, admits=admits
        )
        self.loaded = loaded
        self._model = BundleFusionModel(loaded) if loaded else None
        self._prepared: LoadedModel | None = None
        self._trial: CandidateTrial | None = None
        self._leaving: tuple[LoadedModel | None, int] | None = None  # and the stamp of the change

    @property
    def models(self) -> tuple[FusionModel, ...]:
        """What fuses when nothing changes."""
        return (self._model,) if self._model else ()

    def input_bytes(self, modality: str) -> int | None:
        """Return the most that a model takes of a modality; None: there is no model."""
        leaving = self._leaving[0] if self._leaving else None
        models = [item for item in (self.loaded, self._prepared, leaving) if item is not None]
        sizes = [
            math.prod(max(side, 1) for side in spec.shape) * np.dtype(spec.dtype).itemsize
            for loaded in models
            for spec in loaded.bundle.manifest.inputs
            if spec.modality == modality
        ]
        return max(sizes, default=0) if models else None

    @property
    def trial(self) -> CandidateTrial:
        """Counts of the prepared model.

        Raises:
            SwapError: nothing is prepared.
        """
        if self._trial is None:
            raise SwapError("fusion: no prepared model to try")
        return self._trial

    @property
    def kept(self) -> Bundle | None:
        """The model that served before and is still loaded; None: none is."""
        return self._kept.bundle

    def make_room(self) -> None:
        """Let it go where the machine has no room for it any more."""
        self._kept.make_room()

    def prepare_kept(self, sha256: str) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        loaded = self._kept.take(sha256)
        if loaded is None:
            return False
        self.prepare(loaded)
        return True

    def prepare(self, loaded: LoadedModel) -> None:
        """Keep a warm model beside the current one."""
        same = self.loaded is not None and _spaces(self.loaded) == _spaces(loaded)
        self._prepared = loaded
        # With the same features as before it can run beside the current model, and does so until
        # it serves: a share of the cycles cannot be told apart by their features.
        self._trial = CandidateTrial(loaded.bundle.manifest, same_space=same, stateful=same)

    def try_out(self, change: Change) -> None:
        """Let the prepared model take part as its trial says."""
        prepared, trial = self._prepared, self.trial
        assert prepared is not None
        candidate = BundleFusionModel(prepared)
        models: tuple[FusionModel, ...] = self.models
        if trial.stateful and self._model is not None:
            models = (ShadowedModel(self._model, candidate, trial),)
        elif trial.mode != SHADOW:
            models = (*models, GuardedModel(candidate, trial))
        change(lambda fusion: fusion.set_models(models, exclusive=self._exclusive(prepared)))

    def commit(self, stamp_ns: int, change: Change) -> ModelVersion:
        """Let the prepared model fuse from a stamp on; the old one stays for old features."""
        prepared = self._prepared
        if prepared is None:
            raise SwapError("fusion: no prepared model to commit")
        new, old = BundleFusionModel(prepared), self.models
        exclusive = self._exclusive(prepared)
        change(
            lambda fusion: fusion.set_models(
                (*old, new), exclusive=exclusive, successors=(new, *old), from_stamp_ns=stamp_ns
            )
        )
        self._leaving = (self.loaded, stamp_ns)
        self.loaded, self._model = prepared, new
        self._prepared = self._trial = None
        return new.version

    def abort(self, change: Change) -> None:
        """Drop the prepared model."""
        prepared, self._prepared, self._trial = self._prepared, None, None
        if prepared is not None:
            change(lambda fusion: fusion.set_models(self.models))
            release_model(prepared)

    def on_view(self, view: FusedView, now_ns: int, change: Change) -> None:
        """Let the old model go once every live source has passed the stamp; fusion thread."""
        if self._leaving is None:
            return
        loaded, stamp_ns = self._leaving
        live = [source for source in view.sources if source.state is SourceState.OK]
        passed = view.oldest_stamp_ns >= stamp_ns and all(s.stamp_ns >= stamp_ns for s in live)
        if not passed and now_ns < stamp_ns + _LEAVES_AFTER_NS:
            return
        self._leaving = None
        change(lambda fusion: fusion.set_models(self.models))
        if loaded is not None:
            self._kept.keep(loaded)

    @property
    def changing(self) -> bool:
        """Whether an old model has not left yet."""
        return self._leaving is not None

    def close(self) -> None:
        """Release everything."""
        self._kept.drop()
        for loaded in (self.loaded, self._prepared, self._leaving and self._leaving[0]):
            if loaded:
                loaded.backend.close()
        self.loaded = self._model = self._prepared = self._trial = self._leaving = None

    def _exclusive(self, prepared: LoadedModel) -> frozenset[str]:
        """Feature spaces that only one of the two models takes."""
        old = _spaces(self.loaded) if self.loaded else frozenset()
        return old ^ _spaces(prepared)


class ShadowedModel:
    """The current model, with a candidate running after it on the same features."""

    def __init__(
        self, model: BundleFusionModel, candidate: BundleFusionModel, trial: CandidateTrial
    ) -> None:
        self._model, self._candidate, self._trial = model, candidate, trial
        self.version, self.compatible = model.version, model.compatible

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse with the current model; what the candidate does is only counted."""
        started_s = time.monotonic()
        output = self._model.run(features)
        current = _sample(output, time.monotonic() - started_s)
        stamp_ns = max(feature.stamp_ns for feature in features.values())
        if self._trial.shadows(stamp_ns):
            started_s = time.monotonic()
            try:
                candidate = self._candidate.run(features)
                self._trial.compared(_sample(candidate, time.monotonic() - started_s), current)
            except Exception as error:  # the candidate's end, not ours
                self._trial.fail(f"shadow: {error}")
        return output


class GuardedModel:
    """A candidate that fuses features of its own space; its first failure ends the trial."""

    def __init__(self, candidate: BundleFusionModel, trial: CandidateTrial) -> None:
        self._candidate, self._trial = candidate, trial
        self.version, self.compatible = candidate.version, candidate.compatible

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse; an error is counted and goes on to fusion, which then takes the decisions."""
        started_s = time.monotonic()
        try:
            output = self._candidate.run(features)
        except Exception as error:
            self._trial.fail(f"canary: {error}")
            raise
        self._trial.served(_sample(output, time.monotonic() - started_s))
        return output


def _sample(output: FusionOutput, inference_s: float) -> Sample:
    return Sample(outputs={}, output=EncoderOutput(objects=output.objects), inference_s=inference_s)


def _spaces(loaded: LoadedModel) -> frozenset[str]:
    return frozenset(loaded.bundle.manifest.compatible_with)
