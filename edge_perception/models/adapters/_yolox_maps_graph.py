"""Recognises YOLOX whose head ends in maps, as exporters for NPUs leave it.

Of each stride one map (1, 5 + classes, rows, columns), which joins box, objectness and classes, or
the three apart: (1, 4, …), (1, 1, …), (1, classes, …). Where no Sigmoid makes the last two, it is
added. The maps become the rows that the adapter reads.
"""

from __future__ import annotations

from typing import Any

from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._head_maps import (
    is_raised,
    is_reckoned,
    is_sum,
    joined_of,
    map_rows,
)
from edge_perception.models.adapters._map_layouts import Level, maps_of
from edge_perception.models.adapters._picture import reading
from edge_perception.models.foreign import ForeignModel, Reading

_PICTURE: dict[str, Any] = {
    "color": "bgr", "scale": 1.0, "resize": "letterbox", "pad": "bottom_right", "pad_value": 114.0,
}  # fmt: skip
_BOX, _OBJECT = 4, 1  # channels
_KINDS = ("box", "object", "classes")
_STRIDES = ((8, 16, 32), (8, 16, 32, 64))


def recognise_yolox_maps(foreign: ForeignModel) -> list[Reading]:
    """Return YOLOX where each stride has its box, objectness and classes as maps."""
    maps = maps_of(foreign)
    if maps is None and len(foreign.outputs) > 1:  # one output of all cells is YOLOX's own export
        maps = gathered_maps(foreign)
    if maps is None:
        return []
    foreign, levels = maps.foreign, maps.levels
    parts = [_parts_of(foreign, level) for level in levels]
    counts = {len(found) for found in parts}
    classes = {found[-1][1] for found in parts if found}
    if len(counts) != 1 or counts == {0} or len(classes) != 1:
        return []
    if tuple(level.stride for level in levels) not in _STRIDES:
        return []
    (count,) = classes
    names = len(foreign.names())
    if names not in (0, count):
        return []
    rows, raised, strides = map_rows(foreign), [], [level.stride for level in levels]
    cells = 0
    for level, found in zip(levels, parts, strict=True):
        shape = foreign.shapes[next(iter(level.channels))]
        cells += shape[2] * shape[3]
        flat = []
        for kind, (name, channels) in zip(_KINDS, found, strict=True):
            source, made = name, f"{kind}_{level.stride}"
            if kind != "box":
                raised.append(is_raised(foreign, name))
                if not raised[-1]:
                    source = f"{made}__raised"
                    rows.node("Sigmoid", [name], source)
            flat.append(rows.add(made, source, range(channels), (1, channels, *shape[2:])))
        rows.node("Concat", flat, f"cells_{level.stride}", axis=2)
    rows.node("Concat", [f"cells_{stride}" for stride in strides], "cells", axis=1)
    rows.only("cells", (1, cells, _BOX + _OBJECT + count))
    why = "0 to 1 already" if all(raised) else "a Sigmoid is added"
    return [
        reading(
            foreign,
            adapter="yolox",
            family="YOLOX, a map a stride",
            preprocessing=_PICTURE,
            postprocessing={
                "output": "cells",
                "strides": strides,
                "decoded": False,
            },
            classes=count,
            reasons={
                **dict.fromkeys(("color", "scale"), "YOLOX 0.1.1 and later"),
                "pad": "YOLOX places the image at the top left",
                "pad_value": "as YOLOX pads",
                "output": f"maps {maps.form} of the file, as rows; objectness and classes: {why}",
                "strides": "shapes of the maps",
                "decoded": "maps of offsets in their cells",
            },
            model=rows.done(),
        )
    ]


def _parts_of(foreign: ForeignModel, level: Level) -> list[tuple[str, int]]:
    """Return the maps of box, objectness and classes with their channels; []: there are none."""
    maps = list(level.channels.items())
    if len(maps) == 1:  # joined in the graph
        maps = joined_of(foreign, maps[0][0])
    if len(maps) != 3:
        return []
    boxes = [item for item in maps if item[1] == _BOX]
    objects = [item for item in maps if item[1] == _OBJECT]
    # Others give the sum of the classes beside (YOLOv6 for RKNN), or how central a cell is, with
    # distances that were reckoned (FCOS and its kin).
    summed = any(is_sum(foreign.model, name) for name, _ in objects)
    if summed or any(is_reckoned(foreign.model, name) for name, _ in boxes[:1]):
        return []
    if len(boxes) != 1 or len(objects) != 1:  # four classes, or one: in the order of the head
        in_order = [channels for _, channels in maps[:2]] == [_BOX, _OBJECT]
        return maps if in_order else []
    return [*boxes, *objects, *(m for m in maps if m not in (boxes[0], objects[0]))]
