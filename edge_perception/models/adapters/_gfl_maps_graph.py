"""Recognises heads that end in maps of classes and of the distances to the four sides.

Of each stride one map (1, sides + classes, rows, columns), as the head in training gives it; or one
of the sides and one of the classes, and perhaps a third with the sum of the classes, which
exporters for NPUs add to leave out cells early and which is not needed. A side is a distribution of
16 (YOLOv8 and its kin) or 17 bins (YOLOv6 m and l, PP-YOLOE), or a number: of YOLOv6 n and s in
strides, of RTMDet in px.

Sources: airockchip/rknn_model_zoo (yolov6, yolov8, ppyoloe), meituan/YOLOv6,
open-mmlab/mmdetection and mmyolo (rtmdet_head) (formats).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._head_maps import (
    Level,
    before_sigmoid,
    is_sum,
    joined_of,
    levels_of,
    map_rows,
)
from edge_perception.models.adapters._modules import modules_of
from edge_perception.models.adapters._picture import STRETCH, paddle_picture, reading
from edge_perception.models.adapters._yolo_graph import YOLO_PICTURE, check_task
from edge_perception.models.foreign import ForeignModel, Reading

_WIDTHS = {64: 16, 68: 17, 4: 1}  # channels of the four sides: bins a side
_APART = ((8, 16, 32), (8, 16, 32, 64))  # strides of heads that give a number a side
_OF_YOLOV6, _OF_RTMDET = {"cls_preds", "reg_preds"}, {"rtm_cls", "rtm_reg"}
_OF_YOLOX = "obj_preds"
# mmdetection's pixel means and deviations, BGR.
_RTMDET: dict[str, Any] = {
    "color": "bgr", "scale": 1.0, "mean": [103.53, 116.28, 123.675],
    "std": [57.375, 57.12, 58.395], "resize": "letterbox", "pad": "bottom_right",
    "pad_value": 114.0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Which map of a level is what."""

    sides: str
    classes: str
    bins: int
    count: int  # of classes
    summed: bool = False  # their sum is beside


@dataclass(frozen=True, kw_only=True)
class _Family:
    name: str  # empty: nothing tells
    why: str
    picture: Mapping[str, Any] = field(default_factory=lambda: YOLO_PICTURE)
    cell_offset: float = 0.5
    unit: str = "stride"
    asked: Mapping[str, str] = field(default_factory=dict)


def recognise_maps(foreign: ForeignModel) -> list[Reading]:
    """Return what detector with maps of sides and of classes the file may be."""
    levels = levels_of(foreign)
    found = [_maps_of(foreign, level) for level in levels]
    maps = [each for each in found if each is not None]
    if len(maps) != len(levels) or len({(each.bins, each.count) for each in maps}) != 1:
        return []
    strides, bins, classes = [level.stride for level in levels], maps[0].bins, maps[0].count
    if bins == 1 and tuple(strides) not in _APART:
        return []  # FCOS and its kin, whose units differ
    check_task(foreign)
    family = _family_of(foreign, maps)
    rows, inside = map_rows(foreign), set()
    outputs, distances = [], []
    for stride, each in zip(strides, maps, strict=True):
        shape = foreign.shapes[each.classes]
        inside.add(before_sigmoid(foreign.model, each.classes) is not None)
        first = 4 * bins if each.sides == each.classes else 0
        which = list(range(first, first + classes))
        outputs.append(rows.add(f"classes_{stride}", each.classes, which, shape))
        distances.append(rows.add(f"sides_{stride}", each.sides, list(range(4 * bins)), shape))
    if len(inside) != 1:
        return []
    (raised,) = inside
    return [
        reading(
            foreign,
            adapter="nanodet",
            family=family.name or "YOLOv6, RTMDet or PP-YOLOE, raw levels",
            preprocessing=family.picture,
            postprocessing={
                "outputs": outputs,
                "distances": distances,
                "strides": strides,
                "reg_max": bins - 1,
                "distance_unit": family.unit,
                "cell_offset": family.cell_offset,
                "activation": "none" if raised else "sigmoid",
            },
            classes=classes,
            reasons={
                **dict.fromkeys((*family.picture, "cell_offset", "distance_unit"), family.why),
                **dict.fromkeys(("outputs", "distances"), "maps of the file, as rows"),
                "strides": "shapes of the maps",
                "reg_max": f"{4 * bins} channels for four sides",
                "activation": "a Sigmoid makes the classes" if raised else "no Sigmoid makes them",
            },
            undecided=family.asked,
            model=rows.done(),
        )
    ]


def _maps_of(foreign: ForeignModel, level: Level) -> _Maps | None:
    """Return which map of a level is what; None: it is of another kind."""
    maps = dict(level.channels)
    if len(maps) == 1:
        return _joined(foreign, level)
    sums = [name for name, channels in maps.items() if channels == 1 and len(maps) == 3]
    proven = [name for name in sums if is_sum(foreign.model, name)]
    for name in (proven or sums)[-1:]:
        del maps[name]
    if len(maps) != 2:
        return None
    told, (first, second) = _told(foreign), maps
    for width, bins in _WIDTHS.items():
        for sides, classes in ((first, second), (second, first)):
            if maps[sides] != width or (told and maps[classes] != told):
                continue
            if bins == 1 and sums and not proven:
                return None  # objectness of YOLOX, how central a cell is of FCOS
            if maps[classes] == width:
                sides, classes = _by_sigmoid(foreign, sides, classes)
            summed = bool(sums)
            return _Maps(
                sides=sides, classes=classes, bins=bins, count=maps[classes], summed=summed
            )
    return None


def _by_sigmoid(foreign: ForeignModel, sides: str, classes: str) -> tuple[str, str]:
    """Put two maps of one width in order: a Sigmoid makes classes; else sides come first."""
    if before_sigmoid(foreign.model, sides) is not None:
        return classes, sides
    names = (sides.lower(), classes.lower())
    return (classes, sides) if "cls" in names[0] or "reg" in names[1] else (sides, classes)


def _joined(foreign: ForeignModel, level: Level) -> _Maps | None:
    ((name, size),) = level.channels.items()
    joined, told = joined_of(foreign, name), _told(foreign)
    if joined and joined[0][1] not in (64, 68):
        return None  # of box, objectness and classes, as YOLOX joins them
    for width in (64, 68):
        classes = size - width
        if classes > 0 and classes == (told or len(COCO_LABELS)):
            return _Maps(sides=name, classes=name, bins=_WIDTHS[width], count=classes)
    # Without names only COCO's are sure: three anchors of another number of classes are as wide.
    if told or size <= 64 or not size % 3:
        return None
    return _Maps(sides=name, classes=name, bins=16, count=size - 64)


def _told(foreign: ForeignModel) -> int:
    """Return how many class names there are; 0: none are given."""
    labels = foreign.said.get("labels", ())
    return len(foreign.names()) or (len(labels) if not isinstance(labels, str) else 0)


def _family_of(foreign: ForeignModel, maps: list[_Maps]) -> _Family:
    bins = maps[0].bins
    if bins == 16:
        return _Family(name="YOLOv8 or later, raw levels", why="as YOLO is trained")
    said, modules = str(foreign.said.get("family", "")), modules_of(foreign)
    other = "rtmdet" if bins == 1 else "ppyoloe"
    kind, why = said, "said"
    if not said and bins == 1 and modules & _OF_RTMDET:
        kind, why = "rtmdet", "modules 'rtm_cls' and 'rtm_reg' in the names of the graph"
    elif not said and _OF_YOLOX not in modules and modules >= _OF_YOLOV6:
        kind, why = "yolov6", "modules 'cls_preds' and 'reg_preds' in the names of the graph"
    elif not said and bins == 1 and all(each.summed for each in maps):
        kind, why = "yolov6", "the sum of the classes is beside, as its exporter for RKNN adds it"
    if kind == "yolov6":
        return _Family(name="YOLOv6, raw levels", why=f"of YOLOv6: {why}")
    if kind == "rtmdet" and bins == 1:
        return _Family(
            name="RTMDet, raw levels", why=f"of RTMDet: {why}", picture=_RTMDET, cell_offset=0.0,
            unit="px",
        )  # fmt: skip
    if kind == "ppyoloe" and bins == 17:
        picture, asked = paddle_picture(foreign)
        return _Family(
            name="PP-YOLOE, raw levels", why=f"of PP-YOLOE: {why}", asked=asked,
            picture={**picture, **STRETCH},
        )  # fmt: skip
    asked = {"family": f"--assume family=yolov6|{other}"}
    return _Family(name="", why="not told", asked=asked)
