"""Recognises CenterPoint on pillars in one graph, as mmdeploy exports it, its heads joined.

The outputs have the names of PointPillars with anchors: only the configuration tells them apart.
`cls_score` holds the heatmaps of all tasks, `dir_cls_pred` their sines and cosines, `bbox_pred`
task by task offset, height, sizes and velocity.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._pillar_config import (
    PillarConfig,
    read_pillar_config,
    score_of,
)
from edge_perception.models.adapters._pillar_inputs import (
    declared_inputs,
    inputs_of,
    pinned,
    preprocessing_of,
    reasons_of,
    undecided_of,
    values_of,
)
from edge_perception.models.foreign import ForeignModel, Reading, described, precision_of
from edge_perception.models.graph import opset_of, tensor_shapes

_HEATMAP, _BOXES, _TURNS = "cls_score", "bbox_pred", "dir_cls_pred"
_LEAST_SCORE = 0.1  # mmdetection3d's own is for curves of precision over recall
_PARTS = {"reg": 2, "height": 1, "dim": 3, "vel": 2}  # of a task in `bbox_pred`


def recognise_whole(foreign: ForeignModel) -> list[Reading]:
    """Return CenterPoint where the configuration has a CenterHead and the graph its outputs."""
    if foreign.size is not None or set(foreign.outputs) != {_HEATMAP, _BOXES, _TURNS}:
        return []
    inputs = inputs_of(foreign)
    if inputs is None or foreign.config is None:
        return []
    config = read_pillar_config(foreign.config)
    if not config.tasks:
        return []
    values = values_of(foreign, inputs, config)
    values["intensity_scale"] = values["intensity_scale"] or 255.0
    whys = reasons_of(foreign, inputs, config, values)
    undecided = undecided_of(values)
    manifest = described(foreign, "centerpoint", "lidar")
    why = f"'{config.name}'"
    if not undecided:
        foreign = pinned(foreign, inputs, values)
        model = _split(foreign, config)
        manifest |= {
            "inputs": declared_inputs(foreign, inputs),
            "preprocessing": preprocessing_of(inputs, values),
            "postprocessing": _post(model, config, values),
            "runtime": {"opset": opset_of(model), "precision": precision_of(model)},
        }
        foreign = replace(foreign, model=model)
    return [
        Reading(
            family="CenterPoint on pillars of mmdetection3d, in one graph",
            manifest={**manifest, "labels": config.labels},
            reasons={
                **whys,
                **dict.fromkeys(("tasks", "corner_m"), why),
                "score_threshold": score_of(config, _LEAST_SCORE)[1],
                "cell_m": f"{why} and the shape of the heads",
                "convention": f"{why} is mmdetection3d's, 1.0 or later",
                "origin_m": "said",
                "labels": f"tasks of {why}",
            },
            undecided=undecided,
            classes=len(config.labels),
            model=foreign.model,
        )
    ]


def _post(model: Any, config: PillarConfig, values: dict[str, Any]) -> dict[str, Any]:
    shapes = tensor_shapes(model)
    rows, columns = shapes[_HEATMAP][-2:]
    bounds = values["range_m"]
    outputs = {value.name for value in model.graph.output}
    return {
        "heatmap": _HEATMAP,
        "rot": _TURNS,
        **{name: name if name in outputs else "" for name in _PARTS},
        "tasks": config.tasks,
        "corner_m": bounds[:2],
        "cell_m": [(bounds[3] - bounds[0]) / columns, (bounds[4] - bounds[1]) / rows],
        "convention": "mmdet3d",
        "score_threshold": score_of(config, _LEAST_SCORE)[0],
        "circle_m": 0.5,
        "yaw_norms": [],
    }


def _split(foreign: ForeignModel, config: PillarConfig) -> Any:
    """Return the graph with offsets, heights, sizes and velocities of all tasks as outputs."""
    import onnx

    shapes = foreign.output_shapes()
    tasks, width = len(config.tasks), shapes[_BOXES][1]
    parts = dict(_PARTS)
    if width == tasks * (sum(parts.values()) - parts["vel"]):
        del parts["vel"]
    if width != tasks * sum(parts.values()) or shapes[_HEATMAP][1] != sum(config.tasks):
        raise ModelError(
            f"{foreign.path.name}: '{config.name}' has {tasks} tasks with {sum(config.tasks)} "
            f"labels, which makes other outputs than {shapes}"
        )
    model = onnx.ModelProto()
    model.CopyFrom(foreign.model)
    graph, begin, step = model.graph, 0, sum(parts.values())
    graph.output.remove(next(v for v in graph.output if v.name == _BOXES))
    for name, count in parts.items():
        channels = [task * step + begin + k for task in range(tasks) for k in range(count)]
        index = onnx.numpy_helper.from_array(np.array(channels, np.int64), f"{name}__channels")
        graph.initializer.append(index)
        graph.node.append(onnx.helper.make_node("Gather", [_BOXES, index.name], [name], axis=1))
        shape = [1, len(channels), *shapes[_BOXES][2:]]
        graph.output.append(onnx.helper.make_tensor_value_info(name, 1, shape))
        begin += count
    return onnx.shape_inference.infer_shapes(model)
