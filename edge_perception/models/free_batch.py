"""Models whose frames may run together: the first dimension is freed, and the result is proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import BackendError, ModelError
from edge_perception.models.golden import read_golden
from edge_perception.models.manifest import Bundle

# Sums in another order; an output that depends on the other frames of a run differs by far more.
_EXACT, _COARSE = 1e-3, 3e-2  # of the largest value of an output, float32 and less


def with_free_batch(bundle: Bundle, data: bytes) -> bytes:
    """Return a graph that takes any number of frames in its first dimension.

    Raises:
        ModelError: it is no ONNX graph, or its tensors do not begin with one frame.
    """
    manifest = bundle.manifest
    fixed = [spec.name for spec in (*manifest.inputs, *manifest.outputs) if spec.shape[:1] != (1,)]
    if fixed:
        raise ModelError(f"expected a first dimension of 1, the frame, of {', '.join(fixed)}")
    if not manifest.model.endswith(".onnx"):
        raise ModelError(f"expected an ONNX graph, got {manifest.model}")
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # of protobuf, without a common base
        raise ModelError(f"no ONNX graph: {error}") from error
    graph = model.graph
    weights = {item.name for item in graph.initializer}
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.name not in weights and dims and dims[0].dim_value == 1:
            dims[0].dim_param = "frames"
    del graph.value_info[:]  # they say 1
    whole: bytes = model.SerializeToString()
    return whole


def prove_batches(bundle: Bundle, backend: Backend, *, most: int) -> None:
    """Hold a frame that runs with others against the same frame alone.

    Args:
        bundle: gives the frames: its golden inputs, and the same mirrored and fainter.
        backend: a session of the freed graph.
        most: frames of a run.

    Raises:
        ModelError: it does not run with several frames, or gives something else.
    """
    frame = _frame(bundle)
    frames = [frame, {name: _another(array) for name, array in frame.items()}]
    exact = backend.describe().precision in ("", "f32", "fp32")
    try:
        alone = [backend.infer(item) for item in frames]
        for count in sorted({2, most}):
            order = [index % 2 for index in range(count)]
            together = backend.infer(
                {name: np.concatenate([frames[index][name] for index in order]) for name in frame}
            )
            for row, index in enumerate(order):
                _same(alone[index], together, row, _EXACT if exact else _COARSE)
    except BackendError as error:
        raise ModelError(f"it does not run with several frames: {error}") from error


def _same(
    alone: Mapping[str, NDArray], together: Mapping[str, NDArray], row: int, allowed: float
) -> None:
    for name, expected in alone.items():
        got = together[name][row : row + 1]
        if got.shape != expected.shape:
            raise ModelError(f"output '{name}' has no row for each frame")
        difference = float(np.max(np.abs(got.astype(np.float64) - expected), initial=0.0))
        scale = float(np.max(np.abs(expected), initial=0.0))
        if not difference <= allowed * max(scale, 1e-6):
            raise ModelError(
                f"output '{name}' of a frame differs by {difference:.3g} (largest value "
                f"{scale:.3g}) when it runs with others"
            )


def _another(array: NDArray) -> NDArray:
    """Return a frame whose values, and their mean and spread, are others."""
    mirrored = np.ascontiguousarray(array[..., ::-1])
    return (mirrored * 0.5).astype(array.dtype) if array.dtype.kind == "f" else mirrored


def _frame(bundle: Bundle) -> dict[str, Any]:
    if bundle.manifest.golden is not None:
        return dict(read_golden(bundle)[0])
    random = np.random.default_rng(0)
    return {
        spec.name: random.random(spec.shape).astype(spec.dtype) for spec in bundle.manifest.inputs
    }
