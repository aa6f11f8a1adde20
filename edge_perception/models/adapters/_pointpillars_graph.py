"""Recognises PointPillars with anchors: voxels and their places in; classes and boxes out.

In one graph, or in two: a voxel encoder, and what comes behind the scatter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._pillar_config import (
    PillarConfig,
    read_pillar_config,
    score_of,
)
from edge_perception.models.adapters._pillar_inputs import (
    CONFIGS,
    declared_inputs,
    inputs_of,
    pinned,
    preprocessing_of,
    reasons_of,
    undecided_of,
    values_of,
)
from edge_perception.models.foreign import ForeignModel, Reading, described, precision_of
from edge_perception.models.graph import input_names, opset_of, tensor_shapes
from edge_perception.models.pillar_graph import CELLS, grid_of, is_voxel_encoder, joined

_OUTPUTS = {  # of OpenPCDet (hwc) and of mmdeploy (chw)
    "hwc": ("cls_preds", "box_preds", "dir_cls_preds"),
    "chw": ("cls_score", "bbox_pred", "dir_cls_pred"),
}
_DIRECTIONS_RAD = {"hwc": 0.78539, "chw": -1.5707963}  # where the configuration says nothing
_CODER = "ResidualCoder"  # offsets to the anchor, logarithms of sizes, the yaw as an angle
_BINS = 2  # of directions
_ANCHORS = (
    '--assume anchors=[{"size_m": [3.9, 1.6, 1.56], "bottom_m": -1.78, "yaws_rad": [0, 1.57]}, …]'
)


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return PointPillars where inputs and outputs are its."""
    if foreign.size is not None:
        return []
    encoder = _encoder(foreign)
    if encoder is not None:
        foreign = _at_the_head(foreign, encoder)
    named = _outputs(foreign)
    layout = next((k for k, names in _OUTPUTS.items() if set(names[:2]) <= set(named)), None)
    inputs = inputs_of(foreign) if encoder is None else (foreign.inputs[0], "", CELLS)
    if layout is None:
        return []
    config = read_pillar_config(foreign.config) if foreign.config else None
    if config is not None and config.kind == "autoware":
        raise ModelError(
            f"{config.name}: expected a configuration of OpenPCDet or mmdetection3d, got Autoware's"
        )
    if config is not None and config.tasks:
        return []  # CenterPoint
    if len(foreign.shapes[named[_OUTPUTS[layout][0]]]) != 4:
        return []  # boxes of queries, as TransFusion has them
    if inputs is None:
        takes_map = [len(foreign.shapes[name]) for name in foreign.inputs] == [4]
        return [_half(foreign)] if takes_map and not foreign.parts else []
    return [_reading(foreign, layout, inputs, config, encoder)]


def _encoder(foreign: ForeignModel) -> Any:
    """Return the graph of the voxel encoder where the file and its part are two; None: it is one.

    Of the two, the head is the one that has several outputs.
    """
    models = [foreign.model, *(model for _, model in foreign.parts)]
    encoders = [model for model in models if is_voxel_encoder(model)]
    return encoders[0] if len(models) == 2 and len(encoders) == 1 else None


def _at_the_head(foreign: ForeignModel, encoder: Any) -> ForeignModel:
    """Return the two as a file that takes the encoder's voxels and gives the head's outputs."""
    models = [foreign.model, *(model for _, model in foreign.parts)]
    (head,) = (model for model in models if model is not encoder)
    (voxels,) = input_names(encoder)
    return replace(
        foreign,
        model=head,
        shapes={**tensor_shapes(head), voxels: tensor_shapes(encoder)[voxels]},
        inputs=(voxels,),
        outputs=tuple(value.name for value in head.graph.output),
    )


def _half(foreign: ForeignModel) -> Reading:
    return Reading(
        family="PointPillars",
        manifest=described(foreign, "pointpillars", "lidar"),
        undecided={"part": "--part FILE with the voxel encoder"},
    )


def _whole(foreign: ForeignModel, encoder: Any, values: Mapping[str, Any]) -> ForeignModel:
    """Return the two in one graph, the scatter between them put in."""
    grid = grid_of(foreign.path.name, values["range_m"], values["voxel_m"])
    width = len(values["point_features"]) + values["extra_features"]
    shape = (values["max_pillars"], values["max_points"], width)
    model = joined(encoder, foreign.model, grid=grid, shape=shape)
    names = tuple(input_names(model))
    return replace(foreign, model=model, shapes=tensor_shapes(model), inputs=names)


def _outputs(foreign: ForeignModel) -> dict[str, str]:
    """Return the outputs by the names that they have where there is one level."""
    named = {name: name for name in foreign.outputs}
    if "cls_score1" in named:
        raise ModelError(
            f"{foreign.path.name}: has heads on several levels ({', '.join(foreign.outputs[:8])}); "
            "expected PointPillars with one"
        )
    return named | {name.removesuffix("0"): name for name in named if name.endswith("0")}


def _reading(
    foreign: ForeignModel,
    layout: str,
    inputs: tuple[str, str, str],
    config: PillarConfig | None,
    encoder: Any,
) -> Reading:
    said = foreign.said
    values = values_of(foreign, inputs, config)
    whys, (score, why_score) = reasons_of(foreign, inputs, config, values), score_of(config)
    anchors = said.get("anchors", anchors_of(config.head) if config else None)
    undecided = undecided_of(values)
    if not anchors:
        undecided["anchors"] = f"{CONFIGS} or {_ANCHORS}"
    labels = list(said["labels"]) if "labels" in said else (config.labels if config else [])
    if not labels:
        undecided["labels"] = "--labels FILE, or --config FILE"
    manifest = described(foreign, "pointpillars", "lidar")
    head = config.head if config else {}
    named = _outputs(foreign)
    offset, limit = _directions(config, _OUTPUTS[layout][2] in named, _DIRECTIONS_RAD[layout])
    if not undecided:
        if encoder is not None:
            foreign = _whole(foreign, encoder, values)
            inputs = (foreign.inputs[0], "", CELLS)
        foreign = pinned(foreign, inputs, values)
        names = [named.get(n, "") for n in _OUTPUTS[layout]]
        bounds = values["range_m"]
        manifest |= {
            "inputs": declared_inputs(foreign, inputs),
            "preprocessing": preprocessing_of(inputs, values),
            "postprocessing": {
                **dict(zip(("classes", "boxes", "directions"), names, strict=True)),
                "layout": layout,
                "range_m": _first(head).get("range_m") or [*bounds[:2], *bounds[3:5]],
                "anchors": anchors,
                "aligned": bool(_first(head).get("align_center", False)),
                "direction_offset_rad": offset,
                "direction_limit": limit,
                "score_threshold": score,
                "circle_m": 0.5,
            },
            "runtime": {
                "opset": opset_of(foreign.model),
                "precision": precision_of(foreign.model),
            },
        }
    why = f"'{config.name}'" if config else "said"
    return Reading(
        family=f"PointPillars of {'OpenPCDet' if layout == 'hwc' else 'mmdetection3d'}"
        + (", its scatter in standard operators" if "scatter" in foreign.reasons else "")
        + (", in two graphs" if encoder is not None else ""),
        manifest={**manifest, "labels": labels},
        reasons={
            **whys,
            **dict.fromkeys(("anchors", "aligned"), why),
            "score_threshold": why_score,
            **(
                {"intensity_scale": "0 to 1, as KITTI's"}
                if config is None or (config.kind == "openpcdet" and not config.intensity_scale)
                else {}
            ),
            "origin_m": "said",
            "layout": "names of the outputs",
            "direction_offset_rad": why if config else "usual of the family",
            "labels": why,
        },
        undecided=undecided,
        classes=len(labels) or None,
        model=foreign.model,
    )


def _directions(config: PillarConfig | None, told: bool, usual_rad: float) -> tuple[float, float]:
    """Return where directions begin, and the limit of their periods, of a head that fits the graph.

    Args:
        config: of the model; None: there is none.
        told: whether the graph has an output of directions.
        usual_rad: where no file says it.

    Raises:
        ModelError: boxes would be made of the outputs in another way, or it is of another model.
    """
    if config is None:
        return usual_rad, 0.0
    head, name = config.head, config.name
    try:
        assigner = head.get("TARGET_ASSIGNER_CONFIG") or {}
        coder = assigner.get("BOX_CODER", _CODER)
        by_sine = (assigner.get("BOX_CODER_CONFIG") or {}).get("encode_angle_by_sincos", False)
        entries = head.get("ANCHOR_GENERATOR_CONFIG") or []
        aligned = {bool(entry.get("align_center", False)) for entry in entries}
        bins = int(head.get("NUM_DIR_BINS", _BINS))
        offset = float(head.get("DIR_OFFSET", usual_rad))
        limit = float(head.get("DIR_LIMIT_OFFSET", 0.0))
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{name}: DENSE_HEAD: not as OpenPCDet writes it: {error}") from error
    if coder != _CODER or by_sine:
        got = f"{coder}{' with encode_angle_by_sincos' if by_sine else ''}"
        raise ModelError(f"{name}: BOX_CODER: expected {_CODER}, got {got}")
    if len(aligned) > 1:
        raise ModelError(f"{name}: align_center: expected the same for all anchors, got both")
    if told and not head.get("USE_DIRECTION_CLASSIFIER", True):
        raise ModelError(
            f"{name}: USE_DIRECTION_CLASSIFIER is off, the graph gives directions: it is the "
            "configuration of another model"
        )
    if told and bins != _BINS:
        raise ModelError(f"{name}: NUM_DIR_BINS: expected {_BINS}, got {bins}")
    return offset, limit


def anchors_of(head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the anchors of OpenPCDet's DENSE_HEAD, class by class.

    Raises:
        ModelError: they are not as OpenPCDet writes them.
    """
    try:
        return [
            {
                "size_m": [float(v) for v in size],
                "bottom_m": float(bottom),
                "yaws_rad": [float(v) for v in entry["anchor_rotations"]],
            }
            for entry in head.get("ANCHOR_GENERATOR_CONFIG", [])
            for bottom in entry["anchor_bottom_heights"]
            for size in entry["anchor_sizes"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"ANCHOR_GENERATOR_CONFIG: not as OpenPCDet writes it: {error!r}"
        ) from error


def _first(head: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = head.get("ANCHOR_GENERATOR_CONFIG") or [{}]
    return dict(entries[0])
