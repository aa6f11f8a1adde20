"""Recognises graphs that give boxes, scores and classes of detections, each an output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_perception.models.adapters._box_evidence import form_and_unit
from edge_perception.models.adapters._detr_kin import has_dinov3
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._picture import (
    IMAGENET,
    STRETCH,
    SUPPRESSED,
    UNIT,
    config_of,
    constants_of,
    names_number_0,
    reading,
)
from edge_perception.models.adapters._yolo_graph import (
    DAMO_PICTURE,
    USUAL_LISTS,
    YOLO_PICTURE,
    is_damo,
)
from edge_perception.models.foreign import ForeignModel, Reading
from edge_perception.models.foreign_outputs import PADDED_ROWS
from edge_perception.models.operators import all_nodes

_LONGEST = 3000
# Caffe's pixel means, BGR, as maskrcnn-benchmark takes them off.
_CAFFE: dict[str, Any] = {"color": "bgr", "scale": 1.0, "mean": [102.9801, 115.9465, 122.7717]}
_CORNER: dict[str, Any] = {"resize": "letterbox", "pad": "bottom_right"}
_EACH_CELL = "a box for each cell: nothing is suppressed in the graph"
_LEAST_MEAN, _MEAN_PIXEL = 10.0, 114.0  # a mean of numbers of 0 to 1 is smaller; usual padding
_NORMALISED = ("color", "mean", "std")
_CHOICES = (
    "--assume family=torchvision|detectron2|maskrcnn|ssd|tensorflow|rtdetr|yolo|yolov3|yolonas|"
    "damoyolo"
)
_CONFIG = "--config FILE (pipeline.json of mmdeploy, or the configuration in Python)"


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What a family's lists are like."""

    fits: bool
    name: str
    preprocessing: Mapping[str, Any]
    post: Mapping[str, Any]
    why: str


def recognise_lists(foreign: ForeignModel) -> list[Reading]:
    """Return what such a file may be; perhaps the number of detections is an output beside."""
    scored = _scored_boxes(foreign)
    if scored is not None:
        return [_mmdet(foreign, *scored)]
    selected = foreign.selected
    picked = _pick(foreign)
    if selected is not None:
        picked = selected.boxes, selected.scores, selected.labels
    if picked is None:
        return []
    boxes, scores, labels = picked
    kind = _kind(foreign, boxes, named=set(picked) == {"boxes", "scores", "labels"})
    strides = _cells_of(foreign, boxes)
    form = _form_of_cells(foreign, boxes, strides) if strides else {}
    post = {
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
        **kind.post,
        **form,
        **({"first_class": 0} if names_number_0(foreign) or strides else {}),
        **({"overlap_threshold": 0.45, "duplicate_threshold": 0.8} if strides else SUPPRESSED),
    }
    return [
        reading(
            foreign,
            adapter="detections",
            family=kind.name,
            preprocessing=kind.preprocessing,
            postprocessing=post,
            classes=selected.classes if selected is not None else None,
            reasons={
                **dict.fromkeys((*kind.preprocessing, *kind.post), kind.why),
                **dict.fromkeys(("boxes", "scores", "labels"), "names and types of the outputs"),
                **({"overlap_threshold": _EACH_CELL} if strides else {}),
            },
            undecided={} if kind.name else {"family": _CHOICES},
        )
    ]


def _lists_of(foreign: ForeignModel, columns: int) -> dict[str, int]:
    """Return outputs (N, columns) and (1, N, columns) of detections with their N."""
    return {
        name: shape[-2]
        for name, shape in foreign.output_shapes().items()
        if len(shape) in (2, 3)
        and shape[-1] == columns
        and (shape[-2] <= _LONGEST or _cells_of(foreign, name))
    }


def _cells_of(foreign: ForeignModel, boxes: str) -> tuple[int, ...]:
    """Return the strides where there is a box for each cell; (): a list after suppression.

    As Qualcomm's AI Hub exports YOLO: of each cell its box, best score and class.
    """
    count = foreign.output_shapes()[boxes][-2]
    if count in USUAL_LISTS or count <= PADDED_ROWS:
        return ()
    return strides_of(foreign, count) or strides_of(foreign, count, ANCHORS_A_CELL)


def _form_of_cells(foreign: ForeignModel, boxes: str, strides: tuple[int, ...]) -> dict[str, str]:
    """Return form and unit of the boxes of cells, which a run on noise tells."""
    tried = foreign.tried.get(boxes)
    rows = None if tried is None else tried.reshape(-1, 4)
    anchors = 1 if strides_of(foreign, foreign.output_shapes()[boxes][-2]) else ANCHORS_A_CELL
    form, unit, why = form_and_unit(foreign, rows, strides, anchors)
    told = why.startswith("on noise")
    return {"box": form if told else "xyxy", "box_unit": unit}


def _flat(foreign: ForeignModel, count: int) -> list[str]:
    shapes = foreign.output_shapes()
    alike = ((count,), (1, count), (1, count, 1))
    return [name for name, shape in shapes.items() if shape in alike]


def _pick(foreign: ForeignModel) -> tuple[str, str, str] | None:
    """Return the outputs of boxes, scores and labels: by their names, or by their types."""
    found = _lists_of(foreign, 4)
    if len(found) > 1:  # TensorFlow gives those before suppression as well
        found = {name: count for name, count in found.items() if "raw" not in name.lower()}
    if len(found) != 1:
        return None
    ((boxes, count),) = found.items()
    flat = _flat(foreign, count)
    scores = [n for n in flat if "score" in n.lower()]
    labels = [n for n in flat if "label" in n.lower() or "class" in n.lower()]
    if len(flat) == 2 and not (scores and labels):
        labels = [name for name in flat if name in foreign.whole] or _whole_numbers(foreign, flat)
        scores = [name for name in flat if name not in labels]
    if len(scores) != 1 or len(labels) != 1:
        return None
    if scores[0] in foreign.whole and labels[0] not in foreign.whole:
        scores, labels = labels, scores  # names that were given in the wrong order
    return boxes, scores[0], labels[0]


def _whole_numbers(foreign: ForeignModel, names: list[str]) -> list[str]:
    """Return the outputs of classes, which a run on noise gives as whole numbers."""
    found = {name: foreign.tried.get(name, np.empty(0)) for name in names}
    scores = [
        n for n, v in found.items() if v.size and (v % 1).any() and 0 <= v.min() <= v.max() <= 1
    ]
    return [n for n, v in found.items() if v.size and not (v % 1).any()] if scores else []


def _kind(foreign: ForeignModel, boxes: str, *, named: bool) -> _Kind:
    said = str(foreign.said.get("family", ""))
    kinds = _kinds(foreign, boxes, named=named)
    for name, kind in kinds.items():
        if said == name or (not said and kind.fits):
            return kind
    return _Kind(
        fits=False,
        name="",
        preprocessing={**UNIT, **STRETCH},
        post={"box": "xyxy", "box_unit": "px", "first_class": 0},
        why="not told",
    )


def _kinds(foreign: ForeignModel, boxes: str, *, named: bool) -> dict[str, _Kind]:
    rank = len(foreign.was.get(boxes, ())) or 2
    normalises = _normalises(foreign)
    squeezes = _squeezes(foreign)
    vit = has_dinov3(foreign)
    corners = {"box": "xyxy", "box_unit": "px"}
    selected = foreign.selected
    if selected is not None and selected.centred:
        corners["box"] = "cxcywh"
    return {
        "yolov3": _Kind(
            fits=selected is not None and "image_shape" in constants_of(foreign),
            name="YOLOv3 of Keras",
            preprocessing={**YOLO_PICTURE, "pad_value": 128.0},
            post={"box": "yxyx", "box_unit": "px", "first_class": 0},
            why="as the ONNX model zoo's yolov3 and keras-yolo3",
        ),
        "tensorflow": _Kind(
            fits="detection_boxes" in boxes,
            name="SSD of TensorFlow's object detection",
            preprocessing={"scale": 1.0, **STRETCH},
            post={"box": "yxyx", "box_unit": "share", "first_class": 1},
            why="as TensorFlow's object detection API exports",
        ),
        "rtdetr": _Kind(
            fits="orig_target_sizes" in constants_of(foreign),
            name="DEIMv2 on DINOv3 with postprocessing" if vit else "RT-DETR with postprocessing",
            preprocessing={**(IMAGENET if vit else UNIT), **STRETCH},
            post={**corners, "first_class": 0},
            why="module 'dinov3' in the names of the graph" if vit else "as RT-DETR exports",
        ),
        "damoyolo": _Kind(
            fits=boxes.startswith("det_") and is_damo(foreign),
            name="DAMO-YOLO end to end",
            preprocessing=DAMO_PICTURE,
            post={**corners, "first_class": 0},
            why="as DAMO-YOLO's converter exports (its head is in the names of the graph)",
        ),
        "yolo": _Kind(
            fits=boxes.startswith("det_"),
            name="YOLO end to end",
            preprocessing=YOLO_PICTURE,
            post={**corners, "first_class": 0},
            why="as YOLO's end-to-end export",
        ),
        "yolonas": _Kind(
            fits=boxes.endswith("pred_boxes") and rank == 3,
            name="YOLO-NAS",
            preprocessing=YOLO_PICTURE,
            post={**corners, "first_class": 0},
            why="as super-gradients exports",
        ),
        "ssd": _Kind(
            fits=boxes == "bboxes" and rank == 3,
            name="SSD of the ONNX model zoo",
            preprocessing={**IMAGENET, **STRETCH},
            post={"box": "xyxy", "box_unit": "share", "first_class": 1},
            why="as the model zoo's ssd",
        ),
        "torchvision": _Kind(
            fits=rank == 2 and (named or normalises),
            name="SSD of torchvision" if squeezes else "torchvision",
            preprocessing={**UNIT, **(STRETCH if squeezes else _CORNER)},
            post={**corners, "first_class": 1},
            why="torchvision's detectors normalise and resize inside"
            + ("" if normalises else " (the graph shows no normalisation at its start)"),
        ),
        "detectron2": _Kind(
            fits=rank == 2 and not named and _takes_pixels(foreign),
            name="Detectron2",
            preprocessing={"color": "bgr", "scale": 1.0, "pad_value": _MEAN_PIXEL, **_CORNER},
            post={**corners, "first_class": 0},
            why="Detectron2 takes the mean of pixels off inside, and counts classes from 0",
        ),
        "maskrcnn": _Kind(
            fits=False,
            name="maskrcnn-benchmark",
            preprocessing={**_CAFFE, **_CORNER},
            post={**corners, "first_class": 1},
            why="as the model zoo's faster_rcnn",
        ),
    }


def _normalises(foreign: ForeignModel) -> bool:
    """Whether the graph itself takes a mean off pixels of 0 to 1 and divides by a deviation."""
    front = foreign.front
    return front is not None and bool(np.abs(front.bias).max() > 0 and front.gain.min() > 1.0)


def _takes_pixels(foreign: ForeignModel) -> bool:
    """Whether the graph itself takes a mean off pixels of 0 to 255."""
    front = foreign.front
    if front is None or not front.bias.all() or not front.gain.all():
        return False
    return bool((-front.bias / front.gain).min() > _LEAST_MEAN)


def _squeezes(foreign: ForeignModel) -> bool:
    """Whether it is an SSD, to which torchvision gives every picture squeezed onto a square.

    Its scores are of a softmax, as those of R-CNN, which takes regions of its features; the heads
    of RetinaNet and FCOS have a sigmoid.
    """
    kinds = {node.op_type for node in all_nodes(foreign.model.graph)}
    return "Softmax" in kinds and not kinds & {"Sigmoid", "RoiAlign"}


def _scored_boxes(foreign: ForeignModel) -> tuple[str, str] | None:
    """Return outputs of corners with their score, (N, 5), and of labels."""
    found = _lists_of(foreign, 5)
    if len(found) != 1:
        return None
    ((boxes, count),) = found.items()
    flat = _flat(foreign, count)
    labels = [n for n in flat if n in foreign.whole or "label" in n.lower()]
    return (boxes, labels[0]) if len(labels) == 1 else None


def _mmdet(foreign: ForeignModel, boxes: str, labels: str) -> Reading:
    """How mmdetection's models want pictures is in their configuration alone."""
    told = config_of(foreign) is not None
    needed = [name for name in _NORMALISED if name not in foreign.said]
    return reading(
        foreign,
        adapter="detections",
        family="mmdetection with suppression",
        preprocessing={"scale": 1.0, **_CORNER},
        postprocessing={
            "boxes": boxes,
            "scores": boxes,
            "labels": labels,
            "box": "xyxy",
            "box_unit": "px",
            "first_class": 0,
            **SUPPRESSED,
        },
        classes=None,
        reasons={
            "boxes": "corners and score in one output",
            **dict.fromkeys(("box", "box_unit", "first_class"), "as mmdeploy exports"),
            "resize": "mmdetection keeps the shape and pads at the right and the bottom",
        },
        undecided={} if told else {name: f"{_CONFIG}, or --assume {name}=…" for name in needed},
    )
