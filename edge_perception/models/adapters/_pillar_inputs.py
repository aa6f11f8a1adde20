"""What graphs of pillars take in one piece: voxels, their numbers of points, their places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._pillar_config import PillarConfig
from edge_perception.models.foreign import ForeignModel, pin_inputs
from edge_perception.models.pillar_graph import CELLS, grid_of

_DTYPES = {1: "float32", 6: "int32", 7: "int64"}
_EXTRA = (0, 5, 6)  # numbers that some exporters leave to who makes the voxels
_PLAIN = ["x", "y", "z", "intensity"]
ASKED = ("range_m", "voxel_m", "point_features", "max_points", "intensity_scale", "origin_m")
CONFIGS = "--config FILE (OpenPCDet's YAML, mmdetection3d's Python)"
_MOST_PILLARS = 12_000  # where the graph leaves it free
_SHAPE = "shape of the input"


def inputs_of(foreign: ForeignModel) -> tuple[str, str, str] | None:
    """Return the inputs of features, of numbers of points ("": there is none) and of places."""
    by_rank = {len(foreign.shapes[name]): name for name in foreign.inputs}
    if len(by_rank) != len(foreign.inputs) or set(by_rank) not in ({1, 2, 3}, {2, 3}):
        return None
    return by_rank[3], by_rank.get(1, ""), by_rank[2]


def values_of(
    foreign: ForeignModel, inputs: tuple[str, str, str], config: PillarConfig | None
) -> dict[str, Any]:
    """Return the preprocessing: what is said, of the configuration, of the shapes; None: asked."""
    pillars, points, width = foreign.shapes[inputs[0]]
    extra, told = 0, config.point_features if config else None
    features = told or (_PLAIN if width - len(_PLAIN) in _EXTRA else None)
    if features is not None and width - len(features) in _EXTRA:
        extra = width - len(features)
    scale = config.intensity_scale if config else None
    values: dict[str, Any] = {
        "range_m": config.range_m if config else None,
        "voxel_m": config.voxel_m if config else None,
        "point_features": features,
        "extra_features": extra,
        "max_points": points if points > 0 else (config.max_points if config else None),
        "max_pillars": pillars
        if pillars > 0
        else min((config and config.max_pillars) or _MOST_PILLARS, _MOST_PILLARS),
        "intensity_scale": scale or (1.0 if config is None or config.kind == "openpcdet" else None),
        "origin_m": None,
    }
    return values | {name: foreign.said[name] for name in values if name in foreign.said}


def reasons_of(
    foreign: ForeignModel,
    inputs: tuple[str, str, str],
    config: PillarConfig | None,
    values: Mapping[str, Any],
) -> dict[str, str]:
    """Return why the values of `values_of` are what they are."""
    pillars, points, _ = foreign.shapes[inputs[0]]
    why = f"'{config.name}'" if config else "said"
    told = config.max_pillars if config else None
    reasons = dict.fromkeys(values, why) | {"extra_features": _SHAPE}
    if points > 0:
        reasons["max_points"] = _SHAPE
    if pillars > 0:
        reasons["max_pillars"] = _SHAPE
    elif not told:
        reasons["max_pillars"] = "usual; no file says it"
    elif told > _MOST_PILLARS:
        reasons["max_pillars"] = f"{why} has {told}; pillars of zeros cost time in each frame"
    return reasons


def undecided_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be said, with the way to say it."""
    asked = {name: f"{CONFIGS} or --assume {name}=[…]" for name in ASKED if values[name] is None}
    if "intensity_scale" in asked:
        asked["intensity_scale"] = (
            "--assume intensity_scale=1 (KITTI) or 255 (nuScenes): of the brightest return"
        )
    if "origin_m" in asked:
        asked["origin_m"] = "--assume origin_m=[x,y,z]: where in the base frame the model's lies"
    return asked


def pinned(
    foreign: ForeignModel, inputs: tuple[str, str, str], values: Mapping[str, Any]
) -> ForeignModel:
    """Return the graph with pillars of a fixed number.

    Raises:
        ModelError: it takes others than its configuration makes.
    """
    grid_of(foreign.path.name, values["range_m"], values["voxel_m"])
    low, high = values["range_m"][2], values["range_m"][5]
    layers = (high - low) / values["voxel_m"][2]
    if not 0.5 < layers < 1.5:
        raise ModelError(
            f"{foreign.path.name}: expected pillars from {low:g} to {high:g} m, got voxels "
            f"{values['voxel_m'][2]:g} m high, {layers:.0f} layers"
        )
    pillars = values["max_pillars"]
    width = len(values["point_features"]) + values["extra_features"]
    shape = (pillars, values["max_points"], width)
    has = foreign.shapes[inputs[0]]
    if any(h not in (-1, w) for h, w in zip(has, shape, strict=True)):
        raise ModelError(
            f"{foreign.path.name}: takes voxels {has}, its configuration makes {shape}"
        )
    places = (pillars, 1 if inputs[2] == CELLS else 4)
    wanted = {inputs[0]: shape, inputs[1]: (pillars,), inputs[2]: places}
    return pin_inputs(foreign, {name: w for name, w in wanted.items() if name})


def declared_inputs(foreign: ForeignModel, inputs: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Return the inputs as in a manifest."""
    kinds = {v.name: v.type.tensor_type.elem_type for v in foreign.model.graph.input}
    return [
        {"name": n, "dtype": _DTYPES.get(kinds[n], "unknown"), "shape": list(foreign.shapes[n])}
        for n in foreign.inputs
        if n in inputs
    ]


def preprocessing_of(inputs: tuple[str, str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preprocessing as in a manifest."""
    return {
        "voxels": inputs[0],
        "num_points": inputs[1],
        "cells": inputs[2],
        "cells_as": "flat" if inputs[2] == CELLS else "batch_z_y_x",
        **values,
    }
