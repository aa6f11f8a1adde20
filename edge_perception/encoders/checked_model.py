"""What every encoder does with a model: run it, check its outputs, decode them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import InvalidOutputError
from edge_perception.core.finite import all_finite
from edge_perception.models.adapters import Decisions
from edge_perception.models.decided import decide, decoder_of
from edge_perception.models.manifest import Manifest


class CheckedModel:
    """A bundle's model with its adapter; encoders of all modalities begin with it. Not thread-safe.

    A subclass adds `preprocess` and `postprocess`.
    """

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        """Make the adapter's decoder.

        Raises:
            UnknownNameError: there is no such adapter.
            ManifestError: `postprocessing` of the manifest does not fit the model.
        """
        self._manifest = manifest
        self._backend = backend
        self._decoder = decoder_of(manifest)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model.

        Raises:
            BackendError: the run failed.
            InvalidOutputError: an output has the wrong shape, NaN or Inf.
        """
        outputs = self._backend.infer(inputs)
        check_outputs(outputs, self._manifest)
        return outputs

    def decide(self, outputs: Mapping[str, NDArray], context: Any = None) -> Decisions:
        """Return the adapter's decisions; `context` is what it wants to know of the frame.

        Raises:
            InvalidFrameError: the adapter says that the frame is to blame.
            InvalidOutputError: it failed, or what it gave cannot be used.
        """
        return decide(self._manifest.adapter, self._decoder, outputs, context)

    def features(self, outputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Return the outputs that the manifest names as features, by feature name."""
        return {tensor: outputs[output] for tensor, output in self._manifest.features.items()}


def check_outputs(outputs: Mapping[str, NDArray], manifest: Manifest) -> None:
    """Check shapes against the manifest, and that every value is finite.

    Raises:
        InvalidOutputError: an output is missing, of another shape, or holds NaN or Inf.
    """
    for spec in manifest.outputs:
        output = outputs.get(spec.name)
        if output is None or output.shape != spec.shape:
            got = "nothing" if output is None else output.shape
            raise InvalidOutputError(
                f"{manifest.name}: output '{spec.name}' expects {spec.shape}, got {got}"
            )
        if not all_finite(output):
            bad = int(np.count_nonzero(~np.isfinite(output)))
            raise InvalidOutputError(
                f"{manifest.name}: output '{spec.name}' has {bad} of {output.size} values that "
                "are NaN or Inf"
            )
