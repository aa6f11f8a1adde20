"""The means of the channels of layers, and what is added to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.graph import graph_of, with_outputs
from edge_perception.optimize.ranges import Frames


def convolutions(data: bytes) -> set[str]:
    """Return the names of the convolutions."""
    return {n.name for n in graph_of("graph", data).graph.node if n.op_type == "Conv"}


def channel_means(
    data: bytes, tensors: Sequence[str], frames: Frames
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of each channel (axis 1) of tensors over frames; those that are there."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(graph_of("graph", data))
    there = {name for node in model.graph.node for name in node.output}
    names = [name for name in tensors if name in there]
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(
        with_outputs(model, names).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums: dict[str, NDArray] = {}
    for frame in frames:
        for name, array in zip(
            names, session.run(names, {k: np.asarray(v) for k, v in frame.items()}), strict=True
        ):
            axes = tuple(i for i in range(array.ndim) if i != 1)
            sums[name] = sums.get(name, 0.0) + array.mean(axis=axes, dtype=np.float64)
    return {name: total / len(frames) for name, total in sums.items()}


def shifted(data: bytes, shifts: Mapping[str, NDArray]) -> Any:
    """Return the graph with something added to the biases of layers, by their names."""
    import onnx

    model = graph_of("model.onnx", data)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name not in shifts:
            continue
        before: Any = 0.0
        if len(node.input) > 2:
            if node.input[2] not in weights:
                continue
            before = onnx.numpy_helper.to_array(weights[node.input[2]])
        name = f"{node.name}_corrected_bias"
        after = (before + shifts[node.name]).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(after, name))
        del node.input[2:]
        node.input.append(name)
    return model
