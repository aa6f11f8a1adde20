"""Recognises YOLOv3 to v5 and v7 without their last layer: raw levels, which take anchors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._grids import ANCHORS_A_CELL
from edge_perception.models.adapters._head_maps import (
    before_sigmoid,
    joined_of,
    map_rows,
)
from edge_perception.models.adapters._map_layouts import maps_of
from edge_perception.models.adapters._picture import STRETCH, UNIT, reading
from edge_perception.models.adapters._yolo_graph import (
    WHY,
    YOLO_PICTURE,
    check_task,
)
from edge_perception.models.foreign import ForeignModel, Reading

# Published anchors, px: yolov5*.yaml, yolov7.yaml, yolov7-tiny.yaml, and darknet's *.cfg.
ANCHORS: dict[str, list[list[float]]] = {
    "v5": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "v7": [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]],
    "v7-tiny": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "v3": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "v4": [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], [142, 110, 192, 243, 459, 401]],
    "v3-tiny": [[10, 14, 23, 27, 37, 58], [81, 82, 135, 169, 344, 319]],
    "v4-tiny": [[23, 27, 37, 58, 81, 82], [81, 82, 135, 169, 344, 319]],
}
# Of darknet's models, which make boxes of offsets in another way: scale_x_y of each stride.
_SCALES = {"v3": [1.0] * 3, "v4": [1.2, 1.1, 1.05], "v3-tiny": [1.0] * 2, "v4-tiny": [1.05] * 2}
_LEVELS = (2, 3)
_OF_V5 = re.compile(r"(^|[/.])model\.\d+[/.]")  # how YOLOv5 and v7 number their layers
_KERAS = {**UNIT, "resize": "letterbox", "pad": "center", "pad_value": 128.0}
_DARKNET = {**UNIT, **STRETCH}
_LARGEST_LOGIT = 1.5  # a column of numbers of 0 to 1 goes beyond that nowhere


def recognise_levels(foreign: ForeignModel) -> list[Reading]:
    """Return which YOLO it is where outputs are levels, anchors apart or in the channels."""
    if foreign.size is None:
        return []
    shapes = foreign.output_shapes()
    levels: dict[str, tuple[int, ...]] = {
        name: s
        for name, s in shapes.items()
        if len(s) == 5 and s[:2] == (1, ANCHORS_A_CELL) and _is_grid(foreign.size, s[2:4])
    }
    model, kind = None, f"outputs (1, {ANCHORS_A_CELL}, rows, columns, 5 + classes)"
    if not levels:
        kind = f"outputs (1, rows, columns, {ANCHORS_A_CELL}, 5 + classes)"
        model, levels = _anchors_behind(foreign)
    if levels and _is_all_raised(foreign):
        levels = {}  # the decoder would raise them once more; maps before the Sigmoid may be read
    last = bool(levels) and model is not None  # anchors behind rows and columns, as of TensorFlow
    if not levels:
        kind = f"maps (1, {ANCHORS_A_CELL} * (5 + classes), rows, columns)"
        model, levels = _anchors_apart(foreign)
    width = foreign.size[0]
    levels = dict(sorted(levels.items(), key=lambda item: -item[1][3]))  # the finest first
    strides = [max(1, width // shape[3]) for shape in levels.values()]
    fits = [_is_grid(foreign.size, shape[2:4]) for shape in levels.values()]
    columns = {shape[4] for shape in levels.values()}
    gathered = len(shapes) == 1  # in one output of all strides
    if len(levels) not in _LEVELS or not (gathered or len(levels) == len(shapes)) or not all(fits):
        return []
    if len(columns) != 1 or min(columns) <= 5:
        return []
    check_task(foreign)
    told, asked = _told(foreign, len(levels))
    darknet = told["decoding"] == "darknet"
    raised = last and _are_raised(foreign)
    return [
        reading(
            foreign,
            adapter="yolo",
            family="YOLOv3 or v4 of darknet, raw levels" if darknet else "YOLOv5 or v7, raw levels",
            preprocessing=(_KERAS if last else _DARKNET) if darknet else YOLO_PICTURE,
            postprocessing={
                "layout": "levels",
                "outputs": list(levels),
                "objectness": True,
                "strides": strides,
                "raised": raised,
                **told,
            },
            classes=columns.pop() - 5,
            reasons={
                **WHY,
                "resize": "as darknet, which does not keep the shape" if not last else "YOLO's",
                "layout": f"{len(levels)} {kind}, " + ("raised in part" if raised else "logits"),
                "strides": "shapes of the levels",
                "raised": "on noise objectness and classes are 0 to 1" if raised else "logits",
                "anchors": "said" if told["anchors"] else "not in the file",
                "decoding": "of the anchors' family" if "anchors" not in asked else "not told",
            },
            undecided=asked,
            model=model,
        )
    ]


def _is_grid(size: tuple[int, int], grid: tuple[int, ...]) -> bool:
    """Whether rows and columns are those of one stride."""
    rows, columns = grid
    if min(rows, columns) < 1:
        return False
    stride = max(1, size[0] // columns)
    return (rows, columns) == (-(-size[1] // stride), -(-size[0] // stride))


def _told(foreign: ForeignModel, count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return anchors and how boxes are made with them, and what is to be asked."""
    said = foreign.said.get("anchors")
    names = [name for name, levels in ANCHORS.items() if len(levels) == count]
    name = said if isinstance(said, str) and said in names else ""
    anchors: Any = ANCHORS.get(name, said)
    decoding = "darknet" if name in _SCALES else "v5"
    decoding = str(foreign.said.get("decoding", decoding))
    told = {
        "anchors": anchors or [],
        "decoding": decoding,
        "scale_xy": _SCALES.get(name, []) if decoding == "darknet" else [],
    }
    asked = {}
    if not anchors:
        asked["anchors"] = f"--assume anchors={'|'.join(names)} or a list in px for each level"
    elif not name and "decoding" not in foreign.said and not _is_of_v5(foreign):
        asked["decoding"] = (
            "--assume decoding=v5 (YOLOv5, v7, YOLOv3 of Ultralytics) or darknet (YOLOv3, v4; "
            "scale_xy=[…] as scale_x_y of its .cfg)"
        )
    return told, asked


def _is_of_v5(foreign: ForeignModel) -> bool:
    graph = foreign.model.graph
    names = (item.name for item in (*graph.node, *graph.initializer))
    return bool(foreign.names()) or any(_OF_V5.search(name) for name in names)


def _are_raised(foreign: ForeignModel) -> bool:
    """Whether a run on noise gives objectness and classes of 0 to 1 beside offsets that are not."""
    tried = [foreign.tried[name] for name in foreign.outputs if name in foreign.tried]
    scores = [values[..., 4:] for values in tried]
    offsets = [values[..., :4] for values in tried]
    if not tried:
        return False
    low, high = min(float(v.min()) for v in scores), max(float(v.max()) for v in scores)
    beyond = max(float(np.abs(v).max()) for v in offsets) > _LARGEST_LOGIT
    return low >= 0.0 and high <= 1.0 and (beyond or min(float(v.min()) for v in offsets) < 0.0)


def _is_all_raised(foreign: ForeignModel) -> bool:
    """Whether a run on noise gives numbers of 0 to 1 alone, and not always the same."""
    tried = [foreign.tried[name] for name in foreign.outputs if name in foreign.tried]
    return bool(tried) and all(v.min() >= 0.0 and 0.0 < v.max() <= 1.0 for v in tried)


def _anchors_behind(foreign: ForeignModel) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return the graph with levels (1, rows, columns, 3, 5 + classes) in the usual order of axes.

    As TensorFlow has them: YOLOv4 of the ONNX model zoo.
    """
    found: Mapping[str, tuple[int, ...]] = {
        name: shape
        for name, shape in foreign.output_shapes().items()
        if len(shape) == 5 and shape[0] == 1 and shape[3] == ANCHORS_A_CELL and min(shape) > 0
    }
    if len(found) != len(foreign.outputs):
        return None, {}
    rows, levels = map_rows(foreign), {}
    for place, (name, shape) in enumerate(found.items()):
        turned = (1, ANCHORS_A_CELL, *shape[1:3], shape[4])
        levels[rows.add_turned(f"level_{place}", name, (0, 3, 1, 2, 4), turned)] = turned
    return rows.done(), levels


def _anchors_apart(foreign: ForeignModel) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return the graph with maps (1, 3 * (5 + classes), rows, columns) as levels, and their shapes.

    Outputs whose numbers are only moved from such maps are read as them.

    Where a Sigmoid makes a map, what it reads is taken: the decoder does it.
    """
    maps = maps_of(foreign) or gathered_maps(foreign)
    if maps is None:
        return None, {}
    foreign, found = maps.foreign, maps.levels
    widths = [list(level.channels.values()) for level in found]
    names = len(foreign.names())
    if len(found) not in _LEVELS or len({tuple(width) for width in widths}) != 1:
        return None, {}
    if len(widths[0]) != 1:
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
