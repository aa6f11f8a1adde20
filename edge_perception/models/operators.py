"""Operators that no runtime here knows: named, or, where it is only a suppression, cut off.

Exporters for TensorRT put its suppression plug-in at the end of the graph. What the plug-in reads
are boxes and scores of all cells, which an adapter suppresses as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SUPPRESSIONS = ("EfficientNMS_TRT", "EfficientNMSX_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT")
_KNOWN_DOMAINS = ("com.microsoft", "ai.onnx.ml", "ai.onnx.preview")  # and what is below them
_PASSED = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape")
_AT_THE_FRONT = (
    *_PASSED, "Transpose", "QuantizeLinear", "DequantizeLinear", "Pad", "Resize", "Split",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A suppression that was cut off the end of a graph."""

    operator: str
    boxes: str  # graph outputs now: (1, N, 4) or (1, N, 1, 4)
    scores: str  # (1, N, classes)
    attributes: Mapping[str, Any]


def unknown_operators(model: Any) -> list[str]:
    """Return the operators that are neither of the standard, of ONNX Runtime nor in the file."""
    import onnx

    own = {(function.domain, function.name) for function in model.functions}
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    newest = min(versions.get("ai.onnx", 1), onnx.defs.onnx_opset_version())
    found = []
    for node in all_nodes(model.graph):
        domain = node.domain or "ai.onnx"
        if (node.domain, node.op_type) in own or domain.startswith(_KNOWN_DOMAINS):
            continue
        if domain != "ai.onnx":
            found.append(f"{domain}::{node.op_type}")
        elif not onnx.defs.has(node.op_type, newest):
            later = onnx.defs.has(node.op_type)
            found.append(
                f"{node.op_type} (not in operator set {newest})" if later else node.op_type
            )
    return sorted(set(found))


def cut_suppression(model: Any) -> Cut | None:
    """Take TensorRT's suppression off the end of a graph: what it reads become the outputs.

    Returns:
        What was cut; None: there is none, or it does not stand alone at the end.
    """
    import onnx

    graph = model.graph
    found = [node for node in graph.node if node.op_type in _SUPPRESSIONS]
    if len(found) != 1 or len(found[0].input) != 2:
        return None
    (last,) = found
    after, made = [last], set(last.output)
    for node in graph.node:
        if node is not last and made & set(node.input):
            if node.op_type not in _PASSED:
                return None
            after.append(node)
            made.update(node.output)
    if not {value.name for value in graph.output} <= made:
        return None
    helper = onnx.helper
    cut = Cut(
        operator=last.op_type,
        boxes=last.input[0],
        scores=last.input[1],
        attributes={a.name: helper.get_attribute_value(a) for a in last.attribute},
    )
    for node in after:
        graph.node.remove(node)
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    del graph.output[:]
    for name in (cut.boxes, cut.scores):
        axes = [f"{name}_{k}" for k in range(3)]
        kind = kinds.get(name, onnx.TensorProto.FLOAT)
        graph.output.append(helper.make_tensor_value_info(name, kind, axes))
    kept = [entry for entry in model.opset_import if entry.domain not in ("TRT", "TensorRT")]
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
    del model.opset_import[:]
    model.opset_import.extend(copies)
    return cut


@dataclass(frozen=True, kw_only=True)
class Front:
    """What a graph does with the numbers of its picture before anything else: x * gain + bias."""

    gain: NDArray[np.float64]  # (3,)
    bias: NDArray[np.float64]  # (3,)


def front_of(model: Any, image: str) -> Front:
    """Follow a picture from the input up to the first node that is no sum or product of it."""
    constants = _constants(model)
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        if node.op_type != "Shape":  # sizes are looked at beside
            for name in set(node.input):
                readers.setdefault(name, []).append(node)
    gain, bias, name = np.ones(3), np.zeros(3), image
    while len(readers.get(name, ())) == 1:
        (node,) = readers[name]
        if node.op_type not in _AT_THE_FRONT:
            other = [constants.get(item) for item in node.input if item != name]
            value = other[0] if len(other) == 1 else None
            if value is None or value.size not in (1, 3):
                break
            turns = node.op_type in ("Mul", "Add")  # either side may be the picture
            if not turns and (node.op_type not in ("Div", "Sub") or node.input[0] != name):
                break
            value = np.broadcast_to(value.reshape(-1).astype(np.float64), 3)
            if node.op_type == "Mul":
                gain, bias = gain * value, bias * value
            elif node.op_type == "Div" and value.all():
                gain, bias = gain / value, bias / value
            else:
                bias = bias + value * (1 if node.op_type == "Add" else -1)
        name = node.output[0]
    return Front(gain=gain, bias=bias)


def _constants(model: Any) -> dict[str, NDArray]:
    """Return the small constants of a graph by name."""
    import onnx

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
            tensors |= dict(zip(node.output, values, strict=False))
    return {
        name: onnx.numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if int(np.prod(tensor.dims)) <= 3 and tensor.data_location != onnx.TensorProto.EXTERNAL
    }


def all_nodes(graph: Any) -> Any:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)
