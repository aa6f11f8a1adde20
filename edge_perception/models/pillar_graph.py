"""Joins the two graphs of a pillar network: voxel encoder, scatter, backbone with head.

Autoware and mmdetection3d export them apart, as the scatter between them is code of theirs. Here it
is a ScatterND in the graph, so that a bundle has one model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_perception.core.errors import ModelError
from edge_perception.models.graph import input_names, opset_of, tensor_shapes
from edge_perception.models.graph_wrapping import pin_shape

CELLS = "cells"  # graph input: where each pillar lies, flat
MOST_CELLS = 1 << 24  # of a grid: 400 m by 400 m in cells of 0.1 m
_SCATTER = "PPScatterPlugin"


def grid_of(where: str, range_m: Any, voxel_m: Any) -> tuple[int, int]:
    """Return rows (y) and columns (x) of a grid of pillars.

    Raises:
        ModelError: these are no bounds and sizes, or make no grid that anything can hold.
    """
    try:
        low, high, size = ([float(v) for v in part] for part in (range_m[:3], range_m[3:], voxel_m))
        rows, columns = (round((high[k] - low[k]) / size[k]) for k in (1, 0))
        rows = rows if min(size) > 0.0 and high[2] > low[2] else 0
    except (TypeError, ValueError, KeyError, IndexError, ArithmeticError):
        rows = columns = 0
    if not (rows > 0 and columns > 0 and rows * columns <= MOST_CELLS):
        raise ModelError(
            f"{where}: expected range_m (x, y, z at least, then at most) and voxel_m (x, y, z) of "
            f"a grid of 1 to {MOST_CELLS} cells, got {range_m} and {voxel_m}"
        )
    return rows, columns


def joined(encoder: Any, head: Any, *, grid: tuple[int, int], shape: tuple[int, int, int]) -> Any:
    """Return one graph: pillars and their cells in, the outputs of the head out.

    Args:
        encoder: features (pillars, points, features) to (pillars, 1, channels).
        head: takes (1, channels, rows, columns).
        grid: rows and columns.
        shape: of the encoder's input.

    Raises:
        ModelError: they do not fit each other.
    """
    import onnx

    _check(encoder, head, grid, shape)
    encoder = onnx.compose.add_prefix(encoder, "encoder_")
    if opset_of(encoder) != opset_of(head):
        target = max(opset_of(encoder), opset_of(head))
        encoder, head = (_at(model, target) for model in (encoder, head))
    (source,), (target_input,) = input_names(encoder), input_names(head)
    features = encoder.graph.output[0].name
    channels = tensor_shapes(head)[target_input][1]
    cells, (pillars, *_) = grid[0] * grid[1], shape
    pin_shape(encoder, source, shape)
    node, constants = onnx.helper.make_node, {
        "scatter_rows": [pillars, channels],
        "scatter_size": [cells + 1, channels],
        "scatter_from": [0],
        "scatter_to": [cells],
        "scatter_map": [1, channels, *grid],
    }  # fmt: skip
    between = [
        node("Reshape", [features, "scatter_rows"], ["scatter_updates"]),
        node("ConstantOfShape", ["scatter_size"], ["scatter_empty"]),
        node("Cast", [CELLS], ["scatter_index"], to=onnx.TensorProto.INT64),
        node("ScatterND", ["scatter_empty", "scatter_index", "scatter_updates"], ["scatter_all"]),
        # The last row takes the pillars that are none.
        node("Slice", ["scatter_all", "scatter_from", "scatter_to"], ["scatter_cells"]),
        node("Transpose", ["scatter_cells"], ["scatter_turned"], perm=[1, 0]),
        node("Reshape", ["scatter_turned", "scatter_map"], [target_input]),
    ]
    graph = onnx.helper.make_graph(
        [*encoder.graph.node, *between, *head.graph.node],
        "pillars",
        [
            onnx.helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, shape),
            onnx.helper.make_tensor_value_info(CELLS, onnx.TensorProto.INT32, (pillars, 1)),
        ],
        list(head.graph.output),
        [
            *encoder.graph.initializer,
            *head.graph.initializer,
            *(onnx.numpy_helper.from_array(np.array(v, np.int64), n) for n, v in constants.items()),
        ],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=list(head.opset_import),
        ir_version=max(encoder.ir_version, head.ir_version),
    )
    onnx.checker.check_model(model)
    return model


def is_voxel_encoder(model: Any) -> bool:
    """Whether a graph takes nothing but voxels, (pillars, points, features), to one output."""
    names = input_names(model)
    return (
        len(names) == 1
        and len(tensor_shapes(model)[names[0]]) == 3
        and len(model.graph.output) == 1
    )


def _check(encoder: Any, head: Any, grid: tuple[int, int], shape: tuple[int, int, int]) -> None:
    if (
        len(input_names(encoder)) != 1
        or len(encoder.graph.output) != 1
        or len(input_names(head)) != 1
    ):
        raise ModelError("expected a voxel encoder and a head with one input each")
    has = tensor_shapes(encoder)[input_names(encoder)[0]]
    if len(has) != 3 or any(h not in (-1, w) for h, w in zip(has, shape, strict=True)):
        raise ModelError(f"the voxel encoder takes {has}, its configuration makes {shape}")
    takes = tensor_shapes(head)[input_names(head)[0]]
    if len(takes) != 4 or any(h not in (-1, w) for h, w in zip(takes[2:], grid, strict=True)):
        raise ModelError(f"the head takes {takes}, the grid of the configuration is {grid}")
    gives = tensor_shapes(encoder)[encoder.graph.output[0].name]
    if gives[-1] not in (-1, takes[1]) or takes[1] < 1:
        raise ModelError(f"the voxel encoder gives {gives}, the head takes {takes}")


def _at(model: Any, opset: int) -> Any:
    import onnx

    if opset_of(model) == opset:
        return model
    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # onnx raises many types
        raise ModelError(f"the graphs are of different operator sets: {error}") from error


def scatter_with_standard_operators(model: Any) -> bool:
    """Replace the scatter plug-in of NVIDIA's CUDA-PointPillars; whether there was one.

    It takes the pillars' features, their places (image, z, y, x) and how many there are. Here all
    are scattered: who makes the pillars repeats the first one in the place of those that are none.
    """
    import onnx

    graph = model.graph
    found = [node for node in graph.node if node.op_type == _SCATTER]
    if len(found) != 1 or len(found[0].input) < 2:
        return False
    (plugin,) = found
    helper = onnx.helper
    attributes = {a.name: helper.get_attribute_value(a) for a in plugin.attribute}
    weights = {value.name for value in graph.initializer}
    places = next((v for v in graph.input if v.name in plugin.input[1:] and _rank(v) == 2), None)
    sides = [int(side) for side in np.ravel(attributes.get("dense_shape", []))]
    if places is None or len(sides) != 2:
        return False
    for node in graph.node:  # its exporter writes [0] for 0
        for attribute in node.attribute:
            if attribute.name == "keepdims" and len(attribute.ints) == 1:
                attribute.CopyFrom(helper.make_attribute("keepdims", int(attribute.ints[0])))
    constants = {
        "scatter_row": np.array(2, np.int64),
        "scatter_column": np.array(3, np.int64),
        "scatter_width": np.array(sides[1], np.int64),
        "scatter_last": np.array([-1, 1], np.int64),
        "scatter_turned_map": np.array([1, -1, *sides], np.int64),
        "scatter_cells": np.array([sides[0] * sides[1]], np.int64),
        "scatter_second": np.array([1], np.int64),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in constants.items())
    node, features = helper.make_node, plugin.input[0]
    nodes = [
        node("Cast", [places.name], ["scatter_places"], to=onnx.TensorProto.INT64),
        node("Gather", ["scatter_places", "scatter_row"], ["scatter_y"], axis=1),
        node("Gather", ["scatter_places", "scatter_column"], ["scatter_x"], axis=1),
        node("Mul", ["scatter_y", "scatter_width"], ["scatter_first"]),
        node("Add", ["scatter_first", "scatter_x"], ["scatter_flat"]),
        node("Reshape", ["scatter_flat", "scatter_last"], ["scatter_index"]),
        node("Shape", [features], ["scatter_shape"]),
        node("Gather", ["scatter_shape", "scatter_second"], ["scatter_channels"]),
        node("Concat", ["scatter_cells", "scatter_channels"], ["scatter_size"], axis=0),
        node("ConstantOfShape", ["scatter_size"], ["scatter_empty"]),
        node("ScatterND", ["scatter_empty", "scatter_index", features], ["scatter_all"]),
        node("Transpose", ["scatter_all"], ["scatter_turned"], perm=[1, 0]),
        node("Reshape", ["scatter_turned", "scatter_turned_map"], [plugin.output[0]]),
    ]
    at = list(graph.node).index(plugin)
    graph.node.remove(plugin)
    for offset, item in enumerate(nodes):
        graph.node.insert(at + offset, item)
    used = {name for item in graph.node for name in item.input}
    for value in [v for v in graph.input if v.name not in used and v.name not in weights]:
        graph.input.remove(value)
    return True


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)
