"""Recognises YOLO exports by the shapes of their outputs and by their metadata."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._box_evidence import (
    are_offsets,
    are_scores,
    follow_cells,
    form_and_unit,
)
from edge_perception.models.adapters._boxes import cells_of
from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._modules import modules_of
from edge_perception.models.adapters._picture import LETTERBOX, UNIT, reading
from edge_perception.models.foreign import ForeignModel, Reading

BIN_WIDTHS = (32, 44, 64, 68)  # numbers of four sides of 8, 11, 16 or 17 bins
USUAL_LISTS = (50, 100, 200, 300, 500, 900, 1000)  # detections or queries, not cells
YOLO_PICTURE = {**UNIT, **LETTERBOX}
# DAMO-YOLO takes pixels as they are, and its head alone has this module beside outputs of YOLO's.
DAMO_PICTURE: dict[str, Any] = {"color": "rgb", "scale": 1.0, "resize": "stretch"}
_DAMO_MODULE = "gfl_cls"
_CALLED = re.compile(r"YOLO[\w.+-]{0,40}", re.IGNORECASE)
WHY = {
    "scale": "YOLO takes pixels from 0 to 1",
    "pad": "as YOLO's own letterbox",
    "pad_value": "as YOLO's own letterbox",
}


def is_damo(foreign: ForeignModel) -> bool:
    """Whether a file is DAMO-YOLO: it is said so, or the names of its graph show its head."""
    said = str(foreign.said.get("family", ""))
    return said == "damoyolo" or (not said and _DAMO_MODULE in modules_of(foreign))


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
    if gathered_maps(foreign) is not None:
        return []  # nothing in the graph decodes them
    found, shapes = [], foreign.output_shapes()
    boxes = {shape[1] for shape in shapes.values() if len(shape) == 3 and shape[2] == 4}
    for name, shape in shapes.items():
        beside = len(shapes) > 1 and shape[1:2] and (shape[1] in boxes or shape[-1] in boxes)
        if len(shape) == 3 and shape[0] == 1 and not beside:  # scores beside their boxes
            found += _flat(foreign, name, shape)
    found = _one_of(foreign, found)
    if found:
        check_task(foreign)
    return [reading for reading in found if _is_decoded(foreign, reading)]


def _is_decoded(foreign: ForeignModel, found: Reading) -> bool:
    """Whether noise shows neither logits nor distances: else the end of the head is cut off."""
    options = found.manifest["postprocessing"]
    tried = foreign.tried.get(options["outputs"][0])
    if tried is None:
        return True
    rows = tried[0].T if options["layout"] == "columns" else tried[0]
    strides = strides_of(foreign, len(rows))
    if strides and are_offsets(foreign, rows[:, :4], strides):
        return False
    return are_scores(rows[:, 4:])


def _one_of(foreign: ForeignModel, found: list[Reading]) -> list[Reading]:
    """Let it be said which of several outputs of the same form is meant."""
    outputs = [reading.manifest["postprocessing"]["outputs"] for reading in found]
    names = list(dict.fromkeys(name for (name,) in outputs))
    if len(names) < 2:
        return found
    said = foreign.said.get("outputs")
    if said in outputs:
        return [one for one, own in zip(found, outputs, strict=True) if own == said]
    choices = " or ".join(f'["{name}"]' for name in names)
    asked = {
        "outputs": f"--assume outputs={choices} (YOLOv9 has a head beside the main one, which is "
        "the second)"
    }
    return [replace(found[0], undecided={**found[0].undecided, **asked})]


def _flat(foreign: ForeignModel, name: str, shape: tuple[int, ...]) -> list[Reading]:
    if _are_bins(foreign, name):
        return []
    rows, columns = strides_of(foreign, shape[1]), strides_of(foreign, shape[2])
    anchored = strides_of(foreign, shape[1], ANCHORS_A_CELL)
    if shape[1] in USUAL_LISTS and shape[2] in (6, 7):
        rows = anchored = ()  # more likely a list of detections
    names = len(foreign.names())
    found = []
    if anchored and shape[2] > 5:
        _check_boxes_only(foreign, name, shape[2] - 5)
        family = "YOLOv5 or v7"
        found.append(
            _reading(foreign, name, family, "rows", shape[2] - 5, anchored, objectness=True)
        )
    kinds = columns
    if not (rows or columns or anchored):
        kinds = strides_of(foreign, shape[2], ANCHORS_A_CELL)
    if kinds and shape[1] > 4:
        _check_boxes_only(foreign, name, shape[1] - 4)
        family = family_of(foreign, "YOLOv8 or later" if columns else "YOLO with anchors")
        found.append(
            _reading(foreign, name, family, "columns", shape[1] - 4, kinds, objectness=False)
        )
    if rows and shape[2] > 4:
        if names == shape[2] - 4:
            family = family_of(foreign, "YOLOv8 or later, transposed")
            found.append(_reading(foreign, name, family, "rows", names, rows, objectness=False))
        elif (
            shape[2] > 5
            and not _has_sigmoid_levels(foreign, shape[2])
            and not are_offsets(foreign, _rows_of(foreign, name), rows)
        ):
            _check_boxes_only(foreign, name, shape[2] - 5)
            found.append(
                _reading(foreign, name, "YOLOv6", "rows", shape[2] - 5, rows, objectness=True)
            )
    return found


def _rows_of(foreign: ForeignModel, name: str) -> NDArray | None:
    tried = foreign.tried.get(name)
    return None if tried is None else tried[0][:, :4]


def _check_boxes_only(foreign: ForeignModel, name: str, columns: int) -> None:
    """Refuse masks, keypoints and turned boxes of files that do not name their task."""
    masks = {
        other: shape
        for other, shape in foreign.output_shapes().items()
        if len(shape) == 4 and shape[0] == 1 and shape[1] < columns and shape[2] > shape[1]
    }
    names = len(foreign.names())
    more = columns - names if names else 0
    what = ""
    if masks:
        other, shape = next(iter(masks.items()))
        what = f"output '{other}' {shape} are prototypes of masks"
    elif more == 1:
        what = f"output '{name}' has one number more than box and {names} classes: an angle"
    elif more > 0 and more % 3 == 0:
        what = (
            f"output '{name}' has {more} numbers more than box and classes: keypoints, or names of "
            "another model"
        )
    if what:
        raise ModelError(
            f"{foreign.path.name}: {what}; expected a detector: masks, keypoints and rotated boxes "
            "have no place in the decisions of this package"
        )


def _are_bins(foreign: ForeignModel, name: str) -> bool:
    """Whether names and noise show bins of sides beside classes, where a box would be decoded."""
    tried, names = foreign.tried.get(name), len(foreign.names())
    if tried is None or not names:
        return False
    rows = tried[0] if strides_of(foreign, tried.shape[1]) else tried[0].T
    strides = strides_of(foreign, len(rows))
    if not strides or rows.shape[1] - names not in BIN_WIDTHS or are_scores(rows[:, 4:]):
        return False
    assert foreign.size is not None
    finest = cells_of(foreign.size, strides[:1])
    return not follow_cells(foreign, rows[:finest, :4], strides[0])


def _has_sigmoid_levels(foreign: ForeignModel, columns: int) -> bool:
    """Whether a level of YOLOX's head is in the graph: (1, 5 + classes, rows, columns)."""
    return any(
        node.op_type == "Concat"
        and len(shape := foreign.shapes.get(node.output[0], ())) == 4
        and shape[1] == columns
        for node in foreign.model.graph.node
    )


def family_of(foreign: ForeignModel, otherwise: str) -> str:
    """Return what the metadata call the model, such as YOLO11n."""
    words = foreign.metadata.get("description", "").split()
    return next((word for word in words if _CALLED.fullmatch(word)), otherwise)


def _reading(
    foreign: ForeignModel,
    name: str,
    family: str,
    layout: str,
    classes: int,
    strides: tuple[int, ...],
    *,
    objectness: bool,
) -> Reading:
    names = len(foreign.names())
    if names and names != classes:
        raise ModelError(
            f"{foreign.path.name}: the metadata name {names} classes, output '{name}' "
            f"{foreign.shapes[name]} has {classes} (layout {layout})"
        )
    raw = foreign.tried.get(name)
    boxes = None if raw is None else (raw[0].T if layout == "columns" else raw[0])[:, :4]
    assert foreign.size is not None
    anchored = boxes is not None and len(boxes) > cells_of(foreign.size, strides)
    anchors = ANCHORS_A_CELL if anchored else 1
    form, unit, why = form_and_unit(foreign, boxes, strides, anchors)
    return reading(
        foreign,
        adapter="yolo",
        family=family,
        preprocessing=YOLO_PICTURE,
        postprocessing={
            "layout": layout,
            "outputs": [name],
            "objectness": objectness,
            "box": form,
            "box_unit": unit,
        },
        classes=classes,
        reasons={
            **WHY,
            "layout": f"output '{name}' {foreign.shapes[name]}, "
            f"cells of strides {', '.join(map(str, strides))}",
            "objectness": "v5 to v7 have it" if objectness else "v8 and later have none",
            "box": why,
            "box_unit": why,
        },
    )
