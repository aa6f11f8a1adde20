"""Small real ONNX models, made on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_perception.models.manifest import Bundle
from edge_perception.models.writing import write_bundle

onnx = pytest.importorskip("onnx", reason="the Python package onnx is not installed")

Shapes = Mapping[str, tuple[int, ...]]


def save(path: Path, nodes: list, inputs: Shapes, outputs: Shapes, weights: Mapping = {}) -> Path:
    """Write a graph of float32 tensors."""

    def info(shapes: Shapes) -> list:
        return [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    constants = [
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()
    ]
    graph = onnx.helper.make_graph(nodes, "test", info(inputs), info(outputs), constants)
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], **attributes)


def constant_heads(path: Path, inputs: Shapes, heads: Mapping[str, np.ndarray]) -> Path:
    """Each output is a constant plus 0 x the sum of the first input (NaN where that is NaN)."""
    first = next(iter(inputs))
    nodes = [
        node("ReduceSum", [first], "sum", keepdims=0),
        node("Mul", ["sum", "zero"], "nothing"),
        *(node("Add", [f"{name}_values", "nothing"], name) for name in heads),
    ]
    weights = {"zero": np.float32(0.0)}
    weights |= {f"{name}_values": np.asarray(v, np.float32) for name, v in heads.items()}
    return save(path, nodes, inputs, {name: v.shape for name, v in heads.items()}, weights)


def tensors(shapes: Shapes) -> list[dict[str, Any]]:
    return [{"name": n, "dtype": "float32", "shape": list(s)} for n, s in shapes.items()]


def manifest_of(
    role: str, adapter: str, inputs: Shapes, outputs: Shapes, **fields: Any
) -> dict[str, Any]:
    return {
        "name": f"tiny_{role}",
        "role": role,
        "version": "1.0.0",
        "adapter": adapter,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
        "provenance": {"licence": "Apache-2.0"},
        **fields,
    }


def bundle_of(folder: Path, manifest: dict[str, Any], heads: Mapping[str, np.ndarray]) -> Bundle:
    """A bundle whose model gives the same heads whatever comes in."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    inputs = {spec["name"]: tuple(spec["shape"]) for spec in manifest["inputs"]}
    source = constant_heads(folder.parent / f"{folder.name}.source.onnx", inputs, heads)
    zeros = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    return write_bundle(folder, manifest=manifest, model=source, golden_inputs=zeros)


INPUTS = {"raster": (1, 2, 4, 4)}
HEADS = {"heatmap": np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)}


def tiny(**changes: Any) -> dict[str, Any]:
    """The manifest of a model with INPUTS and HEADS."""
    outputs = {name: head.shape for name, head in HEADS.items()}
    return {**manifest_of("lidar", "bev_center", INPUTS, outputs), **changes}
