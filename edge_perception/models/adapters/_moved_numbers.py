"""Where each number of an output comes from, behind nodes that only move numbers.

What a Reshape, a Transpose, a Concat or a Slice does with numbers is done with their places, so
that no exporter's order of strides, anchors or channels has to be known: it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.models.foreign import ForeignModel
from edge_perception.models.graph import Shapes, tensor_shapes

_KEPT = ("Identity", "Cast")
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")
_SAME_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Exp", "Sigmoid", "Relu", "Clip", "Softplus")
_MAP = 4  # axes

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A map that numbers come from, of one stride."""

    name: str
    raised: bool  # a Sigmoid is on the way to the output
    stride: int  # px
    channels: int
    last: bool  # channels are its last axis
    first: int  # place of its first number
    shape: tuple[int, int, int, int]  # (1, channels, rows, columns)


@dataclass(kw_only=True)
class Follower:
    """Follows the numbers of outputs back to the maps that a head's last convolutions give."""

    foreign: ForeignModel
    strides: Sequence[int]  # px, that maps may have
    sources: dict[tuple[str, bool], Source] = field(default_factory=dict)
    count: int = 0  # places that were given away
    _made_by: dict[str, Any] = field(init=False)
    _constants: dict[str, Any] = field(init=False)
    _done: dict[tuple[str, bool], Places | None] = field(default_factory=dict)
    _computed: Shapes | None = None

    def __post_init__(self) -> None:
        graph = self.foreign.model.graph
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                values = [a.t for a in node.attribute if a.name == "value"]
                self._constants.update(dict.fromkeys(node.output, values[0]) if values else {})

    def places(self, name: str, raised: bool = False) -> Places | None:
        """Return the place that each number of a tensor comes from; None: some were reckoned.

        Args:
            name: of the tensor.
            raised: a Sigmoid is behind it.
        """
        key = (name, raised)
        if key not in self._done:
            moved = self._moved(name, raised)
            self._done[key] = moved if moved is not None else self._source(name, raised)
        return self._done[key]

    def _moved(self, name: str, raised: bool) -> Places | None:
        node = self._made_by.get(name)
        if node is None:
            return None
        kind = node.op_type
        if kind == "Sigmoid":
            return None if raised else self.places(node.input[0], True)
        if kind in _KEPT or (kind in _QUANTISING and all(map(self._is_scalar, node.input[1:]))):
            return self.places(node.input[0], raised)
        if kind == "Concat":
            parts = [self.places(part, raised) for part in node.input]
            known = [part for part in parts if part is not None]
            whole = len(known) == len(parts)
            return np.concatenate(known, _number(node, "axis", 0)) if whole else None
        if kind not in (*_SAME_ORDER, "Transpose", "Split", "Slice", "Gather"):
            return None
        moved = self.places(node.input[0], raised)
        return None if moved is None else self._part(node, name, moved)

    def _part(self, node: Any, name: str, whole: Places) -> Places | None:
        """Do with places what a node of one source does; None: its arguments are not known."""
        if node.op_type in _SAME_ORDER:
            shape = self._shape_of(name)
            return whole.reshape(shape) if int(np.prod(shape)) == whole.size and shape else None
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            return whole.transpose(perm)
        if node.op_type == "Gather":
            which = self._values(node.input[1])
            return None if which is None else whole.take(which, _number(node, "axis", 0))
        if node.op_type == "Split":
            return self._split(node, name, whole)
        return self._sliced(node, whole)

    def _sliced(self, node: Any, whole: Places) -> Places | None:
        told = [self._values(given) for given in node.input[1:]]
        if len(told) < 2 or any(values is None for values in told):
            return None
        starts, ends, *rest = (np.ravel(values) for values in told)
        axes = rest[0] if rest else np.arange(len(starts))
        steps = rest[1] if len(rest) > 1 else np.ones(len(starts), np.int64)
        cut = [slice(None)] * whole.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            cut[axis] = slice(int(start), int(end), int(step))
        return whole[tuple(cut)]

    def _split(self, node: Any, name: str, whole: Places) -> Places | None:
        axis, begin = _number(node, "axis", 0), 0
        for output in node.output:
            length = self._shape_of(output)
            if len(length) != whole.ndim:
                return None
            if output == name:
                return whole.take(range(begin, begin + length[axis]), axis)
            begin += length[axis]
        return None

    def _source(self, name: str, raised: bool) -> Places | None:
        """Return the places of a map of one stride, each once; None: it is no such map."""
        shape = self._shape_of(name)
        if len(shape) != _MAP or shape[0] != 1 or name not in self._made_by:
            return None
        told = self._stride_of(shape[2:]), self._stride_of(shape[1:3])
        last = told[0] is None
        stride = told[1] if last else told[0]
        if stride is None or self._is_on_cells(name):
            return None
        channels = shape[3] if last else shape[1]
        rows, columns = shape[1:3] if last else shape[2:]
        source = Source(
            name=name, raised=raised, stride=stride, channels=channels, last=last,
            first=self.count, shape=(1, channels, rows, columns),
        )  # fmt: skip
        self.sources[name, raised] = source
        size = channels * rows * columns
        places = np.arange(self.count, self.count + size).reshape(source.shape)
        self.count += size
        return places.transpose(0, 2, 3, 1) if last else places

    def _stride_of(self, grid: tuple[int, ...]) -> int | None:
        size = self.foreign.size
        assert size is not None
        fitting = (s for s in self.strides if grid == (-(-size[1] // s), -(-size[0] // s)))
        return next(fitting, None)

    def _is_on_cells(self, name: str) -> bool:
        """Whether a map was added to or multiplied by numbers of each cell: it is decoded."""
        node = self._made_by.get(name)
        if node is None or node.op_type not in _ARITHMETIC:
            return False
        computed = [part for part in node.input if part not in self._constants]
        wide = [part for part in computed if len(self.foreign.shapes.get(part, ())) >= _MAP]
        given = [self._constants[part] for part in node.input if part in self._constants]
        if wide and any(len(t.dims) > 1 and max(t.dims[-2:]) > 1 for t in given):
            return True
        return any(self._is_on_cells(part) for part in computed)

    def _shape_of(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, also where the graph computes it of others; (): unknown."""
        shape = self.foreign.shapes.get(name, ())
        if shape and min(shape) > 0:
            return shape
        if self._computed is None:
            import onnx

            model = onnx.shape_inference.infer_shapes(self.foreign.model, data_prop=True)
            self._computed = tensor_shapes(model)
        shape = self._computed.get(name, ())
        return shape if shape and min(shape) > 0 else ()

    def _values(self, name: str) -> Any:
        import onnx

        given = self._constants.get(name)
        return None if given is None else onnx.numpy_helper.to_array(given)

    def _is_scalar(self, name: str) -> bool:
        given = self._constants.get(name)
        return given is not None and int(np.prod(given.dims, dtype=np.int64)) == 1


def _number(node: Any, name: str, otherwise: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), otherwise)
