"""The fusion models of one node: the current one, the prepared one, and those that leave."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edge_perception.core.errors import SwapError
from edge_perception.core.types import Feature, FusedView, ModelVersion, SourceState
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.model import FusionModel
from edge_perception.fusion.one_set import Sets, sets_of
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.kept import KeptModel
from edge_perception.models.loading import LoadedModel, closed_on_failure
from edge_perception.models.manifest import Bundle
from edge_perception.models.memory import release_model
from edge_perception.nodes.fusion.trial_fusion import TrialFusion
from edge_perception.nodes.fusion.tried_models import (
    FailingModel,
    GuardedModel,
    LockedModel,
    ShadowedModel,
)
from edge_perception.releases.candidate import OFF, SHADOW, CandidateTrial

_LEAVES_AFTER_NS = 1_000_000_000  # a source that died never passes the stamp
Change = Callable[[Callable[[Fusion], None]], None]
# Makes the fusion of a trial: models, spaces of the candidate, those of sets that never meet.
MakeTrialFusion = Callable[
    [tuple[FusionModel, ...], frozenset[str], Sets, CandidateTrial], TrialFusion
]


class FusionModels:
    """Keeps the models of a set and of its successor until the last old feature has passed."""

    def __init__(
        self,
        loaded: LoadedModel | None,
        *,
        admits: Callable[[], bool] = lambda: False,
        trial_fusion: MakeTrialFusion | None = None,
    ) -> None:
        """Serve a model.

        Args:
            loaded: what serves first; None: decisions only.
            admits: whether a model that leaves may stay loaded.
            trial_fusion: makes the fusion of candidates of another feature space.
        """
        self._make_trial_fusion = trial_fusion
        self._trial_fusion: TrialFusion | None = None
        self._kept = KeptModel[LoadedModel](
            bundle=lambda model: model.bundle, release=release_model, admits=admits
        )
        self.loaded = loaded
        self._model = BundleFusionModel(loaded) if loaded else None
        self._prepared: LoadedModel | None = None
        self._candidate: BundleFusionModel | None = None  # the prepared one, on trial
        self._trial: CandidateTrial | None = None
        self._leaving: tuple[LoadedModel | None, int] | None = None  # and the stamp of the change
        # Spaces of the models that served or were dropped last. An encoder may be told of a change
        # before fusion is, and a late feature may come long after.
        self._before = self._dropped = frozenset[str]()

    @property
    def models(self) -> tuple[BundleFusionModel, ...]:
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

    def prepare_kept(self, sha256: str, change: Change) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        loaded = self._kept.take(sha256)
        if loaded is None:
            return False
        self.prepare(loaded, change)
        return True

    def prepare(self, loaded: LoadedModel, change: Change) -> None:
        """Keep a warm model beside the current one."""
        same = self.loaded is not None and _spaces(self.loaded) == _spaces(loaded)
        with closed_on_failure(loaded.backend):
            candidate = BundleFusionModel(loaded)
        self._prepared, self._candidate = loaded, candidate
        self._trial = CandidateTrial(loaded.bundle.manifest, same_space=same, stateful=same)
        self._alone(change)

    def _alone(self, change: Change) -> None:
        """Let the model that serves fuse, and keep apart from it what may come of other sets."""
        models, sets = self.models, self._sets()
        change(lambda fusion: fusion.set_models(models, exclusive=sets))

    def _sets(self) -> Sets:
        """Return the spaces of each set whose features may come now."""
        known = [self.loaded, self._prepared, self._leaving and self._leaving[0]]
        spaces = [_spaces(loaded) for loaded in known if loaded]
        return sets_of([*spaces, self._before, self._dropped])

    def try_out(self, change: Change) -> None:
        """Let the prepared model take part as its trial says.

        With the features that the current model takes, it runs on the same ones. Else the encoders
        hand over what it needs, and the set that does not serve is fused beside.
        """
        prepared, trial = self._prepared, self.trial
        assert prepared is not None
        assert self._candidate is not None
        candidate = LockedModel(self._candidate)
        current = tuple(LockedModel(model) for model in self.models)
        exclusive = self._sets()
        models: tuple[FusionModel, ...] = current
        if trial.same_space and current:
            models = (ShadowedModel(current[0], candidate, trial),)
        elif trial.mode != OFF:
            guarded = GuardedModel(candidate, trial)
            if trial.mode != SHADOW:
                models = (*models, guarded)
            self._fuse_beside((*current, FailingModel(candidate, trial)), exclusive, trial)
        change(lambda fusion: fusion.set_models(models, exclusive=exclusive))

    def _fuse_beside(
        self, models: tuple[FusionModel, ...], exclusive: Sets, trial: CandidateTrial
    ) -> None:
        if self._trial_fusion is None and self._make_trial_fusion is not None:
            assert self._prepared is not None
            spaces = _spaces(self._prepared)
            self._trial_fusion = self._make_trial_fusion(models, spaces, exclusive, trial)

    def offer_beside(self, feature: Feature) -> None:
        """Take a feature of the model that did not serve its frame; from any thread."""
        beside = self._trial_fusion
        if beside is not None:
            beside.offer(feature)

    def _end_trial(self) -> None:
        beside, self._trial_fusion = self._trial_fusion, None
        if beside is not None:
            beside.stop()

    def commit(self, stamp_ns: int, change: Change) -> ModelVersion:
        """Let the prepared model fuse from a stamp on; the old one stays for old features."""
        prepared = self._prepared
        if prepared is None:
            raise SwapError("fusion: no prepared model to commit")
        self._end_trial()  # what serves from now on is asked by one thread
        new, old = BundleFusionModel(prepared), self.models
        exclusive = self._sets()
        change(
            lambda fusion: fusion.set_models(
                (*old, new), exclusive=exclusive, successors=(new, *old), from_stamp_ns=stamp_ns
            )
        )
        self._leaving = (self.loaded, stamp_ns)
        self.loaded, self._model = prepared, new
        self._prepared = self._candidate = self._trial = None
        return new.version

    def abort(self, change: Change) -> None:
        """Drop the prepared model."""
        self._end_trial()
        prepared, self._prepared = self._prepared, None
        self._candidate = self._trial = None
        if prepared is not None:
            self._dropped = _spaces(prepared)
            self._alone(change)
            release_model(prepared)

    def on_view(self, view: FusedView, now_ns: int, change: Change) -> None:
        """Let the old model go once every live source has passed the stamp; fusion thread."""
        beside = self._trial_fusion
        if beside is not None:
            beside.on_view(view)
        if self._leaving is None:
            return
        loaded, stamp_ns = self._leaving
        live = [source for source in view.sources if source.state is SourceState.OK]
        passed = view.oldest_stamp_ns >= stamp_ns and all(s.stamp_ns >= stamp_ns for s in live)
        if not passed and now_ns < stamp_ns + _LEAVES_AFTER_NS:
            return
        self._leaving = None
        self._before = _spaces(loaded) if loaded is not None else frozenset()
        self._alone(change)
        if loaded is not None:
            self._kept.keep(loaded)

    @property
    def changing(self) -> bool:
        """Whether an old model has not left yet."""
        return self._leaving is not None

    def close(self) -> None:
        """Release everything."""
        self._end_trial()
        self._kept.drop()
        for loaded in (self.loaded, self._prepared, self._leaving and self._leaving[0]):
            if loaded:
                loaded.backend.close()
        self.loaded = self._model = self._prepared = self._leaving = None
        self._candidate = self._trial = None


def _spaces(loaded: LoadedModel) -> frozenset[str]:
    return frozenset(loaded.bundle.manifest.compatible_with)
