"""Outputs of a foreign graph get fixed shapes: what the graph does not tell of them, runs do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend, BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import BackendError, ModelError
from edge_perception.models.graph_wrapping import fixed_output
from edge_perception.models.limited_run import run_limited, spared_memory

PADDED_ROWS = 300  # detections of a list whose length depends on the picture
_MOST_ROWS = 3000  # of a list that is longer than usual on a black picture or on noise
_NOT_FIXED = ("NonMaxSuppression", "NonZero", "Unique", "Loop", "Compress")  # follow the data
_BRIGHTEST = np.float32(255)


def with_fixed_outputs(
    path: Path,
    model: Any,
    feeds: Sequence[Mapping[str, NDArray]],
    backend: str,
    reasons: dict[str, str],
) -> tuple[Any, frozenset[str], dict[str, NDArray]]:
    """Give every output a fixed shape and float32; what the graph does not tell, runs do.

    Args:
        path: of the file, for messages.
        model: ONNX graph, changed in place.
        feeds: inputs of the runs.
        backend: runtime that they are done with.
        reasons: takes why an output has the shape that it gets.

    Returns:
        The graph, the outputs that were integers, and the outputs of the last run.

    Raises:
        ModelError: the graph does not run, or is not valid with fixed shapes.
    """
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value <= 0:
                dim.Clear()
    names = [value.name for value in model.graph.output]
    runs = _run(path, model, feeds, backend)
    seen, free = runs[0], _data_dependent(model)
    for name in names:
        shape = seen[name].shape
        lengths = [run[name].shape for run in runs]
        follows = name in free or 0 in shape or len(set(lengths)) > 1
        axis = _free_axis(model, name, shape) if follows else None
        rows = PADDED_ROWS
        if axis is not None and (most := max(length[axis] for length in lengths)) > rows:
            if len(set(lengths)) == 1:
                axis = None  # that many on a black picture are no detections: all cells, say
            rows = min(max(rows, 2 * most), _MOST_ROWS)
        fixed_output(model, name, shape, seen[name].dtype, free_axis=axis, rows=rows)
        if axis is not None:
            reasons[f"output.{name}"] = f"padded to {rows} rows: their number follows the data"
    whole = frozenset(name for name in names if seen[name].dtype.kind in "iu")
    try:
        return onnx.shape_inference.infer_shapes(model), whole, runs[-1]
    except Exception as error:  # onnx raises many types
        raise ModelError(
            f"{path.name}: the graph with fixed shapes is not valid: {error}"
        ) from error


def _free_axis(model: Any, name: str, shape: tuple[int, ...]) -> int | None:
    """Return the axis whose length follows the data; None: the graph says all of them."""
    dims = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else -1
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in model.graph.output
    }[name]
    if len(dims) == len(shape) and -1 not in dims:
        return None
    open_axes = [axis for axis, dim in enumerate(dims) if dim == -1] if dims else [0]
    # (batch, N, 4) with both free: the batch is one.
    return open_axes[-1] if len(shape) > 2 and len(open_axes) > 1 else open_axes[0]


def _run(
    path: Path, model: Any, feeds: Sequence[Mapping[str, NDArray]], backend: str
) -> list[dict[str, NDArray]]:
    options = BackendOptions()
    try:
        with spared_memory(backend):
            session = load_model_bytes(
                backends()[backend], model.SerializeToString(), path, options
            )
            try:
                return [_outputs_of(session, feed) for feed in feeds]
            finally:
                session.close()
    except (BackendError, MemoryError, TimeoutError) as error:
        shapes = {name: value.shape for name, value in feeds[0].items()}
        told = str(error) or "it needs more memory than this machine has to spare"
        raise ModelError(f"{path.name}: does not run with inputs {shapes}: {told}") from error


def _outputs_of(session: Backend, feed: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Run a graph; one that wants 0 to 1 may stop at 0 to 255, where it finds nothing.

    R-CNN of torchvision cannot reshape the regions that it does not propose.
    """
    try:
        return run_limited(session, feed)
    except BackendError:
        if not any(value.any() for value in feed.values()):
            raise
    return run_limited(session, {name: value / _BRIGHTEST for name, value in feed.items()})


def _data_dependent(model: Any) -> set[str]:
    """Return the tensors that come after a node whose output's length follows the data."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _NOT_FIXED or any(name in found for name in node.input):
            found.update(node.output)
    return found
