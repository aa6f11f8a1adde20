"""Recognises PointPillars with anchors: voxels and their places in; classes and boxes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._pillar_config import PillarConfig, read_pillar_config
from edge_perception.models.foreign import ForeignModel, Reading, described, pin_inputs
from edge_perception.models.graph import opset_of

_OUTPUTS = {  # of OpenPCDet (hwc) and of mmdeploy (chw)
    "hwc": ("cls_preds", "box_preds", "dir_cls_preds"),
    "chw": ("cls_score", "bbox_pred", "dir_cls_pred"),
}
_DTYPES = {1: "float32", 6: "int32", 7: "int64"}
_ANCHORS = (
    '--assume anchors=[{"size_m": [3.9, 1.6, 1.56], "bottom_m": -1.78, "yaws_rad": [0, 1.57]}, …]'
)


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return PointPillars where inputs and outputs are its."""
    layout = next(
        (k for k, names in _OUTPUTS.items() if set(names[:2]) <= set(foreign.outputs)), None
    )
    inputs = _inputs(foreign)
    if foreign.size is not None or layout is None or inputs is None:
        return []
    config = read_pillar_config(foreign.config) if foreign.config else None
    if config is not None and config.kind != "openpcdet":
        raise ModelError(f"{config.name}: expected a configuration of OpenPCDet, got Autoware's")
    return [_reading(foreign, layout, inputs, config)]


def _inputs(foreign: ForeignModel) -> tuple[str, str, str] | None:
    """Return the inputs of features, of numbers of points and of places."""
    by_rank = {len(foreign.shapes[name]): name for name in foreign.inputs}
    if len(foreign.inputs) != 3 or set(by_rank) != {1, 2, 3}:
        return None
    return by_rank[3], by_rank[1], by_rank[2]


def _reading(
    foreign: ForeignModel, layout: str, inputs: tuple[str, str, str], config: PillarConfig | None
) -> Reading:
    said = foreign.said
    values = _values(foreign, inputs, config)
    anchors = said.get("anchors", anchors_of(config.head) if config else None)
    undecided = {
        name: f"--config FILE (OpenPCDet's YAML) or --assume {name}=[…]"
        for name in ("range_m", "voxel_m", "point_features", "max_points", "origin_m")
        if values[name] is None
    }
    if "origin_m" in undecided:
        undecided["origin_m"] = (
            "--assume origin_m=[x,y,z]: where in the base frame the model's lies"
        )
    if not anchors:
        undecided["anchors"] = f"--config FILE (OpenPCDet's YAML) or {_ANCHORS}"
    labels = list(said["labels"]) if "labels" in said else (config.labels if config else [])
    if not labels:
        undecided["labels"] = "--labels FILE, or --config FILE"
    manifest = described(foreign, "pointpillars", "lidar")
    if not undecided:
        foreign = _pinned(foreign, inputs, values)
        head = config.head if config else {}
        names = [n if n in foreign.outputs else "" for n in _OUTPUTS[layout]]
        bounds = values["range_m"]
        manifest |= {
            "inputs": _declared(foreign, inputs),
            "preprocessing": {
                "voxels": inputs[0],
                "num_points": inputs[1],
                "cells": inputs[2],
                "cells_as": "batch_z_y_x",
                "extra_features": 0,
                **values,
            },
            "postprocessing": {
                **dict(zip(("classes", "boxes", "directions"), names, strict=True)),
                "layout": layout,
                "range_m": [*bounds[:2], *bounds[3:5]],
                "anchors": anchors,
                "aligned": bool(_first(head).get("align_center", False)),
                "direction_offset_rad": float(head.get("DIR_OFFSET", 0.78539)),
                "direction_limit": float(head.get("DIR_LIMIT_OFFSET", 0.0)),
                "score_threshold": (config and config.score_threshold) or 0.35,
                "circle_m": 0.5,
            },
            "runtime": {"opset": opset_of(foreign.model), "precision": "fp32"},
        }
    why = f"'{config.name}'" if config else "said"
    return Reading(
        family=f"PointPillars of {'OpenPCDet' if layout == 'hwc' else 'mmdetection3d'}",
        manifest={**manifest, "labels": labels},
        reasons={
            **dict.fromkeys((*values, "anchors", "score_threshold", "aligned"), why),
            "intensity_scale": "0 to 1, as KITTI's",
            "origin_m": "said",
            "layout": "names of the outputs",
            "direction_offset_rad": why,
            "labels": why,
        },
        undecided=undecided,
        classes=len(labels) or None,
        model=foreign.model,
    )


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


def _values(
    foreign: ForeignModel, inputs: tuple[str, str, str], config: PillarConfig | None
) -> dict[str, Any]:
    pillars, points, width = foreign.shapes[inputs[0]]
    features = (config.point_features if config else None) or (
        ["x", "y", "z", "intensity"] if width == 4 else None
    )
    values: dict[str, Any] = {
        "range_m": config.range_m if config else None,
        "voxel_m": config.voxel_m if config else None,
        "point_features": features,
        "max_points": points if points > 0 else (config.max_points if config else None),
        "max_pillars": pillars
        if pillars > 0
        else min((config and config.max_pillars) or 12_000, 12_000),
        "intensity_scale": 1.0,
        "origin_m": None,
    }
    return values | {name: foreign.said[name] for name in values if name in foreign.said}


def _pinned(
    foreign: ForeignModel, inputs: tuple[str, str, str], values: Mapping[str, Any]
) -> ForeignModel:
    pillars = values["max_pillars"]
    shape = (pillars, values["max_points"], len(values["point_features"]))
    has = foreign.shapes[inputs[0]]
    if any(h not in (-1, w) for h, w in zip(has, shape, strict=True)):
        raise ModelError(
            f"{foreign.path.name}: takes voxels {has}, its configuration makes {shape}"
        )
    return pin_inputs(foreign, {inputs[0]: shape, inputs[1]: (pillars,), inputs[2]: (pillars, 4)})


def _declared(foreign: ForeignModel, inputs: tuple[str, str, str]) -> list[dict[str, Any]]:
    kinds = {v.name: v.type.tensor_type.elem_type for v in foreign.model.graph.input}
    return [
        {"name": n, "dtype": _DTYPES.get(kinds[n], "unknown"), "shape": list(foreign.shapes[n])}
        for n in foreign.inputs
        if n in inputs
    ]
