"""Recognises NanoDet and PicoDet by the cells of their strides and the bins of their sides."""

from __future__ import annotations

from edge_perception.models.adapters._box_evidence import are_scores
from edge_perception.models.adapters._boxes import cells_of
from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._gfl_maps_graph import (
    NANODET_BINS,
    NANODET_PICTURE,
    SIDES,
    nanodet_family,
    recognise_maps,
    told_classes,
)
from edge_perception.models.adapters._head_maps import maker_of
from edge_perception.models.adapters._picture import reading
from edge_perception.models.foreign import ForeignModel, Reading

_STRIDES = ((8, 16, 32, 64), (8, 16, 32))
REG_MAX = 7
_MOVES = (
    "Reshape",
    "Transpose",
    "Cast",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "DequantizeLinear",
)


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what NanoDet, PicoDet or YOLO with such a head the file may be."""
    if foreign.size is None:
        return []
    return _recognise_rows(foreign) or recognise_maps(foreign)


def _recognise_rows(foreign: ForeignModel) -> list[Reading]:
    """Return NanoDet or PicoDet whose outputs are rows, of all strides or stride by stride."""
    assert foreign.size is not None
    shapes = foreign.output_shapes()
    for strides in _STRIDES:
        cells = cells_of(foreign.size, strides)
        if len(shapes) == 1:
            ((name, shape),) = shapes.items()
            if len(shape) == 3 and shape[:2] == (1, cells) and shape[2] > 4 * (REG_MAX + 1):
                bins, names = _bins(foreign, shape[2]), len(foreign.names())
                classes = shape[2] - 4 * bins
                if names in (0, classes) and _are_scores_first(foreign, name, classes):
                    return [_nanodet(foreign, name, strides, bins)]
        if len(shapes) == 2 * len(strides):
            for bins in NANODET_BINS:
                found = _by_stride(foreign, strides, 4 * bins)
                if found is not None:
                    return [_levels(foreign, *found, strides, bins)]
    return []


def _bins(foreign: ForeignModel, columns: int) -> int:
    """Return how many bins a side has: the number that leaves the classes there are.

    The published configurations have 8, and 11 for the larger ones.
    """
    told = told_classes(foreign) or len(COCO_LABELS)
    return next((bins for bins in NANODET_BINS if columns - 4 * bins == told), REG_MAX + 1)


def _are_scores_first(foreign: ForeignModel, name: str, classes: int) -> bool:
    """Whether the first numbers of rows may be scores, and the maps that they are moved from so."""
    tried, maps = foreign.tried.get(name), gathered_maps(foreign)
    if maps is not None:
        parts = list(maps.levels[0].channels.values())
        if len(parts) > 1 and parts[0] != classes:
            return False
    return tried is None or are_scores(tried[..., :classes])


def _by_stride(
    foreign: ForeignModel, strides: tuple[int, ...], sides: int
) -> tuple[list[str], list[str]] | None:
    """Return outputs of classes and of distances, stride by stride."""
    shapes = foreign.output_shapes()
    assert foreign.size is not None
    counts = [cells_of(foreign.size, (stride,)) for stride in strides]
    boxes = [n for n, s in shapes.items() if len(s) == 3 and s[2] == sides]
    named = [name for name in boxes if "dis" in name or "reg" in name]
    if len(boxes) == len(shapes) and len(named) == len(strides):  # as many classes as bins
        boxes = named
    classes = [n for n in shapes if n not in boxes]
    rows = [[shapes[n][1] for n in names if len(shapes[n]) == 3] for names in (boxes, classes)]
    kinds, told = {shapes[n][-1] for n in classes}, told_classes(foreign)
    if told and kinds != {told} and kinds <= set(SIDES):
        return None  # of another number of bins, and these are the classes
    return (classes, boxes) if rows == [counts, counts] else None


def _nanodet(foreign: ForeignModel, name: str, strides: tuple[int, ...], bins: int) -> Reading:
    classes = foreign.output_shapes()[name][2] - 4 * bins
    # The number of cells of three strides is YOLOX's and YOLOv6's too: said by 32 columns more.
    plus = len(strides) == 4
    return reading(
        foreign,
        adapter="nanodet",
        family="NanoDet-Plus" if plus else "NanoDet",
        preprocessing=NANODET_PICTURE,
        postprocessing={
            "outputs": [name],
            "strides": list(strides),
            "reg_max": bins - 1,
            "cell_offset": 0.0 if plus else 0.5,
            "activation": "none",
        },
        classes=classes,
        reasons={
            "color": "as nanodet/config",
            "mean": "as nanodet/config",
            "std": "as nanodet/config",
            "resize": "keep_ratio is false in the published configurations",
            "strides": "the number of cells fits",
            "reg_max": "7 in the published configurations, 10 in the larger ones",
            "cell_offset": "NanoDet-Plus measures from the corner" if plus else "from the centre",
            "activation": "the exporter applies the sigmoid",
        },
    )


def _levels(
    foreign: ForeignModel,
    classes: list[str],
    boxes: list[str],
    strides: tuple[int, ...],
    bins: int,
) -> Reading:
    """NanoDet before 1.0 and PicoDet without postprocessing are alike but for the picture."""
    family = nanodet_family(foreign, strides, image=foreign.inputs[0])
    makers = [maker_of(foreign.model, name, _MOVES) for name in classes]
    inside = any(node is not None and node.op_type == "Sigmoid" for node in makers)
    return reading(
        foreign,
        adapter="nanodet",
        family=family.name,
        preprocessing=family.picture,
        postprocessing={
            "outputs": classes,
            "distances": boxes,
            "strides": list(strides),
            "reg_max": bins - 1,
            "cell_offset": family.cell_offset,
            "activation": "none" if inside else "sigmoid",
        },
        classes=foreign.output_shapes()[classes[0]][2],
        reasons={
            **dict.fromkeys((*family.picture, "cell_offset"), family.why),
            "strides": "the number of cells fits",
            "reg_max": "7 in the published configurations, 10 in the larger ones",
            "activation": "a Sigmoid makes the classes" if inside else "no Sigmoid makes them",
        },
        undecided=family.asked,
    )
