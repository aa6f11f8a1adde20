"""What recognisers of cameras' families share: preprocessing, labels, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from edge_perception.models.adapters._boxes import BoxOptions
from edge_perception.models.adapters._coco import (
    COCO_LABELS,
    COCO_PAPER_LABELS,
    ROAD_USERS,
    coco_spelling,
)
from edge_perception.models.foreign import ForeignModel, Reading, described

# Mean and deviation of ImageNet's pixels, RGB 0 to 1, as torchvision and Paddle normalise.
IMAGENET: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
UNIT: dict[str, Any] = {"scale": 1 / 255}
LETTERBOX: dict[str, Any] = {"resize": "letterbox", "pad": "center", "pad_value": 114.0}
STRETCH: dict[str, Any] = {"resize": "stretch"}
LABELS_OPTION = "--labels FILE, coco80 (contiguous) or coco91 (the numbers of COCO's paper)"


def reading(
    foreign: ForeignModel,
    *,
    adapter: str,
    family: str,
    preprocessing: Mapping[str, Any],
    postprocessing: Mapping[str, Any],
    classes: int | None,
    reasons: Mapping[str, str],
    undecided: Mapping[str, str] | None = None,
) -> Reading:
    """Put a reading together.

    Args:
        foreign: the file.
        adapter: that reads its outputs.
        family: for people.
        preprocessing: but for the input and its size.
        postprocessing: of the adapter.
        classes: how many the outputs have; None: they do not tell.
        reasons: why options have their values.
        undecided: what the file does not tell.
    """
    assert foreign.size is not None
    labels, why = labels_of(foreign, classes)
    manifest = described(foreign, adapter, "camera")
    manifest["preprocessing"] = {
        "image_input": foreign.inputs[0],
        "size": list(foreign.size),
        "color": "rgb",
        **preprocessing,
    }
    manifest["postprocessing"] = {
        **_box_defaults(),
        **postprocessing,
        "classes": published(labels),
    }
    manifest["labels"] = labels
    asked = dict(undecided or {})
    if not labels and "labels" not in foreign.said:
        asked["labels"] = LABELS_OPTION
    return Reading(
        family=family,
        manifest=manifest,
        reasons={"color": f"as {family} is trained", **reasons, "labels": why},
        undecided=asked,
        classes=classes,
    )


def _box_defaults() -> dict[str, Any]:
    """Return what every detector of boxes has, so that an import prints it and it can be said."""
    return {item.name: item.default for item in fields(BoxOptions) if item.default is not MISSING}


def published(labels: Sequence[str]) -> dict[str, str]:
    """Return what is published of COCO's classes; of others everything is, as it is called."""
    coco = tuple(labels) in (COCO_LABELS, COCO_PAPER_LABELS)
    return dict(ROAD_USERS) if coco else {}


def labels_of(foreign: ForeignModel, classes: int | None) -> tuple[list[str], str]:
    """Return class names and where they come from; none where the file does not tell."""
    names = [coco_spelling(name) for name in foreign.names()]
    if names and classes in (None, len(names)):
        return names, "'names' of the metadata"
    if classes == len(COCO_LABELS):
        return list(COCO_LABELS), "80 classes: COCO's"
    if classes == len(COCO_PAPER_LABELS):
        return list(COCO_PAPER_LABELS), "91 classes: the numbers of COCO's paper"
    return [], "not in the file"
