"""What every encoder does with a model's outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError
from edge_perception.core.finite import all_finite
from edge_perception.models.manifest import Manifest


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


def feature_tensors(outputs: Mapping[str, NDArray], manifest: Manifest) -> dict[str, NDArray]:
    """Return the outputs that the manifest names as features, by feature name."""
    return {tensor: outputs[output] for tensor, output in manifest.features.items()}
