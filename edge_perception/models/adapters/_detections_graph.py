"""Recognises graphs that give lists of detections, by their shapes, types and names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edge_perception.models.adapters._detection_lists import recognise_lists
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._picture import (
    IMAGENET,
    STRETCH,
    SUPPRESSED,
    UNIT,
    config_of,
    constants_of,
    names_number_0,
    paddle_picture,
    reading,
)
from edge_perception.models.adapters._yolo_graph import (
    USUAL_LISTS,
    YOLO_PICTURE,
    check_task,
    family_of,
)
from edge_perception.models.foreign import ForeignModel, Reading

_COLUMNS = (6, 7)
_LONGEST = 3000
_YOLO_ROWS, _MEAN = 300, 117.0  # rows as its exporters pad them; mean of ImageNet's pixels
_MODULE = re.compile(r"(^|[/.])model\.\d+[/.]")  # how Ultralytics and its forks number layers
_ROWS_OF = (
    "--assume family=yolo (of 0 to 1, letterbox, classes from 0) or effdet (ImageNet's mean, "
    "classes from 1)"
)
_WORDS = {  # of names of outputs: what, how many columns
    "batchno": ("image", 1), "batchid": ("image", 1), "classid": ("class", 1),
    "label": ("class", 1), "score": ("score", 1), "x1y1x2y2": ("box", 4),
}  # fmt: skip


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what list of detections the file may give."""
    if foreign.size is None or foreign.cut is not None:
        return []
    shapes = foreign.output_shapes()
    rows = [name for name, shape in shapes.items() if _are_rows(foreign, shape)]
    beside = [shape for name, shape in shapes.items() if name not in rows]
    if len(rows) == 1 and all(math.prod(shape) == 1 for shape in beside):  # their number, perhaps
        return _rows(foreign, rows[0], shapes[rows[0]])
    return recognise_lists(foreign)


def _are_rows(foreign: ForeignModel, shape: tuple[int, ...]) -> bool:
    if len(shape) not in (2, 3) or shape[-1] not in _COLUMNS or shape[-2] > _LONGEST:
        return False
    # As many as there are cells: YOLO with one or two classes, not suppressed.
    count = shape[-2]
    cells = strides_of(foreign, count) or strides_of(foreign, count, ANCHORS_A_CELL)
    return count in USUAL_LISTS or not cells


def _rows(foreign: ForeignModel, name: str, shape: tuple[int, ...]) -> list[Reading]:
    columns = _columns_of(name, shape[-1])
    if columns:
        return [_named_columns(foreign, name, columns)]
    if shape[-1] == 7 and "flat_predictions" in name:  # image, corners, score, class
        return [_yolo(foreign, name, "YOLO-NAS", box=1, score=5, label=6)]
    if shape[-1] == 7 and len(shape) == 3:
        return [_efficientdet(foreign, name)] if name.startswith("detections") else []
    if shape[-1] == 7:  # image, corners, then class and score
        label, why = _column_of_classes(foreign, name)
        family = "YOLOv7 or v9 end to end" if label == 5 else "YOLO end to end"
        found = _yolo(foreign, name, family, box=1, score=11 - label, label=label)
        found = replace(found, reasons={**found.reasons, "class_column": why, "score_column": why})
        return [found]
    names = {"scale_factor", "im_shape"} & constants_of(foreign)
    config = config_of(foreign)
    if names or "multiclass_nms" in name or (config and config.kind == "paddle"):
        return [_paddle(foreign, name)]
    if len(foreign.names()) == 2 and "rtdetr" in _said_of(foreign) and not _chosen(foreign):
        return []  # 4 + 2 classes of RT-DETR
    check_task(foreign)
    if "rtdetr" in _said_of(foreign):
        return [_rt_detr(foreign, name)]
    told, ends = family_of(foreign, ""), "YOLOv10, or YOLO with nms=True"
    family = f"{told} ({ends})" if told else ends
    asked = {} if told or _is_of_yolo(foreign, name) else {"family": _ROWS_OF}
    if str(foreign.said.get("family", "")) == "effdet":
        return [_effdet(foreign, name)]
    found = _yolo(foreign, name, family, box=0, score=4, label=5)
    return [replace(found, undecided={**asked, **found.undecided})]


def _column_of_classes(foreign: ForeignModel, name: str) -> tuple[int, str]:
    """Return which of the last two of seven columns is the class, and why.

    YOLOv7 and v9 have it before the score, what Frigate wants behind it. Classes were whole
    numbers, so a Cast makes them, or a run on noise shows it.
    """
    made_by = {output: node for node in foreign.model.graph.node for output in node.output}
    node = made_by.get(f"{name}__raw", made_by.get(name))
    if node is not None and node.op_type == "Concat" and len(node.input) > 2:
        last = [_passes_cast(made_by, part) for part in node.input[-2:]]
        if last in ([True, False], [False, True]):
            return 5 + last.index(True), "a Cast makes the classes"
    rows = foreign.tried.get(name, np.zeros((0, 7))).reshape(-1, 7)
    rows = rows[(rows[:, 1:5] != 0).any(axis=1)]
    parts = (rows[:, 5:] % 1 != 0).any(axis=0)
    if parts.sum() == 1:
        return 5 + int(np.argmin(parts)), "a run on noise gives whole numbers there"
    return 5, "as YOLOv7 has them"


def _passes_cast(made_by: Mapping[str, Any], name: str) -> bool:
    """Whether a Cast is among the changes of shape and type that make a tensor."""
    node = made_by.get(name)
    while node is not None and node.op_type in ("Unsqueeze", "Reshape", "Squeeze", "Cast"):
        if node.op_type == "Cast":
            return True
        node = made_by.get(node.input[0])
    return False


def _is_of_yolo(foreign: ForeignModel, name: str) -> bool:
    """Whether something tells that rows are those of YOLO: 300 of them, metadata, its modules."""
    if foreign.said.get("family") == "yolo" or foreign.metadata.get("names"):
        return True
    rows = foreign.was.get(name, ())
    graph = foreign.model.graph
    names = (item.name for item in (*graph.node, *graph.initializer))
    return rows[-2:-1] == (_YOLO_ROWS,) or any(_MODULE.search(item) for item in names)


def _effdet(foreign: ForeignModel, name: str) -> Reading:
    """As the bench of effdet (github.com/rwightman/efficientdet-pytorch) gives detections."""
    why = "as effdet's bench for prediction"
    found = _yolo(
        foreign, name, "EfficientDet of effdet", box=0, score=4, label=5,
        picture={**IMAGENET, "resize": "letterbox", "pad": "bottom_right", "pad_value": _MEAN},
    )  # fmt: skip
    first = 0 if names_number_0(foreign) else 1
    found.manifest["postprocessing"]["first_class"] = first
    reasons = dict.fromkeys(("resize", "pad", "pad_value", "box", "first_class"), why)
    picture = "ImageNet's; of effdet's lite models 0.5"
    reasons |= {"scale": why, "mean": picture, "std": picture}
    return replace(found, reasons={**found.reasons, **reasons})


def _columns_of(name: str, count: int) -> dict[str, int]:
    """Return where box, score and class are, of an output that is called after its columns."""
    at, found = 0, {}
    for word in name.lower().split(":")[0].split("_"):
        if word not in _WORDS:
            return {}
        what, width = _WORDS[word]
        found[what] = at
        at += width
    return found if at == count and {"box", "score", "class"} <= set(found) else {}


def _named_columns(foreign: ForeignModel, name: str, columns: Mapping[str, int]) -> Reading:
    """As the PINTO model zoo names its outputs; what the network wants of a picture it does not."""
    found = _yolo(
        foreign, name, "detector with suppression, its columns named",
        box=columns["box"], score=columns["score"], label=columns["class"],
    )  # fmt: skip
    asked = {
        option: f"--assume {option}={choice}"
        for option, choice in (("color", "rgb|bgr"), ("scale", "0.003921569 (of 0 to 1) or 1"))
        if option not in foreign.said
    }
    return replace(found, undecided={**found.undecided, **asked})


def _said_of(foreign: ForeignModel) -> str:
    return foreign.metadata.get("description", "").lower().replace("-", "")


def _chosen(foreign: ForeignModel) -> bool:
    """Whether the queries are chosen in the graph, by their scores."""
    return any(node.op_type == "TopK" for node in foreign.model.graph.node[-40:])


def _yolo(
    foreign: ForeignModel,
    name: str,
    family: str,
    *,
    box: int,
    score: int,
    label: int,
    picture: Mapping[str, Any] = YOLO_PICTURE,
) -> Reading:
    return reading(
        foreign,
        adapter="detections",
        family=family,
        preprocessing=picture,
        postprocessing={
            "rows": name,
            "box_column": box,
            "score_column": score,
            "class_column": label,
            "box": "xyxy",
            "box_unit": "px",
            "first_class": 0,
            **SUPPRESSED,
        },
        classes=None,
        reasons={
            "scale": "YOLO takes pixels from 0 to 1",
            "pad": "as YOLO's own letterbox",
            "pad_value": "as YOLO's own letterbox",
            "rows": f"output '{name}' of {foreign.was.get(name, ())}: suppression inside",
            "box": "corners",
            "box_unit": "px of the input",
            "first_class": "YOLO counts classes from 0",
        },
    )


def _efficientdet(foreign: ForeignModel, name: str) -> Reading:
    """Rows of image, corners with y first, score and class, as google/automl exports."""
    why = "as EfficientDet of google/automl exports"
    return reading(
        foreign,
        adapter="detections",
        family="EfficientDet of automl",
        preprocessing={"scale": 1.0, "resize": "letterbox", "pad": "bottom_right"},
        postprocessing={
            "rows": name,
            "box_column": 1,
            "score_column": 5,
            "class_column": 6,
            "box": "yxyx",
            "box_unit": "px",
            "first_class": 0 if names_number_0(foreign) else 1,
            **SUPPRESSED,
        },
        classes=None,
        reasons=dict.fromkeys(("scale", "resize", "rows", "box", "box_unit", "first_class"), why),
    )


def _rt_detr(foreign: ForeignModel, name: str) -> Reading:
    """As Ultralytics exports RT-DETR since 8.4: the queries are chosen in the graph."""
    why = "'description' of the metadata: RT-DETR of Ultralytics"
    return reading(
        foreign,
        adapter="detections",
        family="RT-DETR of Ultralytics, queries chosen inside",
        preprocessing={**UNIT, **STRETCH},
        postprocessing={
            "rows": name,
            "box_column": 0,
            "score_column": 4,
            "class_column": 5,
            "box": "cxcywh",
            "box_unit": "share",
            "first_class": 0,
            **SUPPRESSED,
        },
        classes=None,
        reasons=dict.fromkeys(("scale", "resize", "rows", "box", "box_unit", "first_class"), why),
    )


def _paddle(foreign: ForeignModel, name: str) -> Reading:
    """Rows of class, score and corners; what the network normalises is in its infer_cfg.yml."""
    normalised, asked = paddle_picture(foreign)
    return reading(
        foreign,
        adapter="detections",
        family="PaddleDetection (PicoDet, PP-YOLOE, RT-DETR) with suppression",
        preprocessing={**normalised, **STRETCH},
        postprocessing={
            "rows": name,
            "class_column": 0,
            "score_column": 1,
            "box_column": 2,
            "box": "xyxy",
            "box_unit": "px",
            "first_class": 0,
            **SUPPRESSED,
        },
        classes=None,
        reasons={
            "scale": "Paddle's is_scale",
            "rows": "class, score, corners",
            "resize": "keep_ratio is false in the published configurations",
        },
        undecided=asked,
    )
