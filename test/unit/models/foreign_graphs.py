"""Graphs with the published signatures of detector families, whose weights give known boxes.

Names, shapes, types and metadata are those that the exporters write; the boxes are encoded here
as each family defines them, independently of the decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the Python package onnx is not installed")

SIZE = (96, 64)  # width and height of the input, px
# Label, score, corners in px of the input.
TRUTH = ((2, 0.9, (10.0, 20.0, 40.0, 44.0)), (0, 0.6, (60.0, 15.0, 70.0, 50.0)))
CELLS = {stride: (SIZE[0] // stride, SIZE[1] // stride) for stride in (8, 16, 32)}
ROWS = sum(columns * rows for columns, rows in CELLS.values())  # of strides 8, 16, 32
NAMES = {0: "person", 1: "bicycle", 2: "car", 3: "tram"}
_FLOAT = onnx.TensorProto.FLOAT
Head = np.ndarray


@dataclass(frozen=True)
class Signature:
    """What an exporter writes."""

    heads: Mapping[str, Head]
    image: str = "images"
    image_type: int = _FLOAT
    layout: str = "NCHW"
    free: tuple[int, ...] = ()  # axes of the image input that the file leaves free
    metadata: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, tuple[int, list]] = field(default_factory=dict)  # type, shape
    follow_data: bool = False  # the number of detections depends on the data
    times: str = ""  # head that is multiplied by the input of that name, tiled
    whole: tuple[str, ...] = ()  # heads that are int64
    first: tuple[tuple[str, Any], ...] = ()  # operators and constants at the start
    batch: int = 1
    raised: tuple[str, ...] = ()  # heads that a Sigmoid makes
    passes: tuple[str, ...] = ()  # operators of one input on the way


def corners(index: int) -> np.ndarray:
    return np.array(TRUTH[index][2])


def center(index: int) -> np.ndarray:
    box = corners(index)
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])


def share(index: int) -> np.ndarray:
    return center(index) / np.tile(SIZE, 2)


def logit(value: Any) -> Any:
    return np.log(value) - np.log1p(-np.asarray(value))


def v5(classes: int = 80) -> Head:
    head = np.zeros((1, 3 * ROWS, 5 + classes), np.float32)
    head[..., :4] = 5.0
    for row, (label, score, _) in enumerate(TRUTH):
        head[0, 40 * row + 7, :4] = center(row)
        head[0, 40 * row + 7, 4] = score / 0.95
        head[0, 40 * row + 7, 5 + label] = 0.95
    return head


def v8(classes: int = 80) -> Head:
    head = np.zeros((1, 4 + classes, ROWS), np.float32)
    head[:, :4] = 5.0
    for row, (label, score, _) in enumerate(TRUTH):
        head[0, :4, 40 * row + 7] = center(row)
        head[0, 4 + label, 40 * row + 7] = score
    return head


def raw_levels(anchors: list[list[float]], classes: int) -> dict[str, Head]:
    """As YOLOv5 and v7 before their last layer; every box in the level of stride 16."""
    heads = {
        f"level{stride}": np.full((1, 3, rows, columns, 5 + classes), -9.0, np.float32)
        for stride, (columns, rows) in CELLS.items()
    }
    for row, (label, score, _) in enumerate(TRUTH):
        x, y, width, height = center(row)
        column, line = int(x // 16), int(y // 16)
        sizes = np.reshape(anchors[1], (3, 2))
        best = next(k for k in range(3) if max((width, height) / sizes[k]) < 3.9)
        cell = heads["level16"][0, best, line, column]
        cell[0] = logit((x / 16 - column + 0.5) / 2)
        cell[1] = logit((y / 16 - line + 0.5) / 2)
        cell[2:4] = logit(np.sqrt((width, height) / sizes[best]) / 2)
        cell[4], cell[5 + label] = 20.0, logit(score)
    return heads


def rows6() -> Head:
    head = np.zeros((1, 300, 6), np.float32)
    for row, (label, score, box) in enumerate(TRUTH):
        head[0, row] = (*box, score, label)
    return head


def distribution(point: np.ndarray, box: np.ndarray, stride: int, bins: int = 8) -> np.ndarray:
    """Logits whose mean is the distance to each side, in strides."""
    distances = np.concatenate([point - box[:2], box[2:] - point]) / stride
    out = np.full((4, bins), -30.0)
    for side, value in enumerate(distances):
        low = int(value)
        assert 0 <= value < bins - 1
        out[side, low] = np.log(max(low + 1 - value, 1e-13))
        out[side, low + 1] = np.log(max(value - low, 1e-13))
    return out.reshape(-1)


def gfl(strides: tuple[int, ...], offset: float, classes: int = 80) -> list[tuple[Head, Head]]:
    """For each stride classes and distances; every box in a cell of stride 8."""
    levels = []
    for stride in strides:
        columns, rows = -(-SIZE[0] // stride), -(-SIZE[1] // stride)
        kinds = np.full((1, columns * rows, classes), 1e-4, np.float32)
        sides = np.zeros((1, columns * rows, 32), np.float32)
        if stride == 8:
            for row, (label, score, _) in enumerate(TRUTH):
                x, y = (center(row)[:2] // 8).astype(int)
                point = (np.array([x, y]) + offset) * 8
                kinds[0, y * columns + x, label] = score
                sides[0, y * columns + x] = distribution(point, corners(row), 8)
        levels.append((kinds, sides))
    return levels


def as_map(rows: np.ndarray, stride: int) -> Head:
    """(1, cells, channels) as a map (1, channels, rows, columns)."""
    columns, lines = CELLS[stride]
    return rows.transpose(0, 2, 1).reshape(1, -1, lines, columns)


def v8_maps(classes: int = 80) -> dict[int, tuple[Head, Head]]:
    """For each stride the maps of sides, 16 bins each, and of classes, logits."""
    maps = {}
    for stride, (kinds, sides) in zip((8, 16, 32), gfl((8, 16, 32), 0.5, classes), strict=True):
        wide = np.full((1, sides.shape[1], 4, 16), -30.0, np.float32)
        wide[..., :8] = sides.reshape(1, -1, 4, 8)
        cells = wide.reshape(1, -1, 64)
        maps[stride] = as_map(cells, stride), as_map(logit(kinds).astype(np.float32), stride)
    return maps


def v5_maps(anchors: list[list[float]], classes: int = 80) -> dict[str, Head]:
    """As YOLOv5's last convolutions: the anchors of a cell in the channels, logits."""
    return {
        name: head.transpose(0, 1, 4, 2, 3).reshape(1, -1, *head.shape[2:4])
        for name, head in raw_levels(anchors, classes).items()
    }


def yolox_maps(classes: int = 80) -> dict[int, list[Head]]:
    """Of each stride offsets and log sizes, objectness and classes; every box in stride 16."""
    maps = {}
    for stride, (columns, rows) in CELLS.items():
        box = np.zeros((1, 4, rows, columns), np.float32)
        least = np.full((1, 1 + classes, rows, columns), 1e-5, np.float32)
        if stride == 16:
            for row, (label, score, _) in enumerate(TRUTH):
                x, y, width, height = center(row) / stride
                at = (0, slice(None), int(y), int(x))
                box[at] = x - int(x), y - int(y), np.log(width), np.log(height)
                least[at][0], least[at][1 + label] = score / 0.95, 0.95
        maps[stride] = [box, least[:, :1], least[:, 1:]]
    return maps


def side_maps(offset: float, bins: int, *, px: bool = False, classes: int = 80) -> dict:
    """Of each stride the maps of sides and of classes (scores), both boxes in stride 8.

    A side is a distribution of so many bins; of one, the number itself, in strides or px.
    """
    maps = {}
    for stride, (columns, rows) in CELLS.items():
        kinds = np.full((1, columns * rows, classes), 1e-4, np.float32)
        sides = np.full((1, columns * rows, 4, bins), 1.0 if bins == 1 else -30.0, np.float32)
        if stride == 8:
            for row, (label, score, box) in enumerate(TRUTH):
                x, y = (center(row)[:2] // 8).astype(int)
                point = (np.array([x, y]) + offset) * 8
                reach = np.concatenate([point - box[:2], box[2:] - point])
                kinds[0, y * columns + x, label % classes] = score
                told = (reach if px else reach / 8)[:, None]
                if bins > 1:
                    told = distribution(point, corners(row), 8, bins).reshape(4, bins)
                sides[0, y * columns + x] = told
        flat = sides.reshape(1, -1, 4 * bins)
        maps[stride] = as_map(flat, stride), as_map(kinds, stride)
    return maps


def corner_columns(classes: int = 80) -> Head:
    """As `v8`, but with corners in the place of centre and size; each box about its cell."""
    head = np.zeros((1, 4 + classes, ROWS), np.float32)
    first = 0
    for stride, (columns, rows) in CELLS.items():
        y, x = np.divmod(np.arange(columns * rows), columns)
        low = np.stack([x, y]) * stride
        head[0, :4, first : first + columns * rows] = np.concatenate([low, low + stride])
        first += columns * rows
    for row, (label, score, box) in enumerate(TRUTH):
        head[0, :4, 40 * row + 7], head[0, 4 + label, 40 * row + 7] = box, score
    return head


def nanodet(strides: tuple[int, ...], offset: float) -> Head:
    levels = [np.concatenate(level, axis=2) for level in gfl(strides, offset)]
    return np.concatenate(levels, axis=1)


def picodet() -> dict[str, Head]:
    levels = gfl((8, 16, 32, 64), 0.5)
    kinds = {f"transpose_{k}.tmp_0": logit(level[0]) for k, level in enumerate(levels)}
    return kinds | {f"transpose_{k + 4}.tmp_0": level[1] for k, level in enumerate(levels)}


def queries(columns: int, count: int = 100) -> tuple[Head, Head]:
    """Logits of a sigmoid, and boxes."""
    logits = np.full((1, count, columns), -9.0, np.float32)
    boxes = np.full((1, count, 4), 0.5, np.float32)
    for row, (label, score, _) in enumerate(TRUTH):
        logits[0, 3 * row, label], boxes[0, 3 * row] = logit(score), share(row)
    return logits, boxes


def detr_logits(ids: Mapping[int, int]) -> Head:
    """Logits of a softmax over 91 numbers and "no object"."""
    logits = np.zeros((1, 100, 92), np.float32)
    logits[..., 91] = 20.0
    for row, (label, score, _) in enumerate(TRUTH):
        logits[0, 3 * row] = -40.0
        logits[0, 3 * row, ids[label]], logits[0, 3 * row, 91] = np.log(score), np.log(1 - score)
    return logits


def lists(
    names: tuple[str, str, str], first: int, boxes: Callable[[int], np.ndarray], *, batch: bool
) -> dict[str, Head]:
    """Boxes, scores and classes apart; the third row is a detection that is too weak."""
    count = len(TRUTH)
    heads = {
        names[0]: np.stack([*(boxes(row) for row in range(count)), boxes(0)]),
        names[1]: np.array([*(score for _, score, _ in TRUTH), 0.01]),
        names[2]: np.array([*(label + first for label, _, _ in TRUTH), first]),
    }
    return {n: (v[None] if batch else v).astype(np.float32) for n, v in heads.items()}


def write(path: Path, signature: Signature, *, half: bool = False, quantised: bool = False) -> Path:
    """Write the graph: each head is a weight plus 0 times the image."""
    helper, kind = onnx.helper, signature.image_type
    if half:
        kind = onnx.TensorProto.FLOAT16
    dtype = np.float16 if half else np.float32
    shape: list[Any] = [signature.batch, 3, SIZE[1], SIZE[0]]
    if signature.layout in ("NHWC", "HWC"):
        shape = [signature.batch, SIZE[1], SIZE[0], 3]
    if signature.layout in ("CHW", "HWC"):
        shape = shape[1:]
    shape = [f"free{k}" if k in signature.free else n for k, n in enumerate(shape)]
    inputs = [helper.make_tensor_value_info(signature.image, kind, shape)]
    inputs += [helper.make_tensor_value_info(n, k, s) for n, (k, s) in signature.inputs.items()]
    weights = {"zero": np.array(0.0, dtype)}
    nodes = [helper.make_node("Cast", [signature.image], ["pixels"], to=10 if half else 1)]
    pixels = "pixels"
    for k, (operator, value) in enumerate(signature.first):
        weights[f"first{k}"] = np.array(value, dtype).reshape(-1, 1, 1)
        nodes.append(helper.make_node(operator, [pixels, f"first{k}"], [f"pixels{k}"]))
        pixels = f"pixels{k}"
    for operator in signature.passes:
        nodes.append(helper.make_node(operator, [pixels], [f"of_{operator}"]))
        pixels = f"of_{operator}"
    nodes += [
        helper.make_node("ReduceMax", [pixels], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
    ]
    for name, value in signature.heads.items():
        weights[f"{name}_w"] = value.astype(dtype)
        source = f"{name}_w"
        if quantised:
            scale = max(float(np.abs(value).max()), 1e-3) / 32767
            weights |= {f"{name}_s": np.array(scale, dtype), f"{name}_z": np.array(0, np.int16)}
            weights[f"{name}_w"] = np.rint(value / scale).astype(np.int16)
            pair = [f"{name}_s", f"{name}_z"]
            nodes.append(helper.make_node("DequantizeLinear", [source, *pair], [f"{name}_d"]))
            source = f"{name}_d"
        last = f"{name}_sum" if signature.follow_data or name == signature.times else name
        if name in signature.whole:
            last = f"{name}_float"
        if name in signature.raised:
            last = f"{name}_logits"
        nodes.append(helper.make_node("Add", [source, "nothing"], [last]))
        if name in signature.raised:
            nodes.append(helper.make_node("Sigmoid", [last], [name]))
        if name in signature.whole:
            nodes.append(helper.make_node("Cast", [last], [name], to=7))
        if signature.follow_data:
            nodes += _those_there_are(name, signature)
        elif name == signature.times:
            weights["twice"] = np.array([1, 2], np.int64)
            (given,) = signature.inputs
            nodes += [
                helper.make_node("Cast", [given], ["wh"], to=1),
                helper.make_node("Tile", ["wh", "twice"], ["whwh"]),
                helper.make_node("Mul", [last, "whwh"], [name]),
            ]
    if signature.follow_data:
        weights |= {"least": np.array(0.005, dtype), "first": np.array(0, np.int64)}
        weights["column"] = np.array([_score_column(signature)], np.int64)
    outputs = [
        helper.make_tensor_value_info(
            name,
            7 if name in signature.whole else 10 if half else 1,
            ["count", *value.shape[1:]] if signature.follow_data else value.shape,
        )
        for name, value in signature.heads.items()
    ]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    opset = helper.make_opsetid("", 21 if quantised else 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    helper.set_model_props(model, dict(signature.metadata))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _score_column(signature: Signature) -> int:
    (first, *_) = signature.heads.values()
    return first.shape[1] - 1


def _those_there_are(name: str, signature: Signature) -> list:
    """Keep the rows whose score is not nothing: their number follows the data."""
    node = onnx.helper.make_node
    scores = next((n for n in signature.heads if "score" in n), "")
    of, nodes = f"{scores}_w", []
    if not scores:
        of = f"{name}_column"
        nodes.append(node("Gather", [f"{name}_sum", "column"], [of], axis=1))
    nodes += [
        node("Greater", [of, "least"], [f"{name}_strong"]),
        node("NonZero", [f"{name}_strong"], [f"{name}_where"]),  # (axes, rows)
        node("Gather", [f"{name}_where", "first"], [f"{name}_row"], axis=0),
        node("Gather", [f"{name}_sum", f"{name}_row"], [name], axis=0),
    ]
    return nodes
