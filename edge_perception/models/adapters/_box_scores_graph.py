"""Recognises detectors with the boxes of all cells and their scores apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_perception.models.adapters._box_evidence import are_offsets, are_scores
from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._picture import STRETCH, UNIT, paddle_picture, reading
from edge_perception.models.adapters._yolo_graph import (
    DAMO_PICTURE,
    YOLO_PICTURE,
    check_task,
    is_damo,
)
from edge_perception.models.foreign import ForeignModel, Reading

_YOLOX = {"color": "bgr", "resize": "letterbox", "pad": "bottom_right", "pad_value": 114.0}
_LIMITS = {  # option: attributes of suppressions
    "score_threshold": ("score_threshold", "scoreThreshold"),
    "overlap_threshold": ("iou_threshold", "iouThreshold"),
}


@dataclass(frozen=True, kw_only=True)
class _Pair:
    boxes: str
    scores: str
    turned: bool = False  # scores come (1, classes, N)


@dataclass(frozen=True, kw_only=True)
class _Family:
    name: str
    preprocessing: Mapping[str, Any]
    why: str
    box: str = "xyxy"
    unit: str = "px"
    asked: Mapping[str, str] = field(default_factory=dict)  # what the file does not tell


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what detector of that kind the file may be."""
    if foreign.size is None:
        return []
    pair = _pair(foreign)
    if pair is None:
        return []
    check_task(foreign)
    if gathered_maps(foreign) is not None:
        return []  # nothing in the graph decodes them
    if foreign.cut is None and not _is_decoded(foreign, pair):
        return []
    cut, shapes = foreign.cut, foreign.output_shapes()
    family = _of_suppression(foreign) if cut is not None else _family(foreign, pair)
    limits = {
        option: float(min(max(cut.attributes[name], 0.001), 1.0))
        for option, names in _LIMITS.items()
        for name in names
        if cut is not None and name in cut.attributes
    }
    activated = cut is not None and bool(cut.attributes.get("score_activation", 0))
    return [
        reading(
            foreign,
            adapter="box_scores",
            family=family.name,
            preprocessing=family.preprocessing,
            postprocessing={
                "boxes": pair.boxes,
                "scores": pair.scores,
                "turned": pair.turned,
                "box": family.box,
                "box_unit": family.unit,
                "activation": "sigmoid" if activated else "none",
                **limits,
            },
            classes=shapes[pair.scores][1 if pair.turned else 2],
            reasons={
                **dict.fromkeys(("box", "box_unit", *family.preprocessing), family.why),
                **dict.fromkeys(("boxes", "scores", "turned"), "shapes of the outputs"),
                "activation": family.why,
                **dict.fromkeys(limits, f"of {cut.operator}" if cut else ""),
            },
            undecided=family.asked
            if family.name
            else {"family": "--assume family=yolo|yolox|yolonas|ppyoloe|damoyolo"},
        )
    ]


def _pair(foreign: ForeignModel) -> _Pair | None:
    """Return the outputs of boxes and of scores."""
    shapes = foreign.output_shapes()
    if foreign.cut is not None:
        pair = _Pair(boxes=foreign.cut.boxes, scores=foreign.cut.scores)
        return pair if len(shapes[pair.scores]) == 3 else None
    if len(shapes) != 2:
        return None
    for boxes, scores in (tuple(shapes), tuple(shapes)[::-1]):
        shape, other = shapes[boxes], shapes[scores]
        flat = (len(shape) == 3 and shape[2] == 4) or (len(shape) == 4 and shape[2:] == (1, 4))
        if not flat or len(other) != 3 or shape[0] != 1:
            continue
        count = shape[1]
        if not (strides_of(foreign, count) or strides_of(foreign, count, ANCHORS_A_CELL)):
            continue
        if other[1] == count and (other[2] != 4 or "box" in boxes.lower()):
            return _Pair(boxes=boxes, scores=scores)
        if other[2] == count:
            return _Pair(boxes=boxes, scores=scores, turned=True)
    return None


def _is_decoded(foreign: ForeignModel, pair: _Pair) -> bool:
    """Whether a run on noise shows no logits for scores, and no distances from cells for boxes."""
    boxes = foreign.tried.get(pair.boxes)
    rows = None if boxes is None else boxes.reshape(-1, 4)
    strides = strides_of(foreign, foreign.output_shapes()[pair.boxes][1])
    if strides and are_offsets(foreign, rows, strides):
        return False
    return are_scores(foreign.tried.get(pair.scores))


def _of_suppression(foreign: ForeignModel) -> _Family:
    """What comes before TensorRT's suppression: its attributes say what the boxes are."""
    cut, said = foreign.cut, str(foreign.said.get("family", ""))
    assert cut is not None
    form: dict[str, Any] = {
        "box": "cxcywh" if cut.attributes.get("box_coding", 0) else "xyxy",
        "unit": "share"
        if cut.attributes.get("isNormalized", cut.operator.startswith("Batched"))
        else "px",
        "why": f"as {cut.operator} takes them",
    }
    if said == "yolox" or (not said and _has_levels_of_yolox(foreign)):
        return _Family(name="YOLOX end to end", preprocessing=_YOLOX, **form)
    if is_damo(foreign):
        return _Family(name="DAMO-YOLO end to end", preprocessing=DAMO_PICTURE, **form)
    count = foreign.shapes[cut.boxes][1]
    grid = strides_of(foreign, count) or strides_of(foreign, count, ANCHORS_A_CELL)
    name = "YOLO end to end" if said == "yolo" or (not said and grid) else ""
    return _Family(name=name, preprocessing=YOLO_PICTURE, **form)


def _family(foreign: ForeignModel, pair: _Pair) -> _Family:
    said = str(foreign.said.get("family", foreign.metadata.get("model_family", "")))
    stretched = {**UNIT, **STRETCH}
    if is_damo(foreign):
        why = "as DAMO-YOLO's converter exports"
        return _Family(name="DAMO-YOLO", preprocessing=DAMO_PICTURE, why=why)
    if not said and len(foreign.output_shapes()[pair.boxes]) == 4:
        why = "as pytorch-YOLOv4 exports"
        return _Family(name="YOLOv4", preprocessing=stretched, unit="share", why=why)
    if said == "ppyoloe" or (not said and pair.turned):
        normalised, asked = paddle_picture(foreign)
        return _Family(
            name="PP-YOLOE without suppression",
            preprocessing={**normalised, **STRETCH},
            why="as PaddleDetection exports without suppression",
            asked=asked,
        )
    if said == "yolonas" or (not said and "pred_boxes" in pair.boxes):
        why = "as super-gradients exports"
        return _Family(name="YOLO-NAS", preprocessing=YOLO_PICTURE, why=why)
    if said == "yolox":
        why = "YOLOX 0.1.1 and later"
        return _Family(name="YOLOX, boxes and scores apart", preprocessing=_YOLOX, why=why)
    name = "YOLO, boxes and scores apart" if said == "yolo" else ""
    return _Family(name=name, preprocessing=YOLO_PICTURE, why="as YOLO is trained")


def _has_levels_of_yolox(foreign: ForeignModel) -> bool:
    """Whether boxes, objectness and classes of a level are joined, as in YOLOX's head."""
    shapes = foreign.shapes
    return any(
        node.op_type == "Concat"
        and [shapes.get(name, ())[1:2] for name in node.input[:2]] == [(4,), (1,)]
        and len(shapes.get(node.output[0], ())) == 4
        for node in foreign.model.graph.node
    )
