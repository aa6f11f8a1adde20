"""Nodes around a graph: other types, other layouts, fixed lengths. For imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.graph import opset_of

_FLOAT = 1  # onnx.TensorProto.FLOAT
_GIVEN = "__given"
_RAW = "__raw"


def pin_shape(model: Any, name: str, shape: tuple[int, ...]) -> None:
    """Give a graph input a fixed shape."""
    dims = _input(model, name).type.tensor_type.shape
    del dims.dim[:]
    for length in shape:
        dims.dim.add().dim_value = length


def wrap_image_input(
    model: Any, name: str, *, axes: tuple[int, int, int], kind: int, size: tuple[int, int]
) -> None:
    """Make an image input take float32 (1, 3, H, W), whatever it took.

    Args:
        model: is changed.
        name: of the input, which it keeps.
        axes: of channels, height and width in the graph.
        kind: onnx.TensorProto.DataType of the input.
        size: width and height, px.
    """
    import onnx

    nodes, source = [], name
    if kind != _FLOAT:
        nodes.append(onnx.helper.make_node("Cast", [source], [f"{name}__cast"], to=kind))
        source = f"{name}__cast"
    if axes in ((3, 1, 2), (2, 0, 1)):  # channels come last
        moved = f"{name}__last"
        nodes.append(onnx.helper.make_node("Transpose", [source], [moved], perm=[0, 2, 3, 1]))
        source = moved
    if 0 in axes:  # no batch
        sides = (3, size[1], size[0]) if axes == (0, 1, 2) else (size[1], size[0], 3)
        shape = onnx.numpy_helper.from_array(np.array(sides, np.int64), f"{name}__one_picture")
        model.graph.initializer.append(shape)
        nodes.append(onnx.helper.make_node("Reshape", [source, shape.name], [f"{name}__one"]))
        source = f"{name}__one"
    if not nodes:
        return
    nodes[-1].output[0] = f"{name}{_GIVEN}"
    _rename_uses(model.graph, name, f"{name}{_GIVEN}")
    for position, node in enumerate(nodes):
        model.graph.node.insert(position, node)
    value = _input(model, name)
    value.type.tensor_type.elem_type = _FLOAT
    pin_shape(model, name, (1, 3, size[1], size[0]))


def cast_input(model: Any, name: str) -> None:
    """Make an input of another type of floats take float32."""
    import onnx

    value = _input(model, name)
    kind = value.type.tensor_type.elem_type
    _rename_uses(model.graph, name, f"{name}{_GIVEN}")
    model.graph.node.insert(0, onnx.helper.make_node("Cast", [name], [f"{name}{_GIVEN}"], to=kind))
    value.type.tensor_type.elem_type = _FLOAT


def wrap_unit_variance(model: Any, name: str) -> None:
    """Make a graph bring an input to a mean of 0 and a variance of 1 before it takes it.

    As the feature extractor of wav2vec 2.0 and its kin does; the input holds one window.
    """
    import onnx

    node, least = onnx.helper.make_node, f"{name}__least"
    constants = {least: np.array(1e-7, np.float32)}
    constants |= {f"{name}__two": np.array(2.0, np.float32)}
    _rename_uses(model.graph, name, f"{name}__unit")
    steps = [
        node("ReduceMean", [name], [f"{name}__mean"], keepdims=0),
        node("Sub", [name, f"{name}__mean"], [f"{name}__centred"]),
        node("Pow", [f"{name}__centred", f"{name}__two"], [f"{name}__squares"]),
        node("ReduceMean", [f"{name}__squares"], [f"{name}__variance"], keepdims=0),
        node("Add", [f"{name}__variance", least], [f"{name}__raised"]),
        node("Sqrt", [f"{name}__raised"], [f"{name}__deviation"]),
        node("Div", [f"{name}__centred", f"{name}__deviation"], [f"{name}__unit"]),
    ]
    for position, step in enumerate(steps):
        model.graph.node.insert(position, step)
    tensors = (onnx.numpy_helper.from_array(value, key) for key, value in constants.items())
    model.graph.initializer.extend(tensors)


def constant_input(model: Any, name: str, value: NDArray) -> bool:
    """Turn a graph input into a constant; False, and nothing is done: its type cannot hold that."""
    import onnx

    given = _input(model, name)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    with np.errstate(invalid="ignore", over="ignore"):  # looked at below
        held = np.asarray(value).astype(dtype)
    exact = np.isfinite(held).all() if dtype.kind not in "iub" else (held == value).all()
    if not exact:
        return False
    model.graph.initializer.append(onnx.numpy_helper.from_array(held, name))
    model.graph.input.remove(given)
    return True


def fixed_output(
    model: Any,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    free_axis: int | None,
    rows: int,
) -> None:
    """Make an output float32 of a fixed shape; a free axis is padded with zeros, or cut."""
    import onnx

    nodes, source = [], f"{name}{_RAW}"
    final = list(shape)
    if dtype != np.float32:
        nodes.append(onnx.helper.make_node("Cast", [source], [f"{name}__f32"], to=_FLOAT))
        source = f"{name}__f32"
    if free_axis is not None:
        final[free_axis] = rows
        for what, value in (
            ("zeros", np.zeros(final, np.float32)),
            ("begin", np.array([0], np.int64)),
            ("end", np.array([rows], np.int64)),
            ("axis", np.array([free_axis], np.int64)),
        ):
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{name}__{what}"))
        nodes.append(
            onnx.helper.make_node(
                "Concat", [source, f"{name}__zeros"], [f"{name}__padded"], axis=free_axis
            )
        )
        bounds = [f"{name}__{what}" for what in ("begin", "end", "axis")]
        whole: dict[str, Any] = {"starts": [0], "ends": [rows], "axes": [free_axis]}
        before_10 = opset_of(model) < 10  # the bounds were attributes then
        nodes.append(
            onnx.helper.make_node("Slice", [f"{name}__padded"], [name], **whole)
            if before_10
            else onnx.helper.make_node("Slice", [f"{name}__padded", *bounds], [name])
        )
    if nodes:
        nodes[-1].output[0] = name
        _rename_uses(model.graph, name, f"{name}{_RAW}")
        for node in model.graph.node:
            for position, output in enumerate(node.output):
                if output == name:
                    node.output[position] = f"{name}{_RAW}"
        model.graph.node.extend(nodes)
    value = next(value for value in model.graph.output if value.name == name)
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, _FLOAT, final))


def with_only_outputs(model: Any, names: Sequence[str]) -> Any:
    """Return a copy of a graph that gives only these outputs."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [value for value in model.graph.output if value.name in names]
    del copy.graph.output[:]
    copy.graph.output.extend(kept)
    return copy


def _input(model: Any, name: str) -> Any:
    return next(value for value in model.graph.input if value.name == name)


def _rename_uses(graph: Any, old: str, new: str) -> None:
    """Let the nodes that read `old` read `new`, those in inner graphs too."""
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_uses(inner, old, new)
