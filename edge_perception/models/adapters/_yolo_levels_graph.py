"""Recognises YOLOv5 and v7 without their last layer: raw levels, which take anchors."""

from __future__ import annotations

from typing import Any

from edge_perception.models.adapters._head_maps import (
    before_sigmoid,
    joined_of,
    levels_of,
    map_rows,
)
from edge_perception.models.adapters._picture import reading
from edge_perception.models.adapters._yolo_graph import (
    ANCHORS_A_CELL,
    WHY,
    YOLO_PICTURE,
    check_task,
)
from edge_perception.models.foreign import ForeignModel, Reading

# Published anchors, px: yolov5*.yaml, yolov7.yaml and yolov7-tiny.yaml.
ANCHORS: dict[str, list[list[float]]] = {
    "v5": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "v7": [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]],
    "v7-tiny": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
}


def recognise_levels(foreign: ForeignModel) -> list[Reading]:
    """Return YOLOv5 or v7 where three outputs are levels, anchors apart or in the channels."""
    if foreign.size is None:
        return []
    shapes = foreign.output_shapes()
    model = None
    levels: dict[str, tuple[int, ...]] = {
        name: s
        for name, s in shapes.items()
        if len(s) == 5 and s[:2] == (1, ANCHORS_A_CELL) and min(s) > 0
    }
    if not levels:
        model, levels = _anchors_apart(foreign)
    width, height = foreign.size
    strides = [max(1, width // shape[3]) for shape in levels.values()]
    fits = [
        shape[2:4] == (-(-height // stride), -(-width // stride))
        for stride, shape in zip(strides, levels.values(), strict=True)
    ]
    columns = {shape[4] for shape in levels.values()}
    if len(levels) != len(shapes) or len(levels) != 3 or not all(fits) or len(columns) != 1:
        return []
    if min(columns) <= 5:
        return []
    check_task(foreign)
    said = foreign.said.get("anchors")
    anchors: Any = ANCHORS.get(said, said) if isinstance(said, str) else said
    return [
        reading(
            foreign,
            adapter="yolo",
            family="YOLOv5 or v7, raw levels",
            preprocessing=YOLO_PICTURE,
            postprocessing={
                "layout": "levels",
                "outputs": list(levels),
                "objectness": True,
                "strides": strides,
                "anchors": anchors or [],
            },
            classes=columns.pop() - 5,
            reasons={
                **WHY,
                "layout": "three outputs (1, 3, rows, columns, 5 + classes), logits"
                if model is None
                else "three maps (1, 3 * (5 + classes), rows, columns), logits",
                "strides": "shapes of the levels",
                "anchors": "said" if anchors else "not in the file",
            },
            undecided={}
            if anchors
            else {
                "anchors": f"--assume anchors={'|'.join(ANCHORS)} or a list in px for each level"
            },
            model=model,
        )
    ]


def _anchors_apart(foreign: ForeignModel) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return the graph with maps (1, 3 * (5 + classes), rows, columns) as levels, and their shapes.

    Where a Sigmoid makes a map, what it reads is taken: the decoder does it.
    """
    found = levels_of(foreign)
    widths = [list(level.channels.values()) for level in found]
    names = len(foreign.names())
    if len(found) != 3 or len({tuple(width) for width in widths}) != 1 or len(widths[0]) != 1:
        return None, {}
    width = widths[0][0]
    if width % ANCHORS_A_CELL or (names and width != ANCHORS_A_CELL * (5 + names)):
        return None, {}
    if joined_of(foreign, next(iter(found[0].channels))):
        return None, {}  # a convolution makes theirs: box, objectness and classes are YOLOX's
    rows, levels = map_rows(foreign), {}
    for level in found:
        (name,) = level.channels
        source = before_sigmoid(foreign.model, name) or name
        shape = foreign.shapes[name]
        added = rows.add_anchors(f"level_{level.stride}", source, ANCHORS_A_CELL, shape)
        levels[added] = (1, ANCHORS_A_CELL, *shape[2:], width // ANCHORS_A_CELL)
    return rows.done(), levels
