"""Names that well-known data sets and tools give to road users, and our classes.

One table for labels of one's own and for the data sets that `convert` reads. What is none of our
classes is `other`: nobody asks for it, and a detection on it is not counted as false. A name that
is not in the table is not known, which is another thing: somebody should look at it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edge_perception.core.errors import ConfigurationError
from edge_perception.fusion.classes import common_name

OTHER = "other"
OUR_CLASSES = ("car", "truck", "bus", "pedestrian", "cyclist", OTHER)
# Small letters; blanks, `_` and `-` between words are alike.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "car": (
        "type vehicle", "vehicle",  # Waymo, Argoverse 1: trucks and buses are in it, too
        "regular vehicle",  # Argoverse 2
        "passenger car", "suv", "sedan",
    ),
    "truck": (
        "pickup truck", "medium sized truck", "semi truck",  # PandaSet
        "large vehicle", "box truck", "truck cab",  # Argoverse 2
        "lorry",
    ),
    "bus": ("school bus", "articulated bus"),  # Argoverse
    "pedestrian": (
        "type pedestrian",  # Waymo
        "person sitting", "person (sitting)",  # KITTI
        "pedestrian with object",  # PandaSet
        "official signaler",  # Argoverse 2
        "people",
    ),
    "cyclist": (
        "type cyclist",  # Waymo
        "bicyclist", "motorcyclist",  # Argoverse
        "moped", "rider", "bike", "motor",  # Argoverse 1, Cityscapes, BDD100K
    ),
    OTHER: (
        "other", "unknown", "misc", "dontcare", "don't care", "type unknown", "type other",
        "type sign", "sign", "signs",
        "van",  # KITTI neither asks for vans nor punishes cars found on them
        "tram", "train", "tram / subway", "trolley", "railed vehicle", "on rails",
        "trailer", "vehicular trailer", "caravan", "towed object", "construction vehicle",
        "other vehicle", "other vehicle construction vehicle", "other vehicle uncommon",
        "other vehicle pedicab", "emergency vehicle", "motorized scooter",
        "personal mobility device", "stroller", "wheelchair", "wheeled device", "wheeled rider",
        "animal", "animals other", "animals bird", "dog", "traffic cone", "cones", "pylons",
        "barrier", "road barriers", "bollard", "stop sign", "traffic light", "traffic sign",
        "construction cone", "construction barrel", "construction signs",
        "temporary construction barriers", "rolling containers", "message board trailer",
        "traffic light trailer", "mobile pedestrian sign", "mobile pedestrian crossing sign",
        "on road obstacle", "mover", "other mover",
    ),
}  # fmt: skip
_BY_NAME = {name: ours for ours, names in _NAMES.items() for name in names}
_BY_PREFIX = (  # nuScenes: the first one that a category begins with
    ("vehicle.car", "car"),
    ("vehicle.truck", "truck"),
    ("vehicle.bus", "bus"),
    ("vehicle.bicycle", "cyclist"),
    ("vehicle.motorcycle", "cyclist"),
    ("vehicle.", OTHER),
    ("human.pedestrian.stroller", OTHER),
    ("human.pedestrian.wheelchair", OTHER),
    ("human.pedestrian.personal mobility", OTHER),
    ("human.pedestrian", "pedestrian"),
    ("animal", OTHER),
    ("movable object.", OTHER),
    ("static object.", OTHER),
    ("flat.", OTHER),
    ("noise", OTHER),
)
_BETWEEN = re.compile(r"[\s_\-]+")


def class_of_label(label: str, own: Mapping[str, str] | None = None) -> str | None:
    """Return our class of a label; None: the name is not known.

    Args:
        label: as whoever labelled it calls it.
        own: labels of one's own, which come first.
    """
    if own and label in own:
        return own[label]
    name = _BETWEEN.sub(" ", label.strip().lower())
    found = common_name(name) or _BY_NAME.get(name)
    if found is None:
        found = next((ours for prefix, ours in _BY_PREFIX if name.startswith(prefix)), None)
    return found


def check_own_names(own: Mapping[str, str], where: str) -> None:
    """Refuse a map of one's own whose classes are none of ours.

    Raises:
        ConfigurationError: one is none; it is named.
    """
    for label, ours in own.items():
        if ours not in OUR_CLASSES:
            raise ConfigurationError(
                f"{where}.{label}: expected one of {', '.join(OUR_CLASSES)}, got '{ours}'"
            )


def told(unknown: Mapping[str, int]) -> str:
    """Return what is said of names that are not known; empty: there are none."""
    if not unknown:
        return ""
    names = sorted(unknown, key=lambda name: (-unknown[name], name))
    text = ", ".join(f"'{name}' ({unknown[name]})" for name in names[:10])
    more = f" and {len(names) - 10} more names" if len(names) > 10 else ""
    return (
        f"labels of names that are not known count as {OTHER}: {text}{more}; `classes` of a file "
        "of labels says what they are"
    )
