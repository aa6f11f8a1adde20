"""Joins the heads that CenterPoint has for each of its tasks: one output for all of them.

Exporters of networks with several tasks number their outputs (`hm_0`, `reg_0`, …, `vel_5`, or
`task0_heatmap`). The decoder reads the channels of all tasks one after the other.
"""

from __future__ import annotations

import re
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.graph import tensor_shapes

HEAD_NAMES = {"hm": "heatmap", "center": "reg", "center_z": "height"}  # of OpenPCDet, det3d
_PARTS = "heatmap|hm|reg|center_z|center|height|dim|rot|vel"
_NUMBERED = re.compile(rf"(?:({_PARTS})[_./]?(\d+)|(?:task|head)[_.]?(\d+)[_./]({_PARTS}))")


def with_joined_tasks(model: Any, where: str) -> tuple[Any, list[int]]:
    """Return a graph with one output for all tasks, and how many labels each task has.

    A graph whose outputs are not numbered is returned as it is, with no tasks.

    Args:
        model: onnx.ModelProto; is not changed.
        where: the file, for errors.

    Raises:
        ModelError: a task lacks a head that others have, or does not tell how many labels it has.
    """
    import onnx

    parts = _parts_of(model)
    if len(parts.get("heatmap", {})) < 2:
        return model, []
    tasks = sorted(parts["heatmap"])
    for part, outputs in parts.items():
        if sorted(outputs) != tasks:
            raise ModelError(
                f"{where}: output '{part}' is there for tasks {sorted(outputs)}, 'heatmap' for "
                f"{tasks}: expected the same"
            )
    joined = onnx.ModelProto()
    joined.CopyFrom(model)
    shapes = tensor_shapes(joined)
    labels = [shapes[parts["heatmap"][task]][1] for task in tasks]
    if min(labels) < 1:
        raise ModelError(f"{where}: the heatmaps of tasks do not tell their labels: {labels}")
    given = {value.name: value for value in joined.graph.output}
    for part, outputs in parts.items():
        names = [outputs[task] for task in tasks]
        channels = [shapes[name][1] for name in names]
        value = onnx.ValueInfoProto()
        value.CopyFrom(given[names[0]])
        value.name = f"{part}__tasks"
        value.type.tensor_type.shape.dim[1].dim_value = sum(channels)
        for name in names:
            joined.graph.output.remove(given[name])
        joined.graph.node.append(onnx.helper.make_node("Concat", names, [value.name], axis=1))
        joined.graph.output.append(value)
    return joined, labels


def head_of(output: str) -> str:
    """Return what Autoware calls an output."""
    part = output.removesuffix("__tasks")
    return HEAD_NAMES.get(part, part)


def _parts_of(model: Any) -> dict[str, dict[int, str]]:
    """Return, by part and number of the task, the numbered outputs."""
    found: dict[str, dict[int, str]] = {}
    for value in model.graph.output:
        match = _NUMBERED.fullmatch(value.name)
        if match is not None:
            part, number = match[1] or match[4], int(match[2] or match[3])
            found.setdefault(HEAD_NAMES.get(part, part), {})[number] = value.name
    return found
