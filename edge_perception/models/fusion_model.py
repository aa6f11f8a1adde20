"""A fusion bundle as fusion sees it: features of any subset of the modalities in, objects out."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError, ModelError
from edge_perception.core.finite import all_finite
from edge_perception.core.types import Feature, ModelVersion
from edge_perception.fusion.model import FusionOutput
from edge_perception.fusion.motion import GroundGrid
from edge_perception.models.adapters.bev_center import PresentModalities
from edge_perception.models.decided import decide, decoder_of
from edge_perception.models.loading import LoadedModel
from edge_perception.models.manifest import Manifest, TensorSpec
from edge_perception.models.merging import merged

PRESENCE = "presence"


class BundleFusionModel:
    """Runs a fusion bundle. Not thread-safe: where two threads use it, they hold `lock`.

    The manifest's inputs name the modality and the feature tensor each takes; the input of
    modality `presence`, (1, M), says which of the others are there, in their order. What is
    absent is fed as zeros and marked so in the mask: the model was trained with that. An input
    that declares `merge` takes any number of sources of its modality.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        manifest = loaded.bundle.manifest
        self._name = manifest.name
        self._backend = loaded.backend
        self.lock = threading.Lock()
        self._version = loaded.bundle.version_for("fusion")
        self._compatible = frozenset(manifest.compatible_with)
        self._inputs, self._presence = _split_inputs(manifest)
        self._outputs = manifest.outputs
        self._zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in self._inputs}
        self._adapter, self._decode = manifest.adapter, decoder_of(manifest)
        self._grid: GroundGrid | None = getattr(self._decode, "grid", None)

    @property
    def version(self) -> ModelVersion:
        """Identity of the bundle."""
        return self._version

    @property
    def compatible(self) -> Collection[str]:
        """Feature spaces it was trained with."""
        return self._compatible

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse features by source; sources that are absent are masked out.

        Sound events stay those of the encoders, which follow a sound from window to window.

        Raises:
            ModelError: several sources of a modality whose input takes one, a feature without its
                tensor or of another shape, or an output with NaN or Inf.
        """
        outputs = self._backend.infer(self.inputs(features))
        for spec in self._outputs:
            if spec.name not in outputs or not all_finite(outputs[spec.name]):
                raise InvalidOutputError(
                    f"{self._name}: output '{spec.name}' expects finite values, got NaN, Inf or "
                    "nothing"
                )
        decisions = decide(self._adapter, self._decode, outputs, self._present(features))
        return FusionOutput(objects=decisions.objects)

    def _present(self, features: Mapping[str, Feature]) -> PresentModalities:
        given = {feature.modality for feature in features.values()}
        return PresentModalities(
            names=tuple(spec.modality for spec in self._inputs if spec.modality in given)
        )

    def inputs(self, features: Mapping[str, Feature]) -> dict[str, NDArray]:
        """Return the graph inputs for features by source.

        Raises:
            ModelError: several sources of a modality whose input takes one, or a feature that does
                not fit.
        """
        by_modality: dict[str, list[Feature]] = {}
        for source in sorted(features):
            by_modality.setdefault(features[source].modality, []).append(features[source])
        arrays: dict[str, NDArray] = {}
        presence = np.zeros(self._presence.shape, self._presence.dtype)
        for column, spec in enumerate(self._inputs):
            given = by_modality.get(spec.modality, [])
            if len(given) > 1 and not spec.merge:
                raise ModelError(
                    f"{self._name}: input '{spec.name}' expected one source of modality "
                    f"{spec.modality}, got '{given[0].source}' and '{given[1].source}'"
                )
            arrays[spec.name] = self._merged(spec, given) if given else self._zeros[spec.name]
            presence[0, column] = bool(given)
        arrays[self._presence.name] = presence
        return arrays

    def _merged(self, spec: TensorSpec, features: Sequence[Feature]) -> NDArray:
        tensors = [self._tensor(spec, feature) for feature in features]
        if len(tensors) == 1:
            return tensors[0]
        return merged(tensors, [self._weight(spec, item) for item in features], spec.merge)

    def misfit(self, feature: Feature) -> str:
        """Why a feature cannot be taken: its tensors are not what the input of its modality is.

        A modality that the model has no input for is passed over, which is no misfit.
        """
        for spec in self._inputs:
            if spec.modality == feature.modality:
                return self._tensor_misfit(spec, feature) or self._weight_misfit(spec, feature)
        return ""

    def _tensor_misfit(self, spec: TensorSpec, feature: Feature) -> str:
        tensor = feature.tensors.get(spec.tensor)
        if tensor is not None and tensor.shape == spec.shape and tensor.dtype == spec.dtype:
            return ""
        got = "nothing" if tensor is None else f"{tensor.shape} {tensor.dtype}"
        return (
            f"{self._name}: input '{spec.name}' expects tensor '{spec.tensor}' "
            f"{spec.shape} {spec.dtype} of '{feature.source}', got {got}"
        )

    def _weight_misfit(self, spec: TensorSpec, feature: Feature) -> str:
        weight = feature.tensors.get(spec.weight) if spec.weight else None
        expected = (1, 1, *spec.shape[2:])
        if weight is None or weight.shape == expected:
            return ""
        return (
            f"{self._name}: input '{spec.name}' expects tensor '{spec.weight}' {expected} "
            f"of '{feature.source}', got {weight.shape}"
        )

    def _tensor(self, spec: TensorSpec, feature: Feature) -> NDArray:
        if why := self._tensor_misfit(spec, feature):
            raise ModelError(why)
        return self._at_the_cycle(feature.tensors[spec.tensor], feature)

    def _weight(self, spec: TensorSpec, feature: Feature) -> NDArray:
        """Return how much each cell of a feature counts; 1 where its encoder does not say."""
        weight = feature.tensors.get(spec.weight) if spec.weight else None
        if weight is None:
            return np.ones((1,) * len(spec.shape), np.float32)
        if why := self._weight_misfit(spec, feature):
            raise ModelError(why)
        counts = np.clip(weight.astype(np.float32), 0.0, 1.0)  # it comes from the network
        return self._at_the_cycle(counts, feature)

    def _at_the_cycle(self, tensor: NDArray, feature: Feature) -> NDArray:
        """Move a grid along with the vehicle to the stamp of the cycle."""
        if feature.displacement is None or self._grid is None or tensor.ndim < 4:
            return tensor
        return self._grid.moved(tensor, feature.displacement)


def _split_inputs(manifest: Manifest) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Return the feature inputs in order and the presence mask."""
    features = tuple(spec for spec in manifest.inputs if spec.modality != PRESENCE)
    masks = [spec for spec in manifest.inputs if spec.modality == PRESENCE]
    if len(masks) != 1 or masks[0].shape != (1, len(features)):
        raise ManifestError(
            f"{manifest.name}: manifest.inputs: expected one of modality '{PRESENCE}' and shape "
            f"(1, {len(features)}), got {[(spec.name, spec.shape) for spec in masks]}"
        )
    for spec in manifest.inputs:
        if spec.weight and (not spec.merge or len(spec.shape) != 4):
            raise ManifestError(
                f"{manifest.name}: manifest.inputs: '{spec.name}' has a weight: expected merge and "
                f"shape (1, C, H, W), got '{spec.merge}' and {spec.shape}"
            )
    for spec in features:
        if not spec.modality or not spec.tensor:
            raise ManifestError(
                f"{manifest.name}: manifest.inputs: '{spec.name}' expects modality and tensor"
            )
    return features, masks[0]
