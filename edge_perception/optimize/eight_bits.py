"""Graphs of quantisers as runtimes compute them in eight bits; the values stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.graph import graph_of
from edge_perception.optimize.ranges import CONVOLUTIONS, PRODUCTS

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"
_MOVES = ("Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile")


def runnable(data: bytes) -> bytes:
    """Return a graph with its weights kept in eight bits, and what is stacked taken as it is.

    Runtimes compute a layer in eight bits where all that it is given was just eight bits. NNCF's
    quantisers stand before a `Concat` with one scale for all of it, and not behind it, and before
    what cuts a part out; and those of PyTorch round the weights in each run.

    Args:
        data: with `QuantizeLinear` and `DequantizeLinear`.
    """
    model = graph_of("model.onnx", data)
    known = _constants(model.graph)
    _keep_weights(model.graph, known)
    _count_from_zero(model.graph, known)
    _cut_first(model.graph)
    _take_stacked(model.graph, known)
    del model.graph.value_info[:]  # some say what was; runtimes find them by themselves
    _drop_unused(model.graph)
    return in_order(model)


def in_order(model: Any) -> bytes:
    """Return a graph whose nodes stand after those that they take from, as ONNX wants it."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    ordered = ONNXModel(model)
    ordered.topological_sort()
    return bytes(ordered.model.SerializeToString())


def _constants(graph: Any) -> dict[str, NDArray]:
    """Return what is known before a run: weights, constants, and what is the same as one."""
    import onnx

    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
    return known


def _keep_weights(graph: Any, known: Mapping[str, NDArray]) -> None:
    """Round weights once, here."""
    import onnx

    for node in [n for n in graph.node if n.op_type == _Q and all(i in known for i in n.input)]:
        values, scale, zero = (known[name] for name in node.input)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.size > 1:
            shape = [1] * values.ndim
            shape[axis] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        # As ONNX says it: to the nearest, halves to the even one.
        steps = np.rint(values / scale) + zero.astype(np.float32)
        kept = np.clip(steps, limits.min, limits.max).astype(zero.dtype)
        graph.initializer.append(onnx.numpy_helper.from_array(kept, node.output[0]))
        graph.node.remove(node)


def _count_from_zero(graph: Any, known: dict[str, NDArray]) -> None:
    """Give what is computed steps from 0 to 255 in the place of -128 to 127.

    The same values; ONNX Runtime's products take the former, and where it turns the latter into
    them by itself other parts of the graph go through float.
    """
    import onnx

    for node in [n for n in graph.node if n.op_type == _Q and len(n.input) > 2]:
        zero = known.get(node.input[2])
        if zero is None or zero.dtype != np.int8 or zero.size != 1:
            continue
        takers = [n for n in graph.node if node.output[0] in n.input]
        if any(n.op_type != _DQ or len(n.input) < 3 for n in takers):
            continue
        name = f"{node.output[0]}_zero"
        known[name] = (zero.astype(np.int16) + 128).astype(np.uint8)
        graph.initializer.append(onnx.numpy_helper.from_array(known[name], name))
        for part in (node, *takers):
            part.input[2] = name


def _cut_first(graph: Any) -> None:
    """Cut parts out before they are rounded: else all is rounded for each of them."""
    import onnx

    made_by = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    for part in [n for n in graph.node if n.op_type == "Slice"]:
        back = made_by.get(part.input[0])
        rounded = made_by.get(back.input[0]) if back is not None and back.op_type == _DQ else None
        result = part.output[0]
        if back is None or rounded is None or rounded.op_type != _Q or result in outputs:
            continue
        if rounded.input[1:] != back.input[1:] or any(a.name == "axis" for a in back.attribute):
            continue
        part.input[0] = rounded.input[0]
        part.output[0] = f"{result}_cut"
        steps, scale = f"{result}_in_steps", list(back.input[1:])
        graph.node.extend([
            onnx.helper.make_node(_Q, [part.output[0], *scale], [steps], f"{part.name}_q"),
            onnx.helper.make_node(_DQ, [steps, *scale], [result], f"{part.name}_dq"),
        ])  # fmt: skip


def _take_stacked(graph: Any, known: Mapping[str, NDArray]) -> None:
    """Say of what is stacked with one scale that it is in eight bits."""
    import onnx

    made_by = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    for node in [n for n in graph.node if n.op_type == "Concat"]:
        given = [_rounded(name, made_by) for name in node.input]
        if any(part is None for part in given):
            continue
        steps = {tuple(_step(known.get(name)) for name in part.input[1:]) for part in given}
        result = node.output[0]
        takers = [n for n in graph.node if result in n.input]
        layers = [n for n in takers if n.op_type in (*CONVOLUTIONS, *PRODUCTS)]
        if len(steps) != 1 or None in next(iter(steps)) or not layers or result in outputs:
            continue
        names = [f"{result}_in_steps", f"{result}_stacked"]
        scale = list(given[0].input[1:])
        graph.node.extend([
            onnx.helper.make_node(_Q, [result, *scale], names[:1], f"{node.name}_q"),
            onnx.helper.make_node(_DQ, [names[0], *scale], names[1:], f"{node.name}_dq"),
        ])  # fmt: skip
        for layer in layers:
            layer.input[list(layer.input).index(result)] = names[1]


def _rounded(name: str, made_by: Mapping[str, Any]) -> Any:
    """Return what a tensor was rounded by, also where its values were moved since; else None."""
    node = made_by.get(name)
    while node is not None and node.op_type in _MOVES:
        node = made_by.get(node.input[0])
    return node if node is not None and node.op_type == _DQ else None


def _step(array: NDArray | None) -> tuple[str, float] | None:
    """Return a scale or a zero point that is one for all; None: it is none, or not known."""
    return None if array is None or array.size != 1 else (array.dtype.name, float(array.item()))


def _drop_unused(graph: Any) -> None:
    """Remove quantisers and constants that nothing takes any more."""
    for kinds in ((_DQ,), (_Q,), ("Identity", "Constant")):
        used = _used(graph)
        for node in [n for n in graph.node if n.op_type in kinds and n.output[0] not in used]:
            graph.node.remove(node)
    used = _used(graph)
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def _used(graph: Any) -> set[str]:
    """Return the names that a graph takes or gives, those of its branches and loops too."""
    found = {value.name for value in graph.output}
    for node in graph.node:
        found.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _used(inner)
    return found
