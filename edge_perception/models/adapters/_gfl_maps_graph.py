"""Recognises heads that end in maps of classes and of the distances to the four sides.

Of each stride one map (1, sides + classes, rows, columns), as the head in training gives it; or one
of the sides and one of the classes, and perhaps a third with the sum of the classes, which
exporters for NPUs add to leave out cells early and which is not needed. A side is a distribution of
8 bins (NanoDet, PicoDet; 11 of their larger ones), 16 (YOLOv8 and its kin) or 17 (YOLOv6 m and l,
PP-YOLOE, DAMO-YOLO), or a number: of YOLOv6 n and s in strides, of RTMDet in px. Where a last
convolution makes both, NanoDet and PicoDet have the classes first and YOLOv8 the sides.

Sources: airockchip/rknn_model_zoo (yolov6, yolov8, ppyoloe), meituan/YOLOv6,
open-mmlab/mmdetection and mmyolo (rtmdet_head), RangiLyu/nanodet (heads and priors),
PaddlePaddle/PaddleDetection (pico_head), tinyvision/DAMO-YOLO (zero_head) (formats).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._coco import COCO_LABELS, COCO_PAPER_LABELS
from edge_perception.models.adapters._gathered_maps import counted_maps, gathered_maps
from edge_perception.models.adapters._head_maps import (
    adds_up,
    are_shares,
    before_sigmoid,
    is_raised,
    is_sum,
    joined_of,
    map_rows,
)
from edge_perception.models.adapters._map_layouts import Level, Maps, maps_of
from edge_perception.models.adapters._modules import modules_of
from edge_perception.models.adapters._picture import (
    IMAGENET,
    STRETCH,
    SUPPRESSED,
    paddle_picture,
    reading,
)
from edge_perception.models.adapters._yolo_graph import (
    DAMO_PICTURE,
    YOLO_PICTURE,
    check_task,
    family_of,
    is_damo,
)
from edge_perception.models.foreign import ForeignModel, Reading

# Channels of the four sides: bins a side.
SIDES = {64: 16, 68: 17, 32: 8, 44: 11, 4: 1}
NANODET_BINS = (8, 11)
_OF_SIDES, _OF_CLASSES = ("reg", "box", "dis", "cv2", "sides"), ("cls", "class", "score", "cv3")
_APART = ((8, 16, 32), (8, 16, 32, 64))  # strides of heads that are not of YOLOv8's kin
_OF_YOLOV6, _OF_RTMDET = {"cls_preds", "reg_preds"}, {"rtm_cls", "rtm_reg"}
_OF_YOLOX = "obj_preds"
_OF_NANODET = {"gfl_cls", "gfl_reg"}
# How Ultralytics calls the sides of its heads; of those YOLO26 alone has one number a side.
_OF_ULTRALYTICS = re.compile(r"(?:^|[./])model\.\d+[./](one2one_)?cv2\.\d")
_OTHERS_THAN_YOLO = ("nanodet", "nanodet-plus", "picodet", "rtmdet", "ppyoloe")
# Caffe's and mmdetection's pixel means and deviations, BGR.
_CAFFE: dict[str, Any] = {
    "color": "bgr", "mean": [103.53, 116.28, 123.675], "std": [57.375, 57.12, 58.395],
}  # fmt: skip
NANODET_PICTURE: dict[str, Any] = {**_CAFFE, **STRETCH}  # as nanodet/config says
_RTMDET: dict[str, Any] = {
    **_CAFFE, "scale": 1.0, "resize": "letterbox", "pad": "bottom_right", "pad_value": 114.0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Which map of a level is what."""

    sides: str
    classes: str
    bins: int
    count: int  # of classes
    first: tuple[int, int] = (0, 0)  # channel of each map that sides and classes begin with
    part: str = ""  # tensor that the classes come from, where a Concat joins them to the sides
    summed: bool = False  # their sum is beside


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the head is of, and what goes with it."""

    name: str  # empty: nothing tells
    why: str
    picture: Mapping[str, Any] = field(default_factory=lambda: YOLO_PICTURE)
    cell_offset: float = 0.5
    unit: str = "stride"
    background: int = 0  # classes at the end that are none
    any_strides: bool = False
    suppression: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)


def recognise_maps(foreign: ForeignModel) -> list[Reading]:
    """Return what detector with maps of sides and of classes the file may be."""
    count = told_classes(foreign) or len(COCO_LABELS)
    found = maps_of(foreign) or gathered_maps(foreign) or counted_maps(foreign, count, SIDES)
    if found is None:
        return []
    foreign, levels = found.foreign, _in_order_said(found)
    maps = [each for level in levels if (each := _maps_of(foreign, level)) is not None]
    if len(maps) != len(levels) or len({(each.bins, each.count) for each in maps}) != 1:
        return []
    strides, bins = [level.stride for level in levels], maps[0].bins
    if any(before_sigmoid(foreign.model, each.sides) and not each.part for each in maps):
        return []  # neither distances nor logits of bins are made by a Sigmoid
    check_task(foreign)
    family = _family_of(foreign, maps, strides)
    if bins != 16 and tuple(sorted(strides)) not in _APART and not family.any_strides:
        return []  # FCOS, GFL of mmdetection and their kin, whose units and points differ
    classes = maps[0].count - family.background
    rows, inside, shares = map_rows(foreign), set(), set()
    outputs, distances = [], []
    for stride, each in zip(strides, maps, strict=True):
        shape = foreign.shapes[each.classes]
        of_sides, of_classes = (
            range(first, first + count)
            for first, count in zip(each.first, (4 * bins, classes), strict=True)
        )
        channels = slice(of_classes.start, of_classes.stop)
        inside.add(is_raised(foreign, each.classes, each.part, channels))
        sides = slice(of_sides.start, of_sides.stop)
        shares.add(are_shares(foreign, each.sides, sides, bins))
        outputs.append(rows.add(f"classes_{stride}", each.classes, of_classes, shape))
        distances.append(rows.add(f"sides_{stride}", each.sides, of_sides, shape))
    if len(inside) != 1 or len(shares) != 1:
        return []
    (raised,), (shared,) = inside, shares
    return [
        reading(
            foreign,
            adapter="nanodet",
            family=family.name or "raw levels of a family that is not told",
            preprocessing=family.picture,
            postprocessing={
                "outputs": outputs,
                "distances": distances,
                "strides": strides,
                "reg_max": bins - 1,
                "bins": "shares" if shared else "logits",
                "distance_unit": family.unit,
                "cell_offset": family.cell_offset,
                "activation": "none" if raised else "sigmoid",
                **family.suppression,
            },
            classes=classes,
            reasons={
                **dict.fromkeys((*family.picture, "cell_offset", "distance_unit"), family.why),
                **dict.fromkeys(family.suppression, "trained one to one: a thing has one cell"),
                **dict.fromkeys(
                    ("outputs", "distances"), f"maps {found.form} of the file, as rows"
                ),
                "strides": "shapes of the maps",
                "reg_max": f"{4 * bins} channels for four sides",
                "bins": "on noise those of a side add up to 1" if shared else "no softmax is seen",
                "activation": "a Sigmoid makes the classes, or noise shows that they are 0 to 1"
                if raised
                else "no Sigmoid makes the classes",
            },
            undecided={**family.asked, **found.asked},
            model=rows.done(),
        )
    ]


def _in_order_said(found: Maps) -> tuple[Level, ...]:
    """Return the levels in the order that is said, so that each keeps its own stride.

    Raises:
        ModelError: other strides are said.
    """
    levels = {level.stride: level for level in found.levels}
    said = found.foreign.said.get("strides", list(levels))
    if not isinstance(said, list | tuple) or set(said) != set(levels) or len(said) != len(levels):
        raise ModelError(
            f"{found.foreign.path.name}: --assume strides: the maps are of strides "
            f"{sorted(levels)}, got {said!r}"
        )
    return tuple(levels[stride] for stride in said)


def _maps_of(foreign: ForeignModel, level: Level) -> _Maps | None:
    """Return which map of a level is what; None: it is of another kind."""
    maps = dict(level.channels)
    if len(maps) == 1:
        return _joined(foreign, level)
    sums = [name for name, channels in maps.items() if channels == 1 and len(maps) == 3]
    proven = [
        name
        for name in sums
        if is_sum(foreign.model, name) or adds_up(foreign, name, [m for m in maps if m != name])
    ]
    if sums and not proven and foreign.tried:
        return None  # objectness of YOLOX, how central a cell is of FCOS, an angle
    for name in (proven or sums)[-1:]:
        del maps[name]
    if len(maps) != 2:
        return None
    told, (first, second) = told_classes(foreign), maps
    for width, bins in SIDES.items():
        for sides, classes in ((first, second), (second, first)):
            if maps[sides] != width or (told and maps[classes] not in _counts(foreign, told)):
                continue
            if bins == 1 and sums and not proven:
                return None  # objectness of YOLOX, how central a cell is of FCOS
            if maps[classes] == width:
                told_apart = _apart(foreign, sides, classes, bins)
                if told_apart is None:
                    return None
                sides, classes = told_apart
            summed = bool(sums)
            return _Maps(
                sides=sides, classes=classes, bins=bins, count=maps[classes], summed=summed
            )
    return None


def _apart(foreign: ForeignModel, one: str, other: str, bins: int) -> tuple[str, str] | None:
    """Return which of two maps of one width has sides and which classes; None: nothing tells."""
    orders = ((one, other), (other, one))
    told = [pair for pair in orders if before_sigmoid(foreign.model, pair[1]) is not None]
    told = told or [pair for pair in orders if are_shares(foreign, pair[0], slice(None), bins)]
    told = told or [
        pair for pair in orders if is_raised(foreign, pair[1]) and not is_raised(foreign, pair[0])
    ]
    told = told or [
        pair
        for pair in orders
        if (_is_called(pair[0], _OF_SIDES) or _is_called(pair[1], _OF_CLASSES))
        and not (_is_called(pair[1], _OF_SIDES) or _is_called(pair[0], _OF_CLASSES))
    ]
    return told[0] if len(told) == 1 else None


def _is_called(name: str, words: Sequence[str]) -> bool:
    return any(word in name.lower() for word in words)


def _joined(foreign: ForeignModel, level: Level) -> _Maps | None:
    ((name, size),) = level.channels.items()
    parts, told = joined_of(foreign, name), told_classes(foreign)
    wanted = _counts(foreign, told or len(COCO_LABELS))
    found = [
        (bins, size - width) for width, bins in SIDES.items() if bins > 1 and size - width in wanted
    ]
    if not found and not told and size > 64 and size % 3:
        # Without names only COCO's are sure: three anchors of another number of classes are as
        # wide. Of these the names are asked for, and tell how many bins there are.
        found = [(16, size - 64)]
    if parts:  # of three, YOLOX joins box, objectness and classes
        widths = [channels for _, channels in parts]
        found = [f for f in found if widths in ([4 * f[0], f[1]], [f[1], 4 * f[0]])]
    if not found:
        return None
    bins, count = found[0]
    sides_first = bins not in NANODET_BINS
    part = ""
    if parts:
        one, other = (name for name, _ in parts)
        if 4 * bins != count:
            sides_first = parts[0][1] == 4 * bins
        elif before_sigmoid(foreign.model, other) or before_sigmoid(foreign.model, one):
            sides_first = before_sigmoid(foreign.model, other) is not None
        part = other if sides_first else one
    first = (0, 4 * bins) if sides_first else (count, 0)
    return _Maps(sides=name, classes=name, bins=bins, count=count, first=first, part=part)


def _counts(foreign: ForeignModel, told: int) -> tuple[int, ...]:
    """Return how many channels that many classes have: of DAMO-YOLO there is a background too."""
    return (told, told + 1) if is_damo(foreign) else (told,)


def told_classes(foreign: ForeignModel) -> int:
    """Return how many class names there are; 0: none are given."""
    labels = foreign.said.get("labels", ())
    named = {"coco80": len(COCO_LABELS), "coco91": len(COCO_PAPER_LABELS)}
    given = named.get(labels, 0) if isinstance(labels, str) else len(labels)
    return len(foreign.names()) or given


def _family_of(foreign: ForeignModel, maps: list[_Maps], strides: Sequence[int]) -> Family:
    bins = maps[0].bins
    said, modules = str(foreign.said.get("family", "")), modules_of(foreign)
    if bins in NANODET_BINS:
        return nanodet_family(foreign, strides)
    if bins == 16:
        asked = {
            "family": "--assume family=yolo, or none: sides of 16 bins are of YOLOv8 and later"
        }
        return Family(
            name="YOLOv8 or later, raw levels", why="as YOLO is trained",
            asked=asked if said in _OTHERS_THAN_YOLO else {},
        )  # fmt: skip
    if bins == 17 and is_damo(foreign):
        return Family(
            name="DAMO-YOLO, raw levels", why="of DAMO-YOLO, whose last class is the background",
            picture=DAMO_PICTURE, cell_offset=0.0, background=1,
        )  # fmt: skip
    other = "rtmdet|yolo26|yolov8" if bins == 1 else "ppyoloe|damoyolo"
    kind, why = said, "said"
    heads = _heads_of_ultralytics(foreign)
    if bins == 1 and not said and (heads or foreign.metadata.get("author") == "Ultralytics"):
        kind, why = "yolo26", "of Ultralytics' heads it alone has one number a side"
    elif not said and bins == 1 and modules & _OF_RTMDET:
        kind, why = "rtmdet", "modules 'rtm_cls' and 'rtm_reg' in the names of the graph"
    elif not said and _OF_YOLOX not in modules and modules >= _OF_YOLOV6:
        kind, why = "yolov6", "modules 'cls_preds' and 'reg_preds' in the names of the graph"
    elif not said and bins == 1 and all(each.summed for each in maps):
        kind, why = "yolov6", "the sum of the classes is beside, as its exporter for RKNN adds it"
    if kind == "yolo26" and bins == 1:
        one = heads == {"one2one_"}
        return Family(
            name=f"{family_of(foreign, 'YOLO26')}, raw levels", why=f"of YOLO26: {why}",
            any_strides=True, suppression=SUPPRESSED if one else {},
        )  # fmt: skip
    if kind == "yolov8" and bins == 1:
        return Family(
            name="YOLOv8 or later, means of bins", why=f"of YOLOv8: {why}", any_strides=True
        )
    if kind == "yolov6":
        return Family(name="YOLOv6, raw levels", why=f"of YOLOv6: {why}")
    if kind == "rtmdet" and bins == 1:
        return Family(
            name="RTMDet, raw levels", why=f"of RTMDet: {why}", picture=_RTMDET, cell_offset=0.0,
            unit="px",
        )  # fmt: skip
    if kind == "ppyoloe" and bins == 17:
        picture, asked = paddle_picture(foreign)
        return Family(
            name="PP-YOLOE, raw levels", why=f"of PP-YOLOE: {why}", asked=asked,
            picture={**picture, **STRETCH},
        )  # fmt: skip
    asked = {"family": f"--assume family=yolov6|{other}"}
    return Family(name="", why="not told", asked=asked)


def _heads_of_ultralytics(foreign: ForeignModel) -> set[str]:
    """Return which of its heads, `one2one_` or none before the name, show in a graph's names."""
    graph = foreign.model.graph
    names = [tensor.name for tensor in graph.initializer] + [node.name for node in graph.node]
    return {found.group(1) or "" for name in names if (found := _OF_ULTRALYTICS.search(name))}


def nanodet_family(foreign: ForeignModel, strides: Sequence[int], *, image: str = "") -> Family:
    """Return which of NanoDet, NanoDet-Plus and PicoDet it is: sides of 8 or 11 bins.

    Both of the latter have strides of 8 to 64; of three strides is NanoDet before Plus.

    Args:
        foreign: the file.
        strides: of the levels, px.
        image: input that is called as PicoDet's is where that tells enough; empty: it does not.
    """
    kind, why = str(foreign.said.get("family", foreign.metadata.get("model_family", ""))), "said"
    if not kind:
        if modules_of(foreign) & _OF_NANODET or any("dis_pred" in name for name in foreign.was):
            kind, why = "nanodet", "names of its head are in the graph"
        elif _is_of_paddle(foreign) or image in ("image", "x"):
            kind, why = "picodet", "names are those of Paddle"
        elif len(strides) == len(_APART[0]) and not image:
            kind, why = "nanodet", "three strides and sides of 8 or 11 bins, as before Plus"
    if kind == "picodet":
        return Family(
            name="PicoDet", why=f"of PicoDet, from the middle of a cell: {why}",
            picture={**IMAGENET, **STRETCH},
        )  # fmt: skip
    plus = kind == "nanodet-plus" or (kind == "nanodet" and len(strides) > len(_APART[0]))
    if plus:
        return Family(
            name="NanoDet-Plus", why=f"of NanoDet-Plus, from the corner of a cell: {why}",
            picture=NANODET_PICTURE, cell_offset=0.0,
        )  # fmt: skip
    if kind == "nanodet":
        return Family(
            name="NanoDet", why=f"of NanoDet, from the middle of a cell: {why}",
            picture=NANODET_PICTURE,
        )  # fmt: skip
    asked = {"family": "--assume family=nanodet|picodet"}
    return Family(
        name="NanoDet or PicoDet", why="not told", picture=NANODET_PICTURE, asked=asked
    )  # fmt: skip


def _is_of_paddle(foreign: ForeignModel) -> bool:
    """Whether names are as Paddle's converter writes them."""
    graph = foreign.model.graph
    return any(tensor.name.endswith(".w_0") for tensor in graph.initializer) or any(
        node.name.startswith("p2o.") for node in graph.node
    )
