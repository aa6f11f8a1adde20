"""Graphs that give all boxes, all scores, and which of them a suppression inside has selected.

YOLOv3 of Keras (the ONNX model zoo's yolov3 and tiny-yolov3) ends so: boxes (1, N, 4), scores
(1, classes, N), and rows of image, class and box, (M, 3) or (1, M, 3), as NonMaxSuppression gives
them. Here the rows are followed in the graph: lists of boxes, scores and classes come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SUPPRESSION = "NonMaxSuppression"
_WHOLE = (6, 7)  # onnx.TensorProto.DataType: int32, int64
_CENTRED = "center_point_box"  # attribute: boxes are centre and size


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The lists that are outputs in the place of rows of numbers."""

    boxes: str  # (M, 4)
    scores: str  # (M,)
    labels: str  # (M,)
    classes: int | None  # how many the scores are of; None: the file does not say
    centred: bool  # boxes are centre and size


def follow_selection(model: Any) -> Selected | None:
    """Make a graph give the boxes that its suppression has selected; None: it has no such end."""
    outputs = {value.name: value for value in model.graph.output}
    shapes = {name: _shape(value) for name, value in outputs.items()}
    rows = [
        name
        for name, value in outputs.items()
        if value.type.tensor_type.elem_type in _WHOLE
        and len(shapes[name]) in (2, 3)
        and shapes[name][-1] in (3, -1)
    ]
    solid = {n: s for n, s in shapes.items() if n not in rows and len(s) == 3}
    boxes = [name for name, shape in solid.items() if shape[2] == 4]
    if len(outputs) != 3 or len(rows) != 1 or len(solid) != 2 or len(boxes) != 1:
        return None
    suppression = _suppression_before(model, rows[0])
    if suppression is None:
        return None
    (scores,) = set(solid) - set(boxes)
    known = shapes[scores][1]
    told = {item.name: item.i for item in suppression.attribute}
    _gather(model, boxes[0], scores, rows[0])
    return Selected(
        boxes="selected_boxes",
        scores="selected_scores",
        labels="selected_classes",
        classes=known if known > 0 else None,
        centred=bool(told.get(_CENTRED, 0)),
    )


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else -1
        for dim in value.type.tensor_type.shape.dim
    )


def _suppression_before(model: Any, name: str) -> Any:
    """Return the suppression that the rows come from; None: they come from none."""
    made_by: Mapping[str, Any] = {out: node for node in model.graph.node for out in node.output}
    todo, seen = [name], set()
    while todo:
        node = made_by.get(todo.pop())
        if node is None or id(node) in seen:
            continue
        if node.op_type == _SUPPRESSION:
            return node
        seen.add(id(node))
        todo.extend(node.input)
    return None


def _gather(model: Any, boxes: str, scores: str, rows: str) -> None:
    """Append nodes that read the selected boxes, and make them the outputs."""
    import onnx

    graph, node = model.graph, onnx.helper.make_node
    constants = {
        "in_rows": np.array([-1, 3]), "in_boxes": np.array([-1, 4]), "in_one": np.array([-1]),
        "class": np.array(1), "box": np.array(2),
    }  # fmt: skip
    for key, value in constants.items():
        tensor = onnx.numpy_helper.from_array(value.astype(np.int64), f"selected__{key}")
        graph.initializer.append(tensor)
    of = {key: f"selected__{key}" for key in constants}
    graph.node.extend(
        (
            node("Cast", [rows], ["selected__whole"], to=onnx.TensorProto.INT64),
            node("Reshape", ["selected__whole", of["in_rows"]], ["selected__rows"]),
            node("Gather", ["selected__rows", of["class"]], ["selected_classes"], axis=1),
            node("Gather", ["selected__rows", of["box"]], ["selected__which"], axis=1),
            node("Reshape", [boxes, of["in_boxes"]], ["selected__all"]),
            node("Gather", ["selected__all", "selected__which"], ["selected_boxes"], axis=0),
            # Of (1, classes, N) as one row: class * N + box.
            node("Shape", [scores], ["selected__shape"]),
            node("Gather", ["selected__shape", of["box"]], ["selected__length"], axis=0),
            node("Mul", ["selected_classes", "selected__length"], ["selected__first"]),
            node("Add", ["selected__first", "selected__which"], ["selected__at"]),
            node("Reshape", [scores, of["in_one"]], ["selected__flat"]),
            node("Gather", ["selected__flat", "selected__at"], ["selected_scores"], axis=0),
        )
    )
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    made = (
        ("selected_boxes", kinds[boxes], ["selected", 4]),
        ("selected_scores", kinds[scores], ["selected"]),
        ("selected_classes", onnx.TensorProto.INT64, ["selected"]),
    )
    del graph.output[:]
    graph.output.extend(onnx.helper.make_tensor_value_info(*value) for value in made)
