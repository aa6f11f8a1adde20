"""Features of several sources of one modality, made the one tensor that a fusion graph takes.

The manifest of the fusion model says how, at each input: `merge`, and with `weight` which tensor of
a feature says how much each of its cells counts (`seen` of a camera: the cells in its image).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MERGES = ("mean", "max")
# Of a cell that a source says nothing of. What no source sees becomes the mean of all, which is
# what one source alone gives there: the network's answer to nothing.
_LEAST_WEIGHT = 1e-9


def merged(tensors: Sequence[NDArray], weights: Sequence[NDArray], how: str) -> NDArray:
    """Return one tensor of the same shape and dtype.

    Args:
        tensors: one a source, (1, C, H, W) or any other shape, all the same.
        weights: one a tensor, 0 to 1, of a shape that broadcasts to it. A maximum takes a source
            where its weight is not 0, and all of them where no weight is.
        how: one of `MERGES`.
    """
    if len(tensors) == 1:
        return tensors[0]
    if how == "max":
        return _maximum(tensors, weights)
    total = np.zeros(np.broadcast_shapes(*(weight.shape for weight in weights)), np.float32)
    result = np.zeros(tensors[0].shape, np.float32)
    for tensor, weight in zip(tensors, weights, strict=True):
        share = np.maximum(weight, np.float32(_LEAST_WEIGHT))
        total += share
        result += tensor * share
    result /= total
    return result.astype(tensors[0].dtype, copy=False)


def _maximum(tensors: Sequence[NDArray], weights: Sequence[NDArray]) -> NDArray:
    shape = np.broadcast_shapes(*(weight.shape for weight in weights))
    nobody = ~np.any([np.broadcast_to(weight > 0.0, shape) for weight in weights], axis=0)
    result = np.full(tensors[0].shape, -np.inf, tensors[0].dtype)
    for tensor, weight in zip(tensors, weights, strict=True):
        np.maximum(result, tensor, out=result, where=(weight > 0.0) | nobody)
    return result
