"""How LibreYOLO prepares pictures: its exports of all families have the same form of metadata.

Its exporter writes many families with one signature, (1, 4 + classes, N) or rows of that, and names
the family in `model_family`. What each family wants is that of its origin, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEY = "libreyolo_version"
_IMAGENET: dict[str, Any] = {
    "color": "rgb", "scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
_UNIT: dict[str, Any] = {"color": "rgb", "scale": 1 / 255}
_STRETCH = {"resize": "stretch"}
_TOP_LEFT: dict[str, Any] = {"resize": "letterbox", "pad": "bottom_right", "pad_value": 114.0}
_PREPARED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("yolox",), {"color": "bgr", "scale": 1.0, **_TOP_LEFT}),
    (("yolo7", "yolo9", "yolo9_e2e", "yolo9_p2"), {**_UNIT, **_TOP_LEFT}),
    (
        ("rtmdet",),
        {
            "color": "bgr", "scale": 1.0, "mean": [103.53, 116.28, 123.675],
            "std": [57.375, 57.12, 58.395], **_TOP_LEFT,
        },
    ),
    (("picodet", "ppyoloe", "detr"), {**_IMAGENET, **_STRETCH}),
    (("rtdetr", "rtdetrv2", "rtdetrv4", "dfine", "deim"), {**_UNIT, **_STRETCH}),
)  # fmt: skip
_FAMILIES = {name: picture for names, picture in _PREPARED for name in names}
_ASKED = ("color", "scale", "resize")


def libreyolo_picture(metadata: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the preprocessing that the metadata tell, and what they leave to be said.

    Both are empty where the file is of another exporter.
    """
    if _KEY not in metadata:
        return {}, {}
    family = metadata.get("model_family", "")[:40]
    if family not in _FAMILIES:
        why = f"of '{family}' it is not known: --assume"
        return {}, {name: f"{why} {name}=…" for name in _ASKED}
    values = dict(_FAMILIES[family])
    if metadata.get("letterbox_pad") == "center":
        values["pad"] = "center"
    return values, {}
