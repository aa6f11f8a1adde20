"""Recognises DETR and its kin by queries: class logits and boxes, without suppression."""

from __future__ import annotations

from collections.abc import Mapping

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._detr_kin import KIN, Kin, kin_of, names_told
from edge_perception.models.adapters._grids import ANCHORS_A_CELL, strides_of
from edge_perception.models.adapters._picture import STRETCH, SUPPRESSED, UNIT, reading
from edge_perception.models.adapters._yolo_graph import (
    USUAL_LISTS,
    check_task,
)
from edge_perception.models.foreign import ForeignModel, Reading
from edge_perception.models.graph_wrapping import with_only_outputs

_QUERIES = (20, 1000)


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what DETR the file may be."""
    if foreign.size is None or foreign.cut is not None:
        return []
    shapes = foreign.output_shapes()
    sets = {
        name: shape
        for name, shape in shapes.items()
        if name not in _auxiliary(shapes)
        and len(shape) == 3
        and shape[0] == 1
        and _are_queries(foreign, shape[1])
    }
    if len(shapes) == 1 and sets:
        return _ultralytics(foreign, *sets.items())
    boxes = [name for name, shape in sets.items() if shape[2] == 4]
    if len(boxes) > 1:  # four classes: told by the name
        boxes = [name for name in boxes if "box" in name.lower() or name == "dets"]
    classes = [n for n, s in sets.items() if n not in boxes and boxes and s[1] == sets[boxes[0]][1]]
    if len(boxes) != 1 or len(classes) != 1:
        return []
    more = set(shapes) - {*boxes, *classes} - _auxiliary(shapes)
    masks = [name for name in more if "mask" in name.lower() and len(shapes[name]) == 4]
    if masks:
        raise ModelError(
            f"{foreign.path.name}: output '{masks[0]}' {shapes[masks[0]]} are masks; expected a "
            "detector: masks have no place in the decisions of this package"
        )
    if more:
        return []
    return _two_outputs(foreign, classes[0], boxes[0], shapes[classes[0]][2])


def _are_queries(foreign: ForeignModel, count: int) -> bool:
    if count in USUAL_LISTS:
        return True
    cells = strides_of(foreign, count) or strides_of(foreign, count, ANCHORS_A_CELL)
    return _QUERIES[0] <= count <= _QUERIES[1] and not cells


def _auxiliary(shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return what transformers gives beside: states and points of encoder and decoder."""
    parts = ("hidden_state", "encoder", "reference_points", "enc_", "intermediate", "anchors")
    return {name for name in shapes if any(part in name for part in parts)}


def _ultralytics(foreign: ForeignModel, *found: tuple[str, tuple[int, ...]]) -> list[Reading]:
    ((name, shape),) = found
    names = len(foreign.names())
    assert foreign.size is not None
    told = "rtdetr" in foreign.metadata.get("description", "").lower().replace("-", "")
    chosen = any(node.op_type == "TopK" for node in foreign.model.graph.node[-40:])
    if strides_of(foreign, shape[2]) or (
        shape[2] <= 6 and (names != shape[2] - 4 or not told or chosen)
    ):
        return []  # rows of six are detections with suppression inside
    if names and names != shape[2] - 4:
        return []
    check_task(foreign)
    return [
        reading(
            foreign,
            adapter="detr",
            family="RT-DETR of Ultralytics",
            preprocessing={**UNIT, **STRETCH},
            postprocessing={
                "boxes_output": name,
                "activation": "none",
                "none_class": False,
                **SUPPRESSED,
            },
            classes=shape[2] - 4,
            reasons={
                "scale": "pixels from 0 to 1",
                "resize": "RT-DETR does not keep the shape",
                "activation": "the exporter applies the sigmoid",
                "none_class": "RT-DETR has none",
            },
        )
    ]


def _two_outputs(foreign: ForeignModel, classes: str, boxes: str, columns: int) -> list[Reading]:
    """DETR has one class more than there are; RT-DETR and RF-DETR have not."""
    kin, why = kin_of(foreign, classes, boxes, columns)
    known = kin is not None
    kin = kin or Kin(name="DETR or RT-DETR", picture=UNIT)
    # RF-DETR that was trained further: numbers from 0 on, and a last column that stays unused.
    spare = kin.spare and names_told(foreign) == columns - 1
    none_class = kin.softmax or spare
    return [
        reading(
            foreign,
            adapter="detr",
            family=kin.name,
            preprocessing={**kin.picture, **STRETCH},
            postprocessing={
                "classes_output": classes,
                "boxes_output": boxes,
                "activation": "softmax" if kin.softmax else "sigmoid",
                "none_class": none_class,
                **SUPPRESSED,
            },
            classes=columns - none_class,
            reasons={
                "scale": "pixels from 0 to 1",
                **dict.fromkeys(("mean", "std"), "none" if kin.picture is UNIT else "ImageNet's"),
                "resize": "the input has a fixed size",
                "activation": why,
                "none_class": "one column more than there are names" if spare else why,
            },
            # What is given beside may hold infinities, and frames with such are no valid ones.
            model=with_only_outputs(foreign.model, (classes, boxes)),
            undecided={}
            if known
            else {"family": f"--config config.json, or --assume family={'|'.join(KIN)}"},
        )
    ]
