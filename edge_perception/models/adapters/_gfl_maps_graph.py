"""Recognises YOLOv8 and its kin whose head ends in maps: classes, and each side as a distribution.

Of each stride one map (1, 64 + classes, rows, columns), as the head in training gives it; or one of
the sides (1, 64, …) and one of the classes, and perhaps a third with the sum of the classes, which
exporters for NPUs add to leave out cells early and which is not needed.
"""

from __future__ import annotations

from edge_perception.models.adapters._coco import COCO_LABELS
from edge_perception.models.adapters._head_maps import (
    Level,
    before_sigmoid,
    joined_of,
    levels_of,
    map_rows,
)
from edge_perception.models.adapters._picture import reading
from edge_perception.models.adapters._yolo_graph import YOLO_PICTURE, check_task
from edge_perception.models.foreign import ForeignModel, Reading

_BINS = 16  # of each side
_SIDES = 4 * _BINS


def recognise_maps(foreign: ForeignModel) -> list[Reading]:
    """Return YOLOv8 or later where each stride has maps of sides and of classes."""
    levels = levels_of(foreign)
    counts = {_classes_of(foreign, level) for level in levels}
    if len(counts) != 1 or None in counts:
        return []
    check_task(foreign)
    (classes,) = counts
    assert classes is not None
    rows, inside = map_rows(foreign), set()
    outputs, distances = [], []
    for level in levels:
        sides, kinds = _maps_of(level)
        shape = foreign.shapes[kinds]
        raised = before_sigmoid(foreign.model, kinds) is not None
        inside.add(raised)
        first = _SIDES if sides == kinds else 0
        which = list(range(first, first + classes))
        outputs.append(rows.add(f"classes_{level.stride}", kinds, which, shape))
        distances.append(rows.add(f"sides_{level.stride}", sides, list(range(_SIDES)), shape))
    if len(inside) != 1:
        return []
    (raised,) = inside
    return [
        reading(
            foreign,
            adapter="nanodet",
            family="YOLOv8 or later, raw levels",
            preprocessing=YOLO_PICTURE,
            postprocessing={
                "outputs": outputs,
                "distances": distances,
                "strides": [level.stride for level in levels],
                "reg_max": _BINS - 1,
                "cell_offset": 0.5,
                "activation": "none" if raised else "sigmoid",
            },
            classes=classes,
            reasons={
                "scale": "YOLO takes pixels from 0 to 1",
                **dict.fromkeys(("pad", "pad_value"), "as YOLO's own letterbox"),
                **dict.fromkeys(("outputs", "distances"), "maps of the file, as rows"),
                "strides": "shapes of the maps",
                "reg_max": "64 channels for four sides",
                "cell_offset": "YOLO measures from the centre of a cell",
                "activation": "a Sigmoid makes the classes" if raised else "no Sigmoid makes them",
            },
            model=rows.done(),
        )
    ]


def _classes_of(foreign: ForeignModel, level: Level) -> int | None:
    """Return how many classes a level has; None: it is of another kind."""
    sizes = list(level.channels.values())
    if len(sizes) > 1:
        fits = sizes[0] == _SIDES and (len(sizes) == 2 or sizes[2:] == [1])
        return sizes[1] if fits else None
    classes = sizes[0] - _SIDES
    joined = joined_of(foreign, next(iter(level.channels)))
    if joined and joined[0][1] != _SIDES:
        return None  # of box, objectness and classes, as YOLOX joins them
    labels = foreign.said.get("labels", ())
    told = len(foreign.names()) or (len(labels) if not isinstance(labels, str) else 0)
    if classes < 1 or (told and classes != told):
        return None
    # Without names only COCO's are sure: three anchors of another number of classes are as wide.
    return classes if told or classes == len(COCO_LABELS) or sizes[0] % 3 else None


def _maps_of(level: Level) -> tuple[str, str]:
    """Return the names of the map of sides and of that of classes."""
    names = list(level.channels)
    return names[0], names[min(1, len(names) - 1)]
