"""Maps of a head whose numbers were gathered: in rows, of all strides in one tensor, by anchors.

Exporters for ncnn, RKNN and others stop before boxes are decoded, and then flatten the maps, join
strides, and bring channels or anchors to other axes. Where the nodes that do so are in the graph,
each number is followed back to its map, and the maps are read in the place of the outputs: no order
is assumed. Where they are not (a graph that was fused or quantised), the number of cells tells the
strides, and their order is asked for.

Sources: ultralytics/ultralytics (Detect, YOLO26 among them), Tencent/ncnn and FeiGeChuanShu's
ncnn-android-yolov8 (rows of 64 + classes), airockchip/rknn_model_zoo (formats).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._box_evidence import are_offsets, are_scores, follow_cells
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._head_maps import shares_of
from edge_perception.models.adapters._map_layouts import STRIDES, Level, Maps
from edge_perception.models.adapters._moved_numbers import Follower, Source
from edge_perception.models.foreign import ForeignModel

_FEWEST = 2  # levels
_BOX, _MIDDLE = 4, 2  # numbers
_MOST = 4  # maps a level
FIRST = ("sides", "classes")  # what --assume first=... says


def gathered_maps(foreign: ForeignModel) -> Maps | None:
    """Return the maps that the outputs' numbers are moved from, each once; None: they are not.

    Args:
        foreign: the file.
    """
    if foreign.size is None or foreign.cut is not None or foreign.selected is not None:
        return None
    follower = Follower(foreign=foreign, strides=STRIDES)
    found: list[NDArray] = []
    for name in foreign.outputs:
        places = follower.places(name)
        if places is None:
            return None
        found.append(places.ravel())
    places = np.concatenate(found)
    seen = np.zeros(follower.count, bool)
    seen[places] = True
    sources = [each for each in follower.sources.values() if seen[each.first]]
    total = sum(int(np.prod(each.shape)) for each in sources)
    if len(places) != total or np.count_nonzero(seen) != total:
        return None  # some are left out, or are there twice
    numbers = _numbers(foreign, places, follower.count)
    if any(_is_decoded(foreign, each, numbers) for each in sources):
        return None
    where = np.full(follower.count, -1)
    where[places[::-1]] = np.arange(len(places))[::-1]
    sources.sort(key=lambda each: int(where[each.first]))
    strides = sorted({each.stride for each in sources})
    widths = {
        tuple(sorted(each.channels for each in sources if each.stride == stride))
        for stride in strides
    }
    if len(strides) < _FEWEST or len(widths) != 1 or len(sources) > _MOST * len(strides):
        return None
    written, names = _with_outputs(foreign, sources, numbers)
    levels = tuple(
        Level(
            stride=stride,
            channels={
                name: each.channels
                for name, each in zip(names, sources, strict=True)
                if each.stride == stride
            },
        )
        for stride in strides
    )
    text = ", ".join(f"'{name}' {foreign.shapes[name]}" for name in foreign.outputs[:_MOST])
    return Maps(foreign=written, levels=levels, form=f"that the graph only moves to {text}")


def _numbers(foreign: ForeignModel, places: NDArray, count: int) -> NDArray | None:
    """Return what a run on noise gave at each place; None: there was none."""
    if not all(name in foreign.tried for name in foreign.outputs):
        return None
    given = np.concatenate([np.ravel(foreign.tried[name]) for name in foreign.outputs])
    numbers = np.zeros(count, np.float32)
    numbers[places] = given
    return numbers


def _map(source: Source, numbers: NDArray) -> NDArray:
    size = int(np.prod(source.shape))
    return numbers[source.first : source.first + size].reshape(source.shape)


def _is_decoded(foreign: ForeignModel, source: Source, numbers: NDArray | None) -> bool:
    if numbers is None or source.channels < _MIDDLE:
        return False
    middles = _map(source, numbers)[0, :_MIDDLE].reshape(_MIDDLE, -1).T
    return follow_cells(foreign, middles, source.stride)


def _with_outputs(
    foreign: ForeignModel, sources: Sequence[Source], numbers: NDArray | None
) -> tuple[ForeignModel, list[str]]:
    """Return the file with maps for its outputs, and what they are called."""
    import onnx

    model, make = onnx.ModelProto(), onnx.helper.make_node
    model.CopyFrom(foreign.model)
    del model.graph.output[:]
    names, shapes, tried = [], dict(foreign.shapes), dict(foreign.tried)
    for source in sources:
        name = f"{source.name}__f32"
        model.graph.node.append(make("Cast", [source.name], [name], to=onnx.TensorProto.FLOAT))
        if source.last:
            model.graph.node.append(make("Transpose", [name], [f"{name}_t"], perm=[0, 3, 1, 2]))
            name = f"{name}_t"
        if source.raised:
            model.graph.node.append(make("Sigmoid", [name], [f"{name}__raised"]))
            name = f"{name}__raised"
        names.append(name)
        shapes[name] = source.shape
        if numbers is not None:
            tried[name] = _map(source, numbers)
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, source.shape)
        model.graph.output.append(value)
    written = replace(foreign, model=model, shapes=shapes, outputs=tuple(names), tried=tried)
    return written, names


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """An output with numbers of all cells."""

    name: str
    width: int  # numbers of a cell
    cells_last: bool
    values: NDArray | None  # (cells, width) of a run on noise


@dataclass(kw_only=True)
class _Cutter:
    """Cuts maps out of rows in a copy of a graph."""

    foreign: ForeignModel
    order: Sequence[int]  # strides, px
    model: Any = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tried: dict[str, NDArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import onnx

        self.model = onnx.ModelProto()
        self.model.CopyFrom(self.foreign.model)
        del self.model.graph.output[:]
        self.shapes, self.tried = dict(self.foreign.shapes), dict(self.foreign.tried)

    def cut(self, rows: _Rows, kind: str, channels: tuple[int, int]) -> dict[int, str]:
        """Return for each stride the name of the map with those channels of the cells."""
        import onnx

        make, graph, size = onnx.helper.make_node, self.model.graph, self.foreign.size
        assert size is not None
        made, first = {}, 0
        whole = f"{kind}__whole"
        with_batch = (1, rows.width, -1) if rows.cells_last else (1, -1, rows.width)
        given = self._given(whole, with_batch)
        graph.node.append(make("Reshape", [rows.name, given], [whole]))
        if not rows.cells_last:
            graph.node.append(make("Transpose", [whole], [f"{whole}_t"], perm=[0, 2, 1]))
            whole = f"{whole}_t"
        for stride in self.order:
            columns, lines = -(-size[0] // stride), -(-size[1] // stride)
            name, count = f"{kind}_{stride}", columns * lines
            limits = [
                self._given(f"{name}_begin", (channels[0], first)),
                self._given(f"{name}_end", (channels[1], first + count)),
                self._given(f"{name}_axes", (1, 2)),
            ]
            graph.node.append(make("Slice", [whole, *limits], [f"{name}__part"]))
            shape = (1, channels[1] - channels[0], lines, columns)
            target = self._given(name, shape)
            graph.node.append(make("Reshape", [f"{name}__part", target], [name]))
            graph.output.append(onnx.helper.make_tensor_value_info(name, 1, shape))
            self.shapes[name], made[stride] = shape, name
            if rows.values is not None:
                part = rows.values[first : first + count, slice(*channels)]
                self.tried[name] = part.T.reshape(shape)
            first += count
        return made

    def _given(self, name: str, values: Sequence[int]) -> str:
        import onnx

        tensor = onnx.numpy_helper.from_array(np.array(values, np.int64), f"{name}__given")
        self.model.graph.initializer.append(tensor)
        return str(tensor.name)


def counted_maps(foreign: ForeignModel, told: int, widths: Mapping[int, int]) -> Maps | None:
    """Return maps cut out of rows by the number of cells; what that does not tell is asked for.

    Args:
        foreign: the file, whose nodes do not tell where numbers come from.
        told: how many classes there are.
        widths: numbers of the four sides, and bins of each.

    Raises:
        ModelError: `strides` or `first` are said and do not fit.
    """
    found = _rows_of(foreign)
    if found is None:
        return None
    strides, rows = found
    asked: dict[str, str] = {}
    if len(rows) == 1:
        bins = widths.get(rows[0].width - told, 0)
        if not bins or not _is_raw(foreign, strides, rows[0].values, bins):
            return None
        cuts = _cuts_of(foreign, rows[0], 4 * bins, asked)
    else:
        boxes = [each for each in rows if each.width == _BOX]
        known = any(each.width in widths for each in rows)
        if len({each.width for each in rows}) != len(rows) or not known:
            return None
        if boxes and not are_offsets(foreign, boxes[0].values, strides):
            return None
        cuts = [(each, f"rows_{k}", (0, each.width)) for k, each in enumerate(rows)]
    order = _order_of(foreign, strides, asked)
    cutter = _Cutter(foreign=foreign, order=order)
    maps = [cutter.cut(*cut) for cut in cuts]
    levels = tuple(
        Level(stride=s, channels={made[s]: cutter.shapes[made[s]][1] for made in maps})
        for s in order
    )
    written = replace(
        foreign, model=cutter.model, shapes=cutter.shapes, tried=cutter.tried,
        outputs=tuple(name for made in maps for name in made.values()),
    )  # fmt: skip
    text = ", ".join(f"'{each.name}' {foreign.shapes[each.name]}" for each in rows)
    return Maps(foreign=written, levels=levels, form=f"cut out of {text}", asked=asked)


def _rows_of(foreign: ForeignModel) -> tuple[tuple[int, ...], list[_Rows]] | None:
    """Return the strides and the outputs, where all have numbers of each of their cells."""
    if foreign.size is None or foreign.cut is not None or foreign.selected is not None:
        return None
    rows, grids = [], set()
    for name, shape in foreign.output_shapes().items():
        rest = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        if len(rest) != 2:
            return None
        fits = [axis for axis in (0, 1) if strides_of(foreign, rest[axis])]
        if len(fits) != 1:
            return None
        grids.add(strides_of(foreign, rest[fits[0]]))
        values, last = foreign.tried.get(name), fits[0] == 1
        if values is not None:
            values = values.reshape(rest)
            values = values.T if last else values
        rows.append(_Rows(name=name, width=rest[1 - fits[0]], cells_last=last, values=values))
    return (grids.pop(), rows) if len(grids) == 1 and len(rows) <= _MOST - 1 else None


def _is_raw(
    foreign: ForeignModel, strides: tuple[int, ...], values: NDArray | None, bins: int
) -> bool:
    """Whether a run on noise shows sides, and not scores beside a box that is decoded."""
    if values is None:
        return False
    ends = values[:, : 4 * bins], values[:, -4 * bins :]
    if bins == 1:
        return all(are_offsets(foreign, end, strides) for end in ends)
    return any(shares_of(end, bins) for end in ends) or not are_scores(values[:, _BOX:])


def _cuts_of(
    foreign: ForeignModel, rows: _Rows, sides: int, asked: dict[str, str]
) -> list[tuple[_Rows, str, tuple[int, int]]]:
    """Return where sides and classes are in rows that have both."""
    assert rows.values is not None
    said, classes = foreign.said.get("first"), rows.width - sides
    if said is not None and said not in FIRST:
        raise ModelError(f"--assume first: expected {' or '.join(FIRST)}, got {said!r}")
    behind, before = rows.values[:, sides:], rows.values[:, :classes]
    scores = [bool(each.min() >= 0.0 and each.max() <= 1.0) for each in (behind, before)]
    shares = [
        shares_of(each, sides // 4) for each in (rows.values[:, :sides], rows.values[:, -sides:])
    ]
    told = shares if shares.count(True) == 1 else scores
    seen = FIRST[told.index(True)] if told.count(True) == 1 else None
    if said and seen and said != seen:
        raise ModelError(
            f"{foreign.path.name}: --assume first={said}: on noise the {seen} of output "
            f"'{rows.name}' {foreign.shapes[rows.name]} come first"
        )
    if not (said or seen):
        asked["first"] = (
            f"--assume first=sides|classes: which of {sides} numbers of the sides and {classes} of "
            f"the classes come first in '{rows.name}' {foreign.shapes[rows.name]}; sides in "
            "YOLOv8 and later, classes in NanoDet"
        )
    if (said or seen) == "classes":
        return [(rows, "cut_classes", (0, classes)), (rows, "cut_sides", (classes, rows.width))]
    return [(rows, "cut_sides", (0, sides)), (rows, "cut_classes", (sides, rows.width))]


def _order_of(
    foreign: ForeignModel, strides: tuple[int, ...], asked: dict[str, str]
) -> tuple[int, ...]:
    """Return the order of the strides' cells, which their number does not tell."""
    said = foreign.said.get("strides")
    if said is None:
        order = [str(list(each)).replace(" ", "") for each in (strides, strides[::-1])]
        asked["strides"] = (
            f"--assume strides={order[0]} or {order[1]}: which stride's cells come first; the "
            "nodes that join them are not in the graph, as they are in an export that is neither "
            "fused nor quantised"
        )
        return strides
    if not isinstance(said, list | tuple) or sorted(said, key=str) != sorted(strides, key=str):
        raise ModelError(
            f"{foreign.path.name}: --assume strides: the number of cells is that of "
            f"{list(strides)}, expected these in their order, got {said!r}"
        )
    return tuple(int(stride) for stride in said)


def undecoded(foreign: ForeignModel) -> str:
    """Say what a file with rows of cells lacks; empty: it has no such rows.

    Args:
        foreign: the file, which no family fits.
    """
    if foreign.size is None:
        return ""
    for name, shape in foreign.output_shapes().items():
        rest = shape[1:] if shape[:1] == (1,) else shape
        if len(rest) != 2:
            continue
        counts = [length for length in rest if strides_of(foreign, length)]
        anchored = [n for n in rest if strides_of(foreign, n, ANCHORS_A_CELL)]
        if len(counts) == 1:
            return _lacks_of_rows(foreign, counts[0])
        if len(anchored) == 1 or _is_a_level(foreign, rest):
            return (
                f"output '{name}' {shape} has three boxes a cell, which are not decoded, and "
                "whether anchors or cells come first is not in the graph: export it decoded (rows "
                "of centre, size, objectness and classes from 0 to 1), or as maps (1, 3 * (5 + "
                "classes), rows, columns) or levels (1, 3, rows, columns, 5 + classes), of which "
                "--assume anchors=... is asked"
            )
    return ""


def _is_a_level(foreign: ForeignModel, rest: tuple[int, ...]) -> bool:
    """Whether rows are three for each cell of one stride, beside others of other strides."""
    assert foreign.size is not None
    cells = {ANCHORS_A_CELL * -(-foreign.size[0] // s) * -(-foreign.size[1] // s) for s in STRIDES}
    lengths = {shape[-2] for shape in foreign.output_shapes().values() if len(shape) > 1}
    return rest[0] in cells and rest[1] > _BOX and len(lengths) > 1 and lengths <= cells


def _lacks_of_rows(foreign: ForeignModel, count: int) -> str:
    shapes = foreign.output_shapes()
    told = ", ".join(f"'{each}' {shapes[each]}" for each in shapes)
    strides = ", ".join(map(str, strides_of(foreign, count)))
    return (
        f"outputs {told} have numbers of each of {count} cells of strides {strides}, and "
        f"{_why_undecoded(foreign)}: decoded boxes with scores are read, or what the last "
        "convolutions give: sides of 4, 32, 44, 64 or 68 numbers with the classes, of which "
        "--labels says how many there are: export it with its decoding, or a map (1, channels, "
        "rows, columns) a stride"
    )


def _why_undecoded(foreign: ForeignModel) -> str:
    """Say what shows that numbers of cells are no decoded boxes with scores."""
    maps, found = gathered_maps(foreign), _rows_of(foreign)
    if maps is not None:
        widths = " and ".join(str(width) for width in maps.levels[0].channels.values())
        return f"the graph only moves them, from maps of {widths} channels a stride"
    strides, outputs = found if found is not None else ((), [])
    for rows in outputs:
        scores = rows.values if len(outputs) > 1 or rows.values is None else rows.values[:, _BOX:]
        if rows.width != _BOX and not are_scores(scores):
            return f"on noise those of '{rows.name}' are logits or bins, no scores of 0 to 1"
        boxes = None if rows.values is None else rows.values[:, :_BOX]
        if (len(outputs) == 1 or rows.width == _BOX) and are_offsets(foreign, boxes, strides):
            return f"on noise those of '{rows.name}' are distances from cells or offsets in them"
    return "what each number is, is not told"
