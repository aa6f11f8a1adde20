"""What is asked of the fusion node about its models: by its lifecycle, and by the model manager."""

from __future__ import annotations

from collections.abc import Callable

from edge_perception import msg
from edge_perception.core.errors import SwapError
from edge_perception.core.types import Feature, FusedView, ModelCommit
from edge_perception.fusion.fusion import Fusion
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import LoadedModel, closed_on_failure, may_keep
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.fusion.models import FusionModels
from edge_perception.nodes.fusion.parameters import FusionParameters
from edge_perception.nodes.fusion.trial_fusion import TrialFusion
from edge_perception.nodes.links.model_info import kept_infos, model_info
from edge_perception.releases.candidate import MODES, CandidateTrial
from edge_perception.releases.loading import load_model

_ROLE = "fusion"


class FusionModelHost:
    """Loads models; lets `FusionModels` decide which of them fuse, between two cycles.

    Args:
        node: the fusion node.
        parameters: say which model serves first, from where, and how is fused.
        change: runs a change of fusion between two cycles; raises SwapError where none ever ran.
        served: returns how many views rest on a fusion model.
        on_error: takes what a trial should not have raised.
    """

    def __init__(
        self,
        node: PerceptionNode,
        parameters: FusionParameters,
        *,
        change: Callable[[Callable[[Fusion], None]], None],
        served: Callable[[], int],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._parameters, self._options = node, parameters, parameters.model
        self._change, self._served, self._on_error = change, served, on_error
        self._models = self._models_of(None)
        self._since_ns = 0  # stamp from which on the present model serves

    # -- with the lifecycle of the node --

    def load(self) -> None:
        """Load the fusion model, where one is named."""
        if self._options.config.model:
            loaded = load_model(self._options.config, role=_ROLE)
            with closed_on_failure(loaded.backend):
                self._models = self._models_of(loaded)

    def begin(self) -> tuple[BundleFusionModel, ...]:
        """Serve from now on; return what fuses."""
        self._since_ns = self._node.clock.now().node_ns
        return self._models.models

    def close(self) -> None:
        """Release every model."""
        self._models.close()

    def _models_of(self, loaded: LoadedModel | None) -> FusionModels:
        return FusionModels(
            loaded,
            admits=lambda: may_keep(self._options.config),
            trial_fusion=lambda models, spaces, exclusive, trial: TrialFusion(
                config=self._parameters.fusion(),
                clock=self._node.clock,
                models=models,
                spaces=spaces,
                exclusive=exclusive,
                trial=trial,
                on_error=self._on_error,
            ),
        )

    # -- with features and views --

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that serves; None: there is none."""
        return self._models.loaded

    def input_bytes(self, modality: str) -> int | None:
        """Return the most that a model takes of a modality; None: there is no model."""
        return self._models.input_bytes(modality)

    def offer_beside(self, feature: Feature) -> None:
        """Take a feature of the model of a trial that did not serve its frame; any thread."""
        self._models.offer_beside(feature)

    def on_view(self, view: FusedView) -> None:
        """Let a model that leaves go once a view shows that it may; fusion thread."""
        self._models.on_view(view, self._node.clock.now().node_ns, self._change)

    # -- as a `ModelHost` --

    def prepare_kept(self, sha256: str) -> bool:
        """Prepare the model that served before; False: it is not loaded any more."""
        return self._node.is_active and self._models.prepare_kept(sha256, self._change)

    def prepare_model(self, name: str, version: str, sha256: str) -> None:
        """Load and warm a fusion model beside the running one."""
        if not self._node.is_active:
            raise SwapError("fusion: is not active")
        self._models.make_room()
        loaded = load_model(
            self._options.config,
            role=_ROLE,
            name=name,
            version=version,
            sha256=sha256,
            beside=True,
        )
        self._models.prepare(loaded, self._change)

    def try_model(self, mode: str, share: float, deadline_ms: float) -> CandidateTrial:
        """Let the prepared model run on some cycles; STATUS changes nothing."""
        trial = self._models.trial
        if mode in MODES:
            trial.set_mode(mode, share, deadline_ms=deadline_ms)
            self._models.try_out(self._change)
        return trial

    def commit_model(self, effective_stamp_ns: int) -> ModelCommit:
        """Let the prepared model fuse cycles from a stamp on.

        Both models fuse features of their own set only, so that none is late.
        """
        committed = self._models.commit(effective_stamp_ns, self._change)
        self._since_ns = effective_stamp_ns
        return ModelCommit(version=committed)

    def abort_model(self) -> None:
        """Drop the prepared model."""
        self._models.abort(self._change)

    @property
    def model_changing(self) -> bool:
        """Whether a committed change has not taken effect everywhere."""
        return self._models.changing

    def model_infos(self) -> list[msg.ModelInfo]:
        """Return what is served now; nothing without a fusion model."""
        loaded = self._models.loaded
        if loaded is None:
            return []
        info = model_info(
            self._node,
            loaded,
            self._options.config,
            role=_ROLE,
            since_ns=self._since_ns,
            frames_served=self._served(),
        )
        return [info, *kept_infos(info, self._models.kept)]
