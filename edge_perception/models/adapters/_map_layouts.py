"""The form that a file's maps have, whatever exporter wrote them, and the way to one form.

A head's maps are (1, channels, rows, columns) where PyTorch and Paddle write them. Keras and
TensorFlow Lite have channels last, others leave the batch out, or put rows and columns into one
axis. One form holds for all outputs of a file; that it fits the cells of the strides, with the same
channels at each, tells which. Maps of another form are turned in the graph: what an exporter added
after the last convolution is gone round where it only moves numbers, so that what the nodes tell
(a Sigmoid, a Concat of parts) is read as of any other file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edge_perception.models.foreign import ForeignModel

STRIDES = (4, 8, 16, 32, 64, 128)
_FEWEST = 2  # levels: a single map is no detector of theirs
_FIRST, _LAST = ("C", "H", "W"), ("H", "W", "C")  # where channels are
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")
_CELLWISE = (  # what is done with each number for itself, whatever the axes are
    "Identity", "Cast", "Sigmoid", "Relu", "LeakyRelu", "Exp", "Softplus", "Clip", "HardSigmoid",
    *_QUANTISING,
)  # fmt: skip
_SAME_ORDER = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_WORDS = {"C": "channels", "H": "rows", "W": "columns", "HW": "rows * columns"}


@dataclass(frozen=True, kw_only=True)
class Level:
    """The maps of one stride, in the order of the outputs."""

    stride: int  # px
    channels: Mapping[str, int]  # of each map, by its name


@dataclass(frozen=True, kw_only=True)
class Maps:
    """A file whose outputs are maps (1, channels, rows, columns), and what form they had."""

    foreign: ForeignModel
    levels: tuple[Level, ...]  # the finest first, where the order is not said
    form: str  # for people
    asked: Mapping[str, str] = field(default_factory=dict)  # what the file does not tell


@dataclass(frozen=True)
class _Form:
    axes: tuple[str, ...]
    batch: bool

    @property
    def order(self) -> tuple[str, ...]:
        """Axes that have no cells in one."""
        return tuple(letter for axis in self.axes for letter in axis)

    def lengths(self, shape: Sequence[int]) -> dict[str, int] | None:
        """Return the lengths of the axes; None: the shape has others."""
        if self.batch and tuple(shape[:1]) != (1,):
            return None
        rest = shape[1:] if self.batch else shape
        return dict(zip(self.axes, rest, strict=True)) if len(rest) == len(self.axes) else None


_FORMS = tuple(
    _Form(axes, batch)
    for batch in (True, False)
    for axes in (_FIRST, _LAST, ("C", "HW"), ("HW", "C"))
)
_USUAL = _FORMS[0]


def maps_of(foreign: ForeignModel) -> Maps | None:
    """Return a file's maps stride by stride; None: an output is none, or their form is not told."""
    if foreign.size is None or foreign.cut is not None:
        return None
    fits = {form: found for form in _FORMS if (found := _levels(foreign, form)) is not None}
    if len(fits) != 1:
        return None
    ((form, levels),) = fits.items()
    text = ", ".join((*("1",)[: form.batch], *(_WORDS[axis] for axis in form.axes)))
    if form != _USUAL:
        foreign, names = _turned(foreign, form, levels)
        levels = tuple(
            Level(stride=each.stride, channels={names[n]: c for n, c in each.channels.items()})
            for each in levels
        )
    return Maps(foreign=foreign, levels=levels, form=f"({text})")


def _levels(foreign: ForeignModel, form: _Form) -> tuple[Level, ...] | None:
    found: dict[int, dict[str, int]] = {}
    for name, shape in foreign.output_shapes().items():
        lengths = form.lengths(shape)
        stride = _stride_of(foreign, lengths) if lengths else None
        if lengths is None or stride is None:
            return None
        found.setdefault(stride, {})[name] = lengths["C"]
    alike = len({tuple(sorted(maps.values())) for maps in found.values()}) == 1
    if len(found) < _FEWEST or not alike:
        return None
    return tuple(Level(stride=stride, channels=found[stride]) for stride in sorted(found))


def _stride_of(foreign: ForeignModel, lengths: Mapping[str, int]) -> int | None:
    for stride in STRIDES:
        columns, rows = _grid(foreign, stride)
        if lengths.get("HW") == rows * columns:
            return stride
        if (lengths.get("H"), lengths.get("W")) == (rows, columns):
            return stride
    return None


def _grid(foreign: ForeignModel, stride: int) -> tuple[int, int]:
    """Return columns and rows of a stride's cells."""
    assert foreign.size is not None
    return -(-foreign.size[0] // stride), -(-foreign.size[1] // stride)


def _turned(
    foreign: ForeignModel, form: _Form, levels: Sequence[Level]
) -> tuple[ForeignModel, dict[str, str]]:
    """Return the file with its maps in the usual form, and what each output is called then."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(foreign.model)
    names: dict[str, str] = {}
    shapes, tried = dict(foreign.shapes), dict(foreign.tried)
    del model.graph.output[:]
    for level in levels:
        columns, rows = _grid(foreign, level.stride)
        turner = _Turner(model=model, shapes=shapes, rows=rows, columns=columns)
        for name, channels in level.channels.items():
            names[name] = turner.turn(name, form.order, channels)
            if name in tried:
                tried[names[name]] = _usual(tried[name], form.order, channels, rows, columns)
    for name in dict.fromkeys(names[name] for name in foreign.outputs):
        kind = onnx.TensorProto.FLOAT
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, shapes[name]))
    outputs = tuple(names[name] for name in foreign.outputs)
    turned = replace(foreign, model=model, shapes=shapes, outputs=outputs, tried=tried)
    return turned, names


def _usual(
    values: Any, order: tuple[str, ...], channels: int, rows: int, columns: int
) -> np.ndarray:
    """Return the numbers of a map as (1, channels, rows, columns)."""
    if order == _FIRST:
        return np.asarray(values).reshape(1, channels, rows, columns)
    return np.asarray(values).reshape(1, rows, columns, channels).transpose(0, 3, 1, 2)


@dataclass(kw_only=True)
class _Turner:
    """Makes maps of one stride (1, channels, rows, columns) in a graph, which is changed."""

    model: Any
    shapes: dict[str, tuple[int, ...]]
    rows: int
    columns: int
    made_by: dict[str, Any] = field(init=False)
    done: dict[str, str] = field(default_factory=dict)  # what each tensor is called, turned

    def __post_init__(self) -> None:
        self.made_by = {name: node for node in self.model.graph.node for name in node.output}

    def turn(self, name: str, order: tuple[str, ...], channels: int) -> str:
        """Return the name of a tensor with the same numbers in the usual form.

        Args:
            name: of a map.
            order: of its axes, `C`, `H` and `W`, but for axes of length 1 and cells in one axis.
            channels: that it has.
        """
        if name not in self.done:
            self.done[name] = self._turn(name, order, channels)
        return self.done[name]

    def _turn(self, name: str, order: tuple[str, ...], channels: int) -> str:
        wanted = (1, channels, self.rows, self.columns)
        if order == _FIRST and self.shapes.get(name) == wanted:
            return name
        node = self.made_by.get(name)
        ways: tuple[Callable[..., str], ...] = (self._past_moves, self._past_cellwise, self._joined)
        for way in ways:
            made = way(node, name, order, channels) if node is not None else ""
            if made:
                return made
        return self._moved(name, order, channels)

    def _past_moves(self, node: Any, name: str, order: tuple[str, ...], channels: int) -> str:
        """Go to what a node reads that only moves numbers; empty: it is none, or not told."""
        if node.op_type in _SAME_ORDER:
            inner = self._order(self.shapes.get(node.input[0], ()), order, channels)
            return self.turn(node.input[0], order, channels) if inner else ""
        if node.op_type != "Transpose" or not (shape := self.shapes.get(name, ())):
            return ""
        axes = self._order(shape, order, channels)
        told = [list(a.ints) for a in node.attribute if a.name == "perm"]
        perm = told[0] if told else list(range(len(shape)))[::-1]
        if not axes or len(perm) != len(axes):
            return ""
        before, lengths = [""] * len(axes), [0] * len(axes)
        for place, source in enumerate(perm):
            before[source], lengths[source] = axes[place], shape[place]
        source = tuple(letter for axis in before for letter in axis if axis != "1")
        if source not in (_FIRST, _LAST):
            return ""
        self.shapes[node.input[0]] = tuple(lengths)
        return self.turn(node.input[0], source, channels)

    def _past_cellwise(self, node: Any, name: str, order: tuple[str, ...], channels: int) -> str:
        """Do with turned numbers what a node does with each for itself; empty: it is no such."""
        if node.op_type not in _CELLWISE:
            return ""
        if node.op_type in _QUANTISING and not all(map(self._is_scalar, node.input[1:])):
            return ""  # a scale for each channel
        self.shapes[node.input[0]] = self.shapes.get(name, ())
        source = self.turn(node.input[0], order, channels)
        copy = self._copy(node, [source, *node.input[1:]], name, channels)
        for attribute in [a for a in copy.attribute if a.name == "axis"]:
            copy.attribute.remove(attribute)
        return str(copy.output[0])

    def _joined(self, node: Any, name: str, order: tuple[str, ...], channels: int) -> str:
        """Join turned parts where a node joins maps along their channels; empty: it does not."""
        if node.op_type != "Concat" or not (shape := self.shapes.get(name, ())):
            return ""
        axes = self._order(shape, order, channels)
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(shape)
        if not axes or axes[axis] != "C":
            return ""
        widths = []
        for part in node.input:
            inner = self.shapes.get(part, ())
            if len(inner) != len(shape) or not self._order(inner, order, inner[axis]):
                return ""
            widths.append(inner[axis])
        parts = [self.turn(n, order, w) for n, w in zip(node.input, widths, strict=True)]
        copy = self._copy(node, parts, name, channels)
        next(a for a in copy.attribute if a.name == "axis").i = 1
        return str(copy.output[0])

    def _moved(self, name: str, order: tuple[str, ...], channels: int) -> str:
        """Move the numbers with nodes of their own."""
        import onnx

        lengths = {"C": channels, "H": self.rows, "W": self.columns}
        shape = np.array([1, *(lengths[axis] for axis in order)], np.int64)
        apart, made = f"{name}__shape", f"{name}__map"
        self.model.graph.initializer.append(onnx.numpy_helper.from_array(shape, apart))
        flat = made if order == _FIRST else f"{name}__apart"
        self.model.graph.node.append(onnx.helper.make_node("Reshape", [name, apart], [flat]))
        if order != _FIRST:
            perm = [0, *(1 + order.index(axis) for axis in _FIRST)]
            node = onnx.helper.make_node("Transpose", [flat], [made], perm=perm)
            self.model.graph.node.append(node)
        self.shapes[made] = (1, channels, self.rows, self.columns)
        return made

    def _copy(self, node: Any, inputs: Sequence[str], name: str, channels: int) -> Any:
        copy = type(node).FromString(node.SerializeToString())
        del copy.input[:]
        copy.input.extend(inputs)
        del copy.output[:]
        copy.output.append(f"{name}__map")
        copy.name = f"{node.name or name}__map"
        self.model.graph.node.append(copy)
        self.shapes[copy.output[0]] = (1, channels, self.rows, self.columns)
        return self.model.graph.node[-1]

    def _order(self, shape: Sequence[int], order: tuple[str, ...], channels: int) -> list[str]:
        """Return what each axis of a shape is, `1` where it holds nothing; []: it does not fit."""
        lengths = {"C": channels, "H": self.rows, "W": self.columns}
        lengths["HW"] = self.rows * self.columns
        joined = ("C", "HW") if order == _FIRST else ("HW", "C")
        for axes in (order, joined):
            for front in ((), ("1",), ("1", "1")):
                told = [*front, *axes]
                if list(shape) == [lengths.get(axis, 1) for axis in told]:
                    return told
        return []

    def _is_scalar(self, name: str) -> bool:
        given = [t for t in self.model.graph.initializer if t.name == name]
        return bool(given) and int(np.prod(given[0].dims, dtype=np.int64)) == 1
