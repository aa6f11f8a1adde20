"""Recognises YOLO exports by the shapes of their outputs and by their metadata."""

from __future__ import annotations

from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._boxes import cells_of
from edge_perception.models.adapters._picture import LETTERBOX, UNIT, reading
from edge_perception.models.foreign import ForeignModel, Reading

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
_ANCHORS = 3  # a cell, of v5 and v7
# Published anchors, px: yolov5*.yaml, yolov7.yaml and yolov7-tiny.yaml.
ANCHORS: dict[str, list[list[float]]] = {
    "v5": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "v7": [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]],
    "v7-tiny": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
}
_PICTURE = {**UNIT, **LETTERBOX}
_WHY = {
    "scale": "YOLO takes pixels from 0 to 1",
    "pad": "as YOLO's own letterbox",
    "pad_value": "as YOLO's own letterbox",
}


def check_task(foreign: ForeignModel) -> None:
    """Refuse a model that says itself that it is no detector.

    Raises:
        ModelError: its metadata name another task.
    """
    task = foreign.metadata.get("task", "detect")
    if task != "detect":
        raise ModelError(
            f"{foreign.path.name}: metadata 'task': expected detect, got '{task[:30]}': "
            "masks, keypoints and rotated boxes have no place in the decisions of this package"
        )


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what YOLO without suppression the file may be."""
    if foreign.size is None:
        return []
    if foreign.metadata.get("author") == "Ultralytics":
        check_task(foreign)  # before its shapes are read as those of a detector
    shapes = foreign.output_shapes()
    found = []
    for name, shape in shapes.items():
        if len(shape) == 3 and shape[0] == 1:
            found += _flat(foreign, name, shape)
    found = found or _levels(foreign)
    if found:
        check_task(foreign)
    return found


def _flat(foreign: ForeignModel, name: str, shape: tuple[int, ...]) -> list[Reading]:
    assert foreign.size is not None
    names = len(foreign.names())
    cells = {cells_of(foreign.size, strides) for strides in _STRIDES}
    found = []
    if shape[1] in {_ANCHORS * count for count in cells} and shape[2] > 5:
        found.append(_reading(foreign, name, "YOLOv5 or v7", "rows", shape[2] - 5, objectness=True))
    if shape[2] in cells and shape[1] > 4:
        family = _family(foreign, "YOLOv8 or later")
        found.append(_reading(foreign, name, family, "columns", shape[1] - 4, objectness=False))
    if shape[1] in cells and shape[2] > 4:
        if names == shape[2] - 4:
            family = _family(foreign, "YOLOv8 or later, transposed")
            found.append(_reading(foreign, name, family, "rows", names, objectness=False))
        elif not _has_sigmoid_levels(foreign, shape[2]):
            found.append(_reading(foreign, name, "YOLOv6", "rows", shape[2] - 5, objectness=True))
    return found


def _has_sigmoid_levels(foreign: ForeignModel, columns: int) -> bool:
    """Whether a level of YOLOX's head is in the graph: (1, 5 + classes, rows, columns)."""
    return any(
        node.op_type == "Concat"
        and len(shape := foreign.shapes.get(node.output[0], ())) == 4
        and shape[1] == columns
        for node in foreign.model.graph.node
    )


def _family(foreign: ForeignModel, otherwise: str) -> str:
    text = foreign.metadata.get("description", "")
    return next((word for word in text.split() if word.upper().startswith("YOLO")), otherwise)


def _reading(
    foreign: ForeignModel, name: str, family: str, layout: str, classes: int, *, objectness: bool
) -> Reading:
    names = len(foreign.names())
    if names and names != classes:
        raise ModelError(
            f"{foreign.path.name}: the metadata name {names} classes, output '{name}' "
            f"{foreign.shapes[name]} has {classes} (layout {layout})"
        )
    return reading(
        foreign,
        adapter="yolo",
        family=family,
        preprocessing=_PICTURE,
        postprocessing={
            "layout": layout,
            "outputs": [name],
            "objectness": objectness,
            "box_unit": "px",
        },
        classes=classes,
        reasons={
            **_WHY,
            "layout": f"output '{name}' {foreign.shapes[name]}, cells of strides 8, 16, 32(, 64)",
            "objectness": "v5 to v7 have it" if objectness else "v8 and later have none",
            "box_unit": "decoded in the graph",
        },
    )


def _levels(foreign: ForeignModel) -> list[Reading]:
    """YOLOv5 or v7 without the last layer: three raw levels."""
    shapes = foreign.output_shapes()
    levels = {name: s for name, s in shapes.items() if len(s) == 5 and s[:2] == (1, _ANCHORS)}
    assert foreign.size is not None
    width, height = foreign.size
    strides = [width // shape[3] for shape in levels.values()]
    fits = [
        shape[2:4] == (-(-height // stride), -(-width // stride))
        for stride, shape in zip(strides, levels.values(), strict=True)
    ]
    columns = {shape[4] for shape in levels.values()}
    if len(levels) != len(shapes) or len(levels) != 3 or not all(fits) or len(columns) != 1:
        return []
    said = foreign.said.get("anchors")
    anchors: Any = ANCHORS.get(said, said) if isinstance(said, str) else said
    return [
        reading(
            foreign,
            adapter="yolo",
            family="YOLOv5 or v7, raw levels",
            preprocessing=_PICTURE,
            postprocessing={
                "layout": "levels",
                "outputs": list(levels),
                "objectness": True,
                "strides": strides,
                "anchors": anchors or [],
            },
            classes=columns.pop() - 5,
            reasons={
                **_WHY,
                "layout": "three outputs (1, 3, rows, columns, 5 + classes), logits",
                "strides": "shapes of the levels",
                "anchors": "said" if anchors else "not in the file",
            },
            undecided={}
            if anchors
            else {
                "anchors": f"--assume anchors={'|'.join(ANCHORS)} or a list in px for each level"
            },
        )
    ]
