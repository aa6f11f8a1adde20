"""The classes fusion knows: common names, what may be confused with what, and usual sizes."""

from __future__ import annotations

from collections.abc import Mapping

# COCO's names (and the usual spellings of its descendants) that are road users.
COMMON_NAMES: Mapping[str, str] = {
    "car": "car",
    "truck": "truck",
    "bus": "bus",
    "pedestrian": "pedestrian",
    "person": "pedestrian",
    "cyclist": "cyclist",
    "bicycle": "cyclist",
    "motorcycle": "cyclist",
    "motorbike": "cyclist",
}

# Length, width, height, m: usual road users, in round numbers.
USUAL_SIZE_M: Mapping[str, tuple[float, float, float]] = {
    "car": (4.4, 1.8, 1.6),
    "truck": (8.0, 2.5, 3.0),
    "bus": (11.0, 2.6, 3.2),
    "pedestrian": (0.6, 0.6, 1.7),
    "cyclist": (1.8, 0.6, 1.7),
}

VEHICLE, PERSON = "vehicle", "person"
_GROUPS: Mapping[str, str] = {
    "car": VEHICLE,
    "truck": VEHICLE,
    "bus": VEHICLE,
    "pedestrian": PERSON,
    "cyclist": PERSON,
}

# People stand closer together than cars do.
GATE_SHARE: Mapping[str, float] = {PERSON: 0.5}


def common_name(class_name: str) -> str | None:
    """Return the common name of a class, however it is capitalised; None: no road user."""
    return COMMON_NAMES.get(class_name) or COMMON_NAMES.get(class_name.strip().lower())


def group_of(class_name: str) -> str:
    """Return the classes' group inside which sensors may disagree; others stand alone."""
    return _GROUPS.get(class_name, class_name)
