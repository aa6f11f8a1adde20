"""Heads that end in maps, one or more a stride, as exporters for NPUs and TensorRT leave them.

Such files stop before boxes are decoded: each output is a map (1, channels, rows, columns) of one
stride. Here the maps become the rows that decoders read, with nodes at the end of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.adapters._boxes import sigmoid
from edge_perception.models.foreign import ForeignModel

# Between what makes a map or rows and the output.
_KEPT = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
_MOVES = ("Transpose", "Reshape")  # where a map could not be turned further up
_MAP = 4  # axes
_NEAR = 0.02  # quantised numbers are as near to what they stand for
_RECKONS = ("Exp", "Mul", "Relu", "Clip", "Softplus", "Div")


@dataclass(kw_only=True)
class MapRows:
    """A copy of a graph whose maps become other outputs."""

    model: Any
    outputs: list[str] = field(default_factory=list)

    def add(self, name: str, source: str, channels: Sequence[int], shape: Sequence[int]) -> str:
        """Append an output: some channels of a map as (1, rows * columns, channels).

        Args:
            name: of the output.
            source: the map, or the tensor that it is to be read from.
            channels: that are taken, in this order.
            shape: of the map.
        """
        import onnx

        graph, node = self.model.graph, onnx.helper.make_node
        index = onnx.numpy_helper.from_array(np.array(channels, np.int64), f"{name}__channels")
        flat = onnx.numpy_helper.from_array(
            np.array([1, len(channels), shape[2] * shape[3]], np.int64), f"{name}__flat"
        )
        graph.initializer.extend((index, flat))
        graph.node.extend(
            (
                node("Gather", [source, index.name], [f"{name}__part"], axis=1),
                node("Reshape", [f"{name}__part", flat.name], [f"{name}__cells"]),
                node("Transpose", [f"{name}__cells"], [name], perm=[0, 2, 1]),
            )
        )
        self._declare(name, (1, shape[2] * shape[3], len(channels)))
        return name

    def add_anchors(self, name: str, source: str, anchors: int, shape: Sequence[int]) -> str:
        """Append an output: a map of anchors as (1, anchors, rows, columns, numbers of each)."""
        import onnx

        graph, node = self.model.graph, onnx.helper.make_node
        width = shape[1] // anchors
        apart = np.array([1, anchors, width, shape[2], shape[3]], np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(apart, f"{name}__apart"))
        graph.node.extend(
            (
                node("Cast", [source], [f"{name}__f32"], to=onnx.TensorProto.FLOAT),
                node("Reshape", [f"{name}__f32", f"{name}__apart"], [f"{name}__anchors"]),
                node("Transpose", [f"{name}__anchors"], [name], perm=[0, 1, 3, 4, 2]),
            )
        )
        self._declare(name, (1, anchors, shape[2], shape[3], width))
        return name

    def add_turned(self, name: str, source: str, axes: Sequence[int], shape: Sequence[int]) -> str:
        """Append an output: a tensor with its axes in another order, of that shape."""
        self.node("Transpose", [source], name, perm=list(axes))
        self._declare(name, shape)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """Append a node of one output, which is no output of the graph."""
        import onnx

        made = onnx.helper.make_node(operator, list(inputs), [output], **attributes)
        self.model.graph.node.append(made)

    def only(self, name: str, shape: Sequence[int]) -> None:
        """Make a tensor the only output of those that were added."""
        self.outputs.clear()
        self._declare(name, shape)

    def done(self) -> Any:
        """Return the graph: what was added are its only outputs."""
        kept = [value for value in self.model.graph.output if value.name in self.outputs]
        copies = [type(value).FromString(value.SerializeToString()) for value in kept]
        del self.model.graph.output[:]
        self.model.graph.output.extend(copies)
        return self.model

    def _declare(self, name: str, shape: Sequence[int]) -> None:
        import onnx

        float32 = onnx.TensorProto.FLOAT
        self.model.graph.output.append(onnx.helper.make_tensor_value_info(name, float32, shape))
        self.outputs.append(name)


def map_rows(foreign: ForeignModel) -> MapRows:
    """Return a copy of a file's graph to add outputs to."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(foreign.model)
    return MapRows(model=model)


def before_sigmoid(model: Any, name: str) -> str | None:
    """Return what the Sigmoid that makes a map reads; None: no Sigmoid makes it."""
    node = maker_of(model, name, _KEPT)
    return str(node.input[0]) if node is not None and node.op_type == "Sigmoid" else None


def is_raised(foreign: ForeignModel, name: str, part: str = "", channels: Any = None) -> bool:
    """Whether classes are 0 to 1 already: a Sigmoid makes them, or a run on noise shows it.

    Args:
        foreign: the file.
        name: of a map that is an output.
        part: the tensor that the classes come from, where the map joins others to them.
        channels: slice of the map that holds them; None: all.
    """
    if before_sigmoid(foreign.model, part or name) is not None:
        return True
    values = foreign.tried.get(name)
    if values is None or values.ndim != _MAP:
        return False
    values = values[:, channels if channels is not None else slice(None)]
    return bool(values.size and values.min() >= 0.0 and 0.0 < values.max() <= 1.0)


def is_sum(model: Any, name: str) -> bool:
    """Whether a map is the sum of the channels of another one, perhaps kept within limits."""
    node = maker_of(model, name, (*_KEPT, *_MOVES, "Clip", "Min", "Max"))
    return node is not None and node.op_type in ("ReduceSum", "ReduceMax")


def adds_up(foreign: ForeignModel, name: str, others: Sequence[str]) -> bool:
    """Whether a run on noise shows that a map is the sum of another one's scores, kept below 1.

    Args:
        foreign: the file.
        name: of a map of one channel.
        others: maps whose channels may be added up, scores or logits of them.
    """
    values = foreign.tried.get(name)
    for other in others:
        scores = foreign.tried.get(other)
        if values is None or scores is None or scores.shape[2:] != values.shape[2:]:
            continue
        if not is_raised(foreign, other):
            scores = sigmoid(scores.astype(np.float32))
        total = np.minimum(scores.sum(axis=1), 1.0)
        if np.abs(values[:, 0] - total).max() <= _NEAR:
            return True
    return False


def are_shares(foreign: ForeignModel, name: str, channels: slice, bins: int) -> bool:
    """Whether a run on noise shows that the bins of each side are shares of 1 already.

    Args:
        foreign: the file.
        name: of a map (1, channels, rows, columns).
        channels: that hold the sides, four times the bins.
        bins: of a side.
    """
    values = foreign.tried.get(name)
    if values is None or values.ndim != _MAP or bins < 2:
        return False
    sides = values[0, channels]
    return shares_of(sides.reshape(len(sides), -1).T, bins)


def shares_of(sides: NDArray, bins: int) -> bool:
    """Whether the bins of each side are shares of 1: (cells, 4 * bins)."""
    each = sides.astype(np.float64).reshape(-1, 4, bins)
    return bool(each.min() >= 0.0 and np.abs(each.sum(axis=2) - 1.0).max() <= _NEAR)


def is_reckoned(model: Any, name: str) -> bool:
    """Whether numbers were made of what a head's last convolution gives: raised, scaled, cut."""
    node = maker_of(model, name, (*_KEPT, *_MOVES))
    return node is not None and node.op_type in _RECKONS


def joined_of(foreign: ForeignModel, name: str) -> list[tuple[str, int]]:
    """Return the maps, with their channels, that a Concat joins in a map; []: none does."""
    node = maker_of(foreign.model, name, _KEPT)
    if node is None or node.op_type != "Concat" or len(foreign.shapes.get(name, ())) != 4:
        return []
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    shapes = [foreign.shapes.get(part, ()) for part in node.input]
    if axis not in (1, -3) or any(len(shape) != 4 for shape in shapes):
        return []
    return [(str(part), shape[1]) for part, shape in zip(node.input, shapes, strict=True)]


def maker_of(model: Any, name: str, passed: Sequence[str]) -> Any:
    """Return the node that makes a tensor, behind others that change little; None: none does."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    node = made_by.get(name)
    while node is not None and node.op_type in passed:
        node = made_by.get(node.input[0])
    return node
