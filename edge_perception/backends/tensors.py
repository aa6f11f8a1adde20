"""What every runtime does alike with named arrays: checks them, and makes zeros for a warm-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.core.errors import BackendError


def check_inputs(model: str, expected: Sequence[TensorInfo], inputs: Mapping[str, NDArray]) -> None:
    """Refuse arrays that a model does not take.

    Raises:
        BackendError: an input is missing, or of another shape or dtype.
    """
    _check(f"{model}: input", expected, inputs)


def check_outputs(expected: Sequence[TensorInfo], outputs: Mapping[str, NDArray]) -> None:
    """Refuse arrays that a model does not give.

    Raises:
        BackendError: an output is missing, or of another shape or dtype.
    """
    _check("output", expected, outputs)


def _check(what: str, expected: Sequence[TensorInfo], arrays: Mapping[str, NDArray]) -> None:
    for info in expected:
        array = arrays.get(info.name)
        if array is None:
            raise BackendError(f"{what} '{info.name}' is missing, got {sorted(arrays)}")
        fits = len(array.shape) == len(info.shape) and all(
            size in (-1, got) for size, got in zip(info.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != info.dtype:
            raise BackendError(
                f"{what} '{info.name}' expects {info.shape} {info.dtype}, "
                f"got {array.shape} {array.dtype}"
            )


def warm_up(
    infer: Callable[[Mapping[str, NDArray]], object], inputs: Sequence[TensorInfo], runs: int
) -> None:
    """Run on zero tensors; free dimensions become 1."""
    zeros = {
        info.name: np.zeros([max(size, 1) for size in info.shape], dtype=info.dtype)
        for info in inputs
    }
    for _ in range(runs):
        infer(zeros)
