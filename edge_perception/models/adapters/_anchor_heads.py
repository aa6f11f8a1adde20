"""Heads whose boxes are offsets from anchors: RetinaNet, EfficientDet, SSD before their end.

Sizes, shapes and order of the anchors and the variances of the offsets are in the code of the
exporter and not in the graph, so such a file is refused, by what it lacks.
"""

from __future__ import annotations

from edge_perception.models.adapters._boxes import cells_of
from edge_perception.models.foreign import ForeignModel
from edge_perception.models.graph import Shapes

_FEWEST = 500  # anchors; fewer are queries or detections
_MOST_A_CELL = 12
_STRIDES = (8, 16, 32, 64, 128)


def lacking_anchors(foreign: ForeignModel) -> str:
    """Say what a file with offsets from anchors lacks; empty: it is none.

    Args:
        foreign: the file, which no family fits.
    """
    if foreign.size is None:
        return ""
    shapes = foreign.output_shapes()
    found = _of_rows(foreign, shapes) or _of_maps(shapes)
    if not found:
        return ""
    return (
        f"{found}: offsets from anchors or points, as of RetinaNet, EfficientDet, FCOS or SSD cut "
        "before their postprocessing. Sizes, shapes and order of the anchors and the variances "
        "of the offsets are not in the graph: export it with its postprocessing (boxes, scores and "
        "labels of torchvision, dets and labels of mmdeploy, detections of automl), or bring "
        "the decoding as --adapter wasm --module FILE"
    )


def _of_rows(foreign: ForeignModel, shapes: Shapes) -> str:
    """Find (1, N, 4) beside (1, N, classes), and perhaps more of that length."""
    rows = {name: s for name, s in shapes.items() if len(s) == 3 and s[1] >= _FEWEST}
    boxes = [name for name, shape in rows.items() if shape[2] == 4]
    if len(boxes) > 1:  # anchors beside, or four classes
        boxes = [name for name in boxes if "box" in name.lower() or "regress" in name.lower()]
    if len(boxes) != 1:
        return ""
    count = rows[boxes[0]][1]
    if not any(shape[1] == count for name, shape in rows.items() if name != boxes[0]):
        return ""
    assert foreign.size is not None
    cells = cells_of(foreign.size, _STRIDES)
    each, rest = divmod(count, cells)
    a_cell = f", {each} a cell of strides {_STRIDES[0]} to {_STRIDES[-1]}" if not rest else ""
    return f"output '{boxes[0]}' has {count} boxes{a_cell if each <= _MOST_A_CELL else ''}"


def _of_maps(shapes: Shapes) -> str:
    """Find, for each of several grids, a map of 4 A channels beside one of A times the classes."""
    grids: dict[tuple[int, ...], list[int]] = {}
    for shape in shapes.values():
        if len(shape) == 4:
            grids.setdefault(shape[2:], []).append(shape[1])
    for maps in grids.values():
        if len(maps) == 3 and 1 in maps:  # how central a cell is
            maps.remove(1)
    if len(grids) < 2 or any(len(maps) != 2 for maps in grids.values()):
        return ""
    if not set.intersection(*(_classes_of(*maps) for maps in grids.values())):
        return ""
    return f"{len(grids)} grids have a map of boxes and one of their classes"


def _classes_of(one: int, other: int) -> set[int]:
    """Return how many classes there may be, where one map has 4 channels an anchor."""
    return {
        4 * scores // boxes
        for boxes, scores in ((one, other), (other, one))
        if boxes % 4 == 0 and 0 < boxes <= 4 * _MOST_A_CELL and 4 * scores % boxes == 0
    }
