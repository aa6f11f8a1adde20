"""Operators that no runtime here knows: named, or, where it is only a suppression, cut off.

Exporters for TensorRT put its suppression plug-in at the end of the graph. What the plug-in reads
are boxes and scores of all cells, which an adapter suppresses as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SUPPRESSIONS = ("EfficientNMS_TRT", "EfficientNMSX_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT")
_KNOWN_DOMAINS = ("com.microsoft", "ai.onnx.ml", "ai.onnx.preview")  # and what is below them
_EXTENSIONS = ("com.microsoft.extensions", "ai.onnx.contrib")  # of a library beside the runtime
_PASSED = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape")


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
        known = domain.startswith(_KNOWN_DOMAINS) and domain not in _EXTENSIONS
        if (node.domain, node.op_type) in own or known:
            continue
        if domain != "ai.onnx":
            found.append(f"{domain}::{node.op_type}")
        elif not onnx.defs.has(node.op_type, newest):
            later = onnx.defs.has(node.op_type)
            found.append(
                f"{node.op_type} (not in operator set {newest})" if later else node.op_type
            )
    return sorted(set(found))


def what_to_do(unknown: Sequence[str]) -> str:
    """Say how a file is made without operators that nothing here knows."""
    if any(name.partition("::")[0] in _EXTENSIONS for name in unknown):
        return (
            "of onnxruntime-extensions, which decode files, resize pictures or split texts in the "
            "graph: give the model from before add_pre_post_processing_to_model; pictures are "
            "prepared here"
        )
    return "export it without plug-ins of another runtime"


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


def all_nodes(graph: Any) -> Any:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)
