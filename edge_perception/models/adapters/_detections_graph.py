"""Recognises graphs that give lists of detections, by their shapes, types and names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_perception.models.adapters._picture import IMAGENET, LETTERBOX, STRETCH, UNIT, reading
from edge_perception.models.adapters._yolo_graph import check_task
from edge_perception.models.foreign import ForeignModel, Reading

_ROWS = (6, 7)
_LONGEST = 3000
_SUPPRESSED = {"overlap_threshold": 0.9, "duplicate_threshold": 1.0}  # in the graph
_YOLO = {**UNIT, **LETTERBOX}


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what list of detections the file may give."""
    if foreign.size is None:
        return []
    shapes = foreign.output_shapes()
    rows = [
        name
        for name, shape in shapes.items()
        if len(shape) in (2, 3) and shape[-1] in _ROWS and shape[-2] <= _LONGEST
    ]
    beside = [shape for name, shape in shapes.items() if name not in rows]
    if len(rows) == 1 and all(math.prod(shape) == 1 for shape in beside):  # their number, perhaps
        return _rows(foreign, rows[0], shapes[rows[0]])
    return _lists(foreign, shapes)


def _rows(foreign: ForeignModel, name: str, shape: tuple[int, ...]) -> list[Reading]:
    paddle = bool({"scale_factor", "im_shape"} & _constants(foreign)) or "multiclass_nms" in name
    if shape[-1] == 7 and len(shape) == 2:  # image, corners, class, score
        return [_yolo(foreign, name, "YOLOv7 or v9 end to end", box=1, score=6, label=5)]
    if shape[-1] == 7:
        return []
    if paddle:
        return [_paddle(foreign, name)]
    names = foreign.names()
    if len(names) == 2:
        return []  # 4 + 2 classes of RT-DETR: rows of six are not told apart
    check_task(foreign)
    if "rtdetr" in foreign.metadata.get("description", "").lower().replace("-", ""):
        return [_rt_detr(foreign, name)]
    return [_yolo(foreign, name, "YOLOv10, or YOLO with nms=True", box=0, score=4, label=5)]


def _yolo(
    foreign: ForeignModel, name: str, family: str, *, box: int, score: int, label: int
) -> Reading:
    return reading(
        foreign,
        adapter="detections",
        family=family,
        preprocessing=_YOLO,
        postprocessing={
            "rows": name,
            "box_column": box,
            "score_column": score,
            "class_column": label,
            "box": "xyxy",
            "box_unit": "px",
            "first_class": 0,
            **_SUPPRESSED,
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
            **_SUPPRESSED,
        },
        classes=None,
        reasons=dict.fromkeys(("scale", "resize", "rows", "box", "box_unit", "first_class"), why),
    )


def _paddle(foreign: ForeignModel, name: str) -> Reading:
    """Rows of class, score and corners; what the network normalises is in its infer_cfg.yml."""
    normalised = "mean" in foreign.said or "normalise" in foreign.said
    imagenet = foreign.said.get("normalise") == "imagenet"
    return reading(
        foreign,
        adapter="detections",
        family="PaddleDetection (PicoDet, PP-YOLOE, RT-DETR) with suppression",
        preprocessing={**(IMAGENET if imagenet else UNIT), **STRETCH},
        postprocessing={
            "rows": name,
            "class_column": 0,
            "score_column": 1,
            "box_column": 2,
            "box": "xyxy",
            "box_unit": "px",
            "first_class": 0,
            **_SUPPRESSED,
        },
        classes=None,
        reasons={
            "scale": "Paddle's is_scale",
            "rows": "class, score, corners",
            "resize": "keep_ratio is false in the published configurations",
        },
        undecided={}
        if normalised
        else {"normalise": "--assume normalise=imagenet (PicoDet) or none (PP-YOLOE+, RT-DETR), "
              "as NormalizeImage of its infer_cfg.yml says"},
    )  # fmt: skip


def _lists(foreign: ForeignModel, shapes: Mapping[str, tuple[int, ...]]) -> list[Reading]:
    """Boxes, scores and classes, each an output; perhaps their number beside."""
    picked = _pick(shapes)
    if picked is None:
        return []
    boxes, scores, labels = picked
    family, preprocessing, post, why = _list_family(foreign, boxes)
    return [
        reading(
            foreign,
            adapter="detections",
            family=family,
            preprocessing=preprocessing,
            postprocessing={
                "boxes": boxes,
                "scores": scores,
                "labels": labels,
                **post,
                **_SUPPRESSED,
            },
            classes=None,
            reasons=dict.fromkeys((*preprocessing, *post), why),
            undecided={}
            if family
            else {"family": "--assume family=torchvision|ssd|tensorflow|rtdetr|yolo"},
        )
    ]


def _pick(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str, str] | None:
    boxes = [
        name
        for name, shape in shapes.items()
        if len(shape) in (2, 3) and shape[-1] == 4 and shape[-2] <= _LONGEST
    ]
    if len(boxes) != 1:
        return None
    count = shapes[boxes[0]][-2]
    flat = [n for n, s in shapes.items() if n not in boxes and s in ((count,), (1, count))]
    scores = [name for name in flat if "score" in name.lower()]
    labels = [name for name in flat if "label" in name.lower() or "class" in name.lower()]
    if len(scores) != 1 or len(labels) != 1:
        return None
    return boxes[0], scores[0], labels[0]


def _list_family(
    foreign: ForeignModel, boxes: str
) -> tuple[str, dict[str, Any], dict[str, Any], str]:
    said = str(foreign.said.get("family", ""))
    rank = len(foreign.was.get(boxes, ())) or 2
    one = {"first_class": 1}
    kinds: dict[str, tuple[bool, str, dict[str, Any], dict[str, Any], str]] = {
        "tensorflow": (
            "detection_boxes" in boxes,
            "SSD of TensorFlow's object detection",
            {"scale": 1.0, **STRETCH},
            {"box": "yxyx", "box_unit": "share", **one},
            "as TensorFlow's object detection API exports",
        ),
        "rtdetr": (
            "orig_target_sizes" in _constants(foreign),
            "RT-DETR with postprocessing",
            {**UNIT, **STRETCH},
            {"box": "xyxy", "box_unit": "px", "first_class": 0},
            "as RT-DETR exports",
        ),
        "yolo": (
            boxes.startswith("det_"),
            "YOLO end to end",
            _YOLO,
            {"box": "xyxy", "box_unit": "px", "first_class": 0},
            "as YOLO's end-to-end export",
        ),
        "ssd": (
            boxes == "bboxes" and rank == 3,
            "SSD of the ONNX model zoo",
            {**IMAGENET, **STRETCH},
            {"box": "xyxy", "box_unit": "share", **one},
            "as the model zoo's ssd",
        ),
        "torchvision": (
            rank == 2,
            "torchvision",
            {**UNIT, "resize": "letterbox", "pad": "bottom_right"},
            {"box": "xyxy", "box_unit": "px", **one},
            "torchvision's detectors normalise and resize inside",
        ),
    }
    for name, (fits, family, preprocessing, post, why) in kinds.items():
        if said == name or (not said and fits):
            coco = {"first_class": 0} if foreign.said.get("labels") == "coco91" else {}
            return family, preprocessing, {**post, **coco}, why
    return "", {**UNIT, **STRETCH}, {"box": "xyxy", "box_unit": "px", "first_class": 0}, "not told"


def _constants(foreign: ForeignModel) -> set[str]:
    """Return the inputs of the file that are constants now."""
    return {key.removeprefix("input.") for key in foreign.reasons if key.startswith("input.")}
