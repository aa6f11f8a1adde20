"""What recognisers of cameras' families share: preprocessing, labels, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from edge_perception.core.errors import ModelError
from edge_perception.fusion.label_names import OTHER, class_of_label
from edge_perception.models.adapters._boxes import BoxOptions
from edge_perception.models.adapters._coco import (
    COCO_LABELS,
    COCO_PAPER_LABELS,
    ROAD_USERS,
    coco_spelling,
)
from edge_perception.models.adapters._libreyolo import libreyolo_picture
from edge_perception.models.adapters._picture_config import PictureConfig, read_picture_config
from edge_perception.models.foreign import ForeignModel, Reading, are_placeholders, described

# Mean and deviation of ImageNet's pixels, RGB 0 to 1, as torchvision and Paddle normalise.
IMAGENET: dict[str, Any] = {
    "scale": 1 / 255,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
UNIT: dict[str, Any] = {"scale": 1 / 255}
LETTERBOX: dict[str, Any] = {"resize": "letterbox", "pad": "center", "pad_value": 114.0}
STRETCH: dict[str, Any] = {"resize": "stretch"}
SUPPRESSED = {"overlap_threshold": 0.9, "duplicate_threshold": 1.0}  # in the graph
_NO_CLASS = ("background", "bg", "n/a", "none", "unused_0", "unlabeled", "???")
_NOT_TOLD = "not in the file"
_SMALL_GAIN = 0.1  # of what brings pixels of 0 to 255 to numbers of about 1
_PADDLE_ASKED = (
    "--config infer_cfg.yml, or --assume normalise=imagenet (PicoDet, PP-YOLOE) or none "
    "(PP-YOLOE+, RT-DETR), as its NormalizeImage says"
)
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
    model: Any = None,
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
        model: where it is another graph than that of the file.
    """
    assert foreign.size is not None
    config = config_of(foreign)
    labels, why = labels_of(foreign, classes, config)
    manifest = described(foreign, adapter, "camera")
    prepared, reasons = fitted(
        foreign, {"color": "rgb", **preprocessing}, {"color": f"as {family} is trained", **reasons}
    )
    manifest["preprocessing"] = {
        "image_input": foreign.inputs[0],
        "size": list(foreign.size),
        **prepared,
    }
    manifest["postprocessing"] = {
        **_box_defaults(),
        **postprocessing,
        "classes": published(labels),
    }
    manifest["labels"] = labels
    _, unknown = libreyolo_picture(foreign.metadata)
    told = config.preprocessing if config is not None else {}
    asked = {**_half_done(foreign, {**preprocessing, **told}), **dict(undecided or {})}
    asked |= {name: text for name, text in unknown.items() if name not in foreign.said}
    if not labels and "labels" not in foreign.said:
        asked["labels"] = LABELS_OPTION if why == _NOT_TOLD else f"{why}: {LABELS_OPTION}"
    return Reading(
        family=family,
        manifest=manifest,
        reasons={**reasons, "labels": why},
        undecided=asked,
        classes=classes,
        model=model,
    )


def _box_defaults() -> dict[str, Any]:
    """Return what every detector of boxes has, so that an import prints it and it can be said."""
    return {item.name: item.default for item in fields(BoxOptions) if item.default is not MISSING}


def published(labels: Sequence[str]) -> dict[str, str]:
    """Return what each label is published as; of COCO's only road users are.

    Road users have our names, by what well-known data sets call them: fusion places those alone.
    Others are published as they are called. Empty: all are.
    """
    if tuple(labels) in (COCO_LABELS, COCO_PAPER_LABELS):
        return dict(ROAD_USERS)
    ours = {label: class_of_label(label) for label in labels}
    names = {
        label: label if found in (None, OTHER) else str(found) for label, found in ours.items()
    }
    return names if any(label != name for label, name in names.items()) else {}


def paddle_picture(foreign: ForeignModel) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how a network of PaddleDetection wants its numbers, and what is to be asked of it.

    Of one family some are given numbers of 0 to 1 and others normalised ones: PP-YOLOE+ and
    PP-YOLOE. Their infer_cfg.yml says it, and LibreYOLO's metadata do.
    """
    if foreign.said.get("normalise") == "imagenet":
        return dict(IMAGENET), {}
    libre, _ = libreyolo_picture(foreign.metadata)
    told = {"mean", "normalise"} & set(foreign.said) or config_of(foreign) is not None or libre
    return dict(UNIT), {} if told else {"normalise": _PADDLE_ASKED}


def config_of(foreign: ForeignModel) -> PictureConfig | None:
    """Return what the file beside says that was given; None: none was.

    Raises:
        ModelError: it is none that exporters write.
    """
    return read_picture_config(foreign.config) if foreign.config else None


def fitted(
    foreign: ForeignModel, wanted: Mapping[str, Any], reasons: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the preprocessing that a family wants, less what the graph does itself.

    Args:
        foreign: the file; what its configuration says goes before what the family usually has.
        wanted: preprocessing of the family.
        reasons: why.
    """
    values, why = dict(wanted), dict(reasons)
    libre, _ = libreyolo_picture(foreign.metadata)
    values |= libre
    why |= dict.fromkeys(libre, "'model_family' of the metadata")
    config = config_of(foreign)
    if config is not None:
        said = {name: v for name, v in config.preprocessing.items() if name != "size"}
        values |= said
        why |= dict.fromkeys(said, f"'{config.name}'")
    values["color"], told = _order(foreign, str(values.get("color", "rgb")))
    why |= {"color": told} if told else {}
    inside = _done_inside(foreign, values)
    if inside:
        values |= {"scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}
        why |= dict.fromkeys(("scale", "mean", "std"), inside)
    return values, why


def _order(foreign: ForeignModel, color: str) -> tuple[str, str]:
    """Return the order of colours that the input takes, and what of the graph says so.

    Args:
        foreign: the file.
        color: that the network takes, rgb or bgr.
    """
    front = foreign.front
    if front is None:
        return color, ""
    if front.order():  # surer than what a family usually takes
        return front.order(), "of the means that the graph takes off, the largest is of red"
    if front.turned:
        other = "bgr" if color == "rgb" else "rgb"
        return other, f"the graph turns it to {color} itself"
    return color, ""


def _half_done(foreign: ForeignModel, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Ask for the normalisation where a graph does a part of what the family wants.

    A graph that brings pixels to 0 to 1 and takes no mean off may have the mean and the deviation
    in its first convolution, or leave them to who calls it.
    """
    front = foreign.front
    mean = np.asarray(wanted.get("mean", [0.0] * 3), np.float64)
    if front is None or "mean" in foreign.said or not mean.any() or front.bias.any():
        return {}
    if not 0 < np.abs(front.gain).max() < _SMALL_GAIN:
        return {}
    std = np.asarray(wanted.get("std", [1.0] * 3), np.float64)
    scale = float(wanted.get("scale", 1.0))
    left = "; ".join(
        f"--assume {name}={[round(float(v), 4) for v in values / scale]}"
        for name, values in (("mean", mean), ("std", std))
    )
    return {
        "mean": f"the graph begins with pixel * {front.gain[0]:.4g} and takes no mean off: "
        f"--assume mean=[0,0,0] where it does so later, or {left} where it is left to do"
    }


def _done_inside(foreign: ForeignModel, values: Mapping[str, Any]) -> str:
    """Say how the graph brings pixels of 0 to 255 to what it takes; empty: it does not."""
    std = np.asarray(values.get("std", [1.0] * 3), np.float64)
    if not std.all() or (values.get("scale", 1.0) / std).max() >= _SMALL_GAIN:
        return ""  # pixels as they are go in anyway, or what is wrong is told later
    if foreign.reasons.get("input_type") == "uint8":
        return "the input takes whole numbers from 0 to 255"
    front = foreign.front
    if front is not None and np.abs(front.gain).max() < _SMALL_GAIN:
        return f"the graph begins with pixel * {front.gain[0]:.4g} + {front.bias[0]:.4g}"
    return ""


def labels_of(
    foreign: ForeignModel, classes: int | None, config: PictureConfig | None = None
) -> tuple[list[str], str]:
    """Return class names and where they come from; none where nothing tells.

    Raises:
        ModelError: the configuration names another number of classes than the outputs have.
    """
    names = [coco_spelling(name) for name in foreign.names()]
    if names and classes in (None, len(names)):
        return names, "'names' of the metadata"
    if config is not None and config.labels:
        if classes not in (None, len(config.labels)) and "labels" not in foreign.said:
            raise ModelError(
                f"{foreign.path.name}: the outputs have {classes} classes, '{config.name}' names "
                f"{len(config.labels)}"
            )
        if are_placeholders(config.labels):
            return [], f"'{config.name}' has only placeholders, {config.labels[0]} and so on"
        return [coco_spelling(name) for name in config.labels], f"'{config.name}'"
    if classes == len(COCO_LABELS):
        return list(COCO_LABELS), "80 classes: COCO's"
    if classes == len(COCO_PAPER_LABELS):
        return list(COCO_PAPER_LABELS), "91 classes: the numbers of COCO's paper"
    return [], _NOT_TOLD


def constants_of(foreign: ForeignModel) -> set[str]:
    """Return the inputs of the file that are constants now."""
    return {key.removeprefix("input.") for key in foreign.reasons if key.startswith("input.")}


def names_number_0(foreign: ForeignModel) -> bool:
    """Whether the class names that are given begin with number 0, which is no class.

    Detectors that count their classes from 1 have the background there.
    """
    labels = foreign.said.get("labels", ())
    if isinstance(labels, str) or not labels:
        return labels == "coco91"
    return str(labels[0]).strip("_ ").lower() in _NO_CLASS
