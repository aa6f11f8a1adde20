"""Recognises CenterPoint on pillars: a voxel encoder and a head, in two files."""

from __future__ import annotations

from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._centerpoint_tasks import head_of, with_joined_tasks
from edge_perception.models.adapters._centerpoint_whole import recognise_whole
from edge_perception.models.adapters._pillar_config import (
    PillarConfig,
    read_pillar_config,
    score_of,
)
from edge_perception.models.foreign import ForeignModel, Reading, described, precision_of
from edge_perception.models.graph import input_names, opset_of, tensor_shapes
from edge_perception.models.pillar_graph import CELLS, grid_of, is_voxel_encoder, joined

CONVENTIONS = ("autoware", "mmdet3d", "openpcdet")
_HEADS = ("heatmap", "reg", "height", "dim", "rot")
_GRID = ("range_m", "voxel_m")
_USUAL_CIRCLE_M = 0.5
AUTOWARE_POINTS = 32  # of a pillar, in the code of its node; its exporter leaves the axis free


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return CenterPoint where one of the files has its heads, or the file has all of it."""
    whole = recognise_whole(foreign)
    if whole:
        return whole
    files = {foreign.path.name: foreign.model, **{p.name: m for p, m in foreign.parts}}
    joined_tasks = {name: with_joined_tasks(model, name) for name, model in files.items()}
    models = {name: model for name, (model, _) in joined_tasks.items()}
    heads = {n: found for n, m in models.items() if (found := _heads(m))}
    encoders = [n for n, m in models.items() if n not in heads and is_voxel_encoder(m)]
    if len(heads) != 1 or len(models) > 2:
        alone = foreign.size is None and is_voxel_encoder(foreign.model)
        if not alone or not foreign.path.name.startswith("pts_voxel_encoder"):
            return []
        return [_half("the head (pts_backbone_neck_head_….onnx)", foreign)]
    if not encoders:
        return [_half("the voxel encoder (pts_voxel_encoder_….onnx)", foreign)]
    ((name, found),) = heads.items()
    config = read_pillar_config(foreign.config) if foreign.config else None
    head, tasks = joined_tasks[name]
    if config and config.tasks and len(config.tasks) > 1 and tasks != config.tasks:
        raise ModelError(
            f"{name}: '{config.name}' has tasks of {config.tasks} labels, the outputs of "
            f"{tasks or 'one task'}"
        )
    return [_reading(foreign, models[encoders[0]], head, found, config, tasks)]


def _half(what: str, foreign: ForeignModel) -> Reading:
    return Reading(
        family="CenterPoint",
        manifest=described(foreign, "centerpoint", "lidar"),
        undecided={"part": f"--part FILE with {what}"},
    )


def _heads(model: Any) -> dict[str, str]:
    """Return the outputs of the heads by the names that Autoware gives them."""
    outputs = [value.name for value in model.graph.output]
    named = {head_of(name): name for name in outputs}
    return named if set(_HEADS) <= set(named) else {}


def _reading(
    foreign: ForeignModel,
    encoder: Any,
    head: Any,
    heads: dict[str, str],
    config: PillarConfig | None,
    tasks: list[int],
) -> Reading:
    said = foreign.said
    encoder_shape = tensor_shapes(encoder)[input_names(encoder)[0]]
    values = _values(said, config, encoder_shape)
    undecided = {
        name: f"--config FILE (Autoware's …_ml_package.param.yaml) or --assume {name}=[…]"
        for name in (*_GRID, "point_features", "extra_features", "max_points")
        if values.get(name) is None
    }
    kind = config.kind if config else None
    convention = said.get("convention", kind)
    if convention is None:
        undecided["convention"] = f"--assume convention={'|'.join(CONVENTIONS)}"
    labels = list(said["labels"]) if "labels" in said else (config.labels if config else [])
    if not labels:
        undecided["labels"] = "--labels FILE, or --config FILE"
    manifest = described(foreign, "centerpoint", "lidar")
    model = head
    if not undecided:
        grid = grid_of(foreign.path.name, values["range_m"], values["voxel_m"])
        width = len(values["point_features"]) + values["extra_features"]
        shape = (values["max_pillars"], values["max_points"], width)
        model = joined(encoder, head, grid=grid, shape=shape)
        model, heads = _fixed(foreign, model, heads, shape)
        manifest |= _manifest(model, values, heads, config, str(convention), labels, grid)
        manifest["postprocessing"]["tasks"] = tasks
    why = f"'{config.name}'" if config else "said"
    reasons = dict.fromkeys((*values, "corner_m"), why)
    usual = "usual; no file says it"
    reasons |= {
        "score_threshold": score_of(config)[1],
        "circle_m": why if config and config.circle_m is not None else usual,
        "yaw_norms": why if config and len(config.yaw_norms) == len(labels) else "no file says it",
        "max_pillars": _why_pillars(encoder_shape, config, why),
    }
    return Reading(
        family="CenterPoint on pillars",
        manifest={**manifest, "labels": labels},
        reasons={
            **reasons,
            "max_points": _why_points(encoder_shape, config, why),
            **dict.fromkeys((*_HEADS, "vel", "voxels", "cells", "tasks"), "names in the files"),
            "intensity_scale": "0 to 255, as nuScenes'",
            "cell_m": f"{why} and the shape of the heads",
            "convention": "said" if "convention" in said else f"{why} is {kind}'s",
            "origin_m": "the model's frame is taken for the base frame",
            "labels": why,
        },
        undecided=undecided,
        classes=sum(tasks) or len(labels) or None,
        model=model,
    )


def _values(
    said: Any, config: PillarConfig | None, encoder_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the numbers of the pillars: what is said, of the file, of the encoder's shape."""
    points = encoder_shape[1] if encoder_shape[1] > 0 else None
    values: dict[str, Any] = {
        "range_m": config.range_m if config else None,
        "voxel_m": config.voxel_m if config else None,
        "point_features": config.point_features if config else None,
        "extra_features": config.extra_features if config else None,
        "max_points": (config.max_points if config else None) or points or _usual_points(config),
        "max_pillars": (config.max_pillars if config else None) or 12_000,
        "intensity_scale": (config and config.intensity_scale) or 255.0,
        "origin_m": [0.0, 0.0, 0.0],
    }
    features = said.get("point_features", values["point_features"])
    if values["extra_features"] is None and features and encoder_shape[2] > 0:
        values["extra_features"] = encoder_shape[2] - len(features)
    if encoder_shape[0] > 0:
        values["max_pillars"] = encoder_shape[0]
    return values | {name: said[name] for name in values if name in said}


def _why_points(encoder_shape: tuple[int, ...], config: PillarConfig | None, otherwise: str) -> str:
    if config is not None and config.max_points:
        return otherwise
    return "shape of the input" if encoder_shape[1] > 0 else "as Autoware's node has it"


def _why_pillars(
    encoder_shape: tuple[int, ...], config: PillarConfig | None, otherwise: str
) -> str:
    if encoder_shape[0] > 0:
        return "shape of the input"
    return otherwise if config and config.max_pillars else "usual; no file says it"


def _usual_points(config: PillarConfig | None) -> int | None:
    """Return the returns a pillar has where neither the graph nor its configuration says it."""
    return AUTOWARE_POINTS if config is not None and config.kind == "autoware" else None


def _fixed(
    foreign: ForeignModel, model: Any, heads: dict[str, str], shape: tuple[int, int, int]
) -> tuple[Any, dict[str, str]]:
    """Infer the shapes of the heads; free batches become 1."""
    import onnx

    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value <= 0:
                dim.Clear()
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = tensor_shapes(model)
    free = [name for name in heads.values() if -1 in shapes[name]]
    if free:
        raise ModelError(f"{foreign.path.name}: the shapes of heads {free} are not known: {shape}")
    return model, heads


def _manifest(
    model: Any,
    values: dict[str, Any],
    heads: dict[str, str],
    config: PillarConfig | None,
    convention: str,
    labels: list[str],
    grid: tuple[int, ...],
) -> dict[str, Any]:
    shapes = tensor_shapes(model)
    voxels = next(name for name in input_names(model) if name != CELLS)
    rows, columns = shapes[heads["heatmap"]][-2:]
    span = [values["voxel_m"][k] * grid[1 - k] for k in (0, 1)]
    circle = config.circle_m if config else None
    post: dict[str, Any] = {name: heads[name] for name in _HEADS}
    post |= {
        "vel": heads.get("vel", ""),
        "corner_m": values["range_m"][:2],
        "cell_m": [span[0] / columns, span[1] / rows],
        "convention": convention,
        "score_threshold": score_of(config)[0],
        "circle_m": circle if circle is not None else _USUAL_CIRCLE_M,
        "yaw_norms": config.yaw_norms if config and len(config.yaw_norms) == len(labels) else [],
    }
    return {
        "inputs": [
            {"name": voxels, "dtype": "float32", "shape": list(shapes[voxels])},
            {"name": CELLS, "dtype": "int32", "shape": list(shapes[CELLS])},
        ],
        "preprocessing": {"voxels": voxels, "cells": CELLS, "cells_as": "flat", **values},
        "postprocessing": post,
        "runtime": {"opset": opset_of(model), "precision": precision_of(model)},
    }
