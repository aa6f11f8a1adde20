"""Which of DETR's kin a file is: they have the same outputs, and want pictures in other ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._modules import modules_of
from edge_perception.models.adapters._picture import IMAGENET, UNIT, config_of
from edge_perception.models.foreign import ForeignModel


@dataclass(frozen=True, kw_only=True)
class Kin:
    """What a member of the family wants, and what its logits are."""

    name: str
    picture: Mapping[str, Any]
    softmax: bool = False  # the last class is "no object"
    spare: bool = False  # perhaps the head has one class more than names, the last, of nothing


KIN = {  # by what is said with --assume family
    "detr": Kin(name="DETR", picture=IMAGENET, softmax=True),
    "rtdetr": Kin(name="RT-DETR or D-FINE", picture=UNIT),
    "rfdetr": Kin(name="RF-DETR", picture=IMAGENET, spare=True),
    "deformable": Kin(name="deformable DETR", picture=IMAGENET),
    "deimv2": Kin(name="DEIMv2 on DINOv3", picture=IMAGENET),
}
_DINOV3 = "dinov3"  # a module of DEIMv2's larger models, which alone take pictures normalised
_RT_DETR, _D_FINE = ("rtdetr", "RT-DETR"), ("rtdetr", "D-FINE")
# model_type of transformers' config.json, and what LibreYOLO calls them: kin and own name.
_MODEL_TYPES = {
    "detr": ("detr", "DETR"),
    "yolos": ("detr", "YOLOS"),
    "table-transformer": ("detr", "Table Transformer"),
    "rt_detr": _RT_DETR,
    "rt_detr_v2": ("rtdetr", "RT-DETRv2"),
    "d_fine": _D_FINE,
    "deimv2": ("rtdetr", "DEIMv2"),
    "conditional_detr": ("deformable", "conditional DETR"),
    "deformable_detr": ("deformable", "deformable DETR"),
    "dab-detr": ("deformable", "DAB-DETR"),
    "deta": ("deformable", "DETA"),
    "rf_detr": ("rfdetr", "RF-DETR"),
    "lw_detr": ("rfdetr", "LW-DETR"),
    "rtdetr": _RT_DETR,
    "rtdetrv2": ("rtdetr", "RT-DETRv2"),
    "rtdetrv4": ("rtdetr", "RT-DETRv4"),
    "dfine": _D_FINE,
    "deim": ("rtdetr", "DEIM"),
}
# Modules that only some have, which exporters leave in the names of weights and nodes; the first
# that is there decides.
_MODULES = (
    ("ref_anchor_head", ("deformable", "DAB-DETR")),
    ("q_pos_sine_proj", ("deformable", "conditional DETR")),  # of transformers 5
    ("ca_qpos_sine_proj", ("deformable", "conditional DETR")),
    ("lqe_layers", ("rtdetr", "D-FINE or DEIM")),
    ("enc_score_head", _RT_DETR),
    ("enc_out_class_embed", ("rfdetr", "RF-DETR or LW-DETR")),
    ("detection_tokens", ("detr", "YOLOS")),
    ("sampling_offsets", ("deformable", "deformable DETR")),
    ("class_labels_classifier", ("detr", "DETR")),
)


def kin_of(foreign: ForeignModel, classes: str, boxes: str, columns: int) -> tuple[Kin | None, str]:
    """Return which of the family it is, and why; None: nothing tells.

    Args:
        foreign: the file.
        classes: output of the logits.
        boxes: output of the boxes.
        columns: of the logits.

    Raises:
        ModelError: the configuration is of another family.
    """
    said = str(foreign.said.get("family", "")).lower().replace("-", "")
    if said in KIN:
        return KIN[said], "said"
    config = config_of(foreign)
    if config is not None and config.family:
        if config.family not in _MODEL_TYPES:
            raise ModelError(
                f"{config.name}: model_type: expected one of {', '.join(_MODEL_TYPES)}, got "
                f"'{config.family[:40]}'; or --assume family={'|'.join(KIN)}"
            )
        return _named(_MODEL_TYPES[config.family]), f"model_type of '{config.name}'"
    family = foreign.metadata.get("model_family", "")  # of LibreYOLO
    if family in _MODEL_TYPES:
        return _named(_MODEL_TYPES[family]), "'model_family' of the metadata"
    if {classes, boxes} == {"labels", "dets"}:
        return KIN["rfdetr"], "outputs 'dets' and 'labels'"
    modules = modules_of(foreign)
    if has_dinov3(foreign):
        return KIN["deimv2"], f"module '{_DINOV3}' in the names of the graph"
    for module, found in _MODULES:
        if module in modules:
            return _named(found), f"module '{module}' in the names of the graph"
    if columns in (92, 251):
        return KIN["detr"], f"{columns} classes: the last is 'no object'"
    if columns == 80:
        return KIN["rtdetr"], "80 classes"
    return None, "the number of classes does not tell"


def names_told(foreign: ForeignModel) -> int:
    """Return how many class names the user, the metadata or the configuration give; 0: none."""
    given = foreign.said.get("labels", ())
    config = config_of(foreign)
    said = 0 if isinstance(given, str) else len(given)
    return said or len(foreign.names()) or (len(config.labels) if config is not None else 0)


def _named(found: tuple[str, str]) -> Kin:
    kin, name = found
    return replace(KIN[kin], name=name)


def has_dinov3(foreign: ForeignModel) -> bool:
    """Whether the names of a graph show the backbone of DEIMv2's larger models."""
    return any(module.lower().startswith(_DINOV3) for module in modules_of(foreign))
