"""Describes a YOLOX ONNX file as a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._box_evidence import are_offsets, are_scores
from edge_perception.models.adapters._coco import COCO_LABELS, ROAD_USERS
from edge_perception.models.adapters._gathered_maps import gathered_maps
from edge_perception.models.adapters._picture import (
    LABELS_OPTION,
    config_of,
    fitted,
    labels_of,
    published,
)
from edge_perception.models.adapters._yolox_maps_graph import recognise_yolox_maps
from edge_perception.models.foreign import ForeignModel, Reading, bundle_name, precision_of
from edge_perception.models.graph import (
    dominators,
    input_names,
    load_graph,
    opset_of,
    shapes_text,
    tensor_shapes,
)

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
FEATURE = "neck"


def describe(path: Path) -> dict[str, Any]:
    """Describe a YOLOX ONNX file as a manifest (without `files`).

    Preprocessing is that of YOLOX 0.1.1 and later: BGR 0 to 255 without normalisation, image at
    the top left, padding of 114. Models of 80 classes get the COCO labels. The feature is the
    coarsest output of the neck (PAFPN), the tensor that the head of the largest stride reads.

    Raises:
        ModelError: the graph is no YOLOX with an input of fixed size.
    """
    return describe_graph(path, load_graph(path))


def describe_graph(path: Path, model: Any) -> dict[str, Any]:
    """As `describe`, of a graph that was read."""
    shapes = tensor_shapes(model)
    inputs = input_names(model)
    outputs = [value.name for value in model.graph.output]
    if len(inputs) != 1 or len(shapes[inputs[0]]) != 4 or -1 in shapes[inputs[0]]:
        raise ModelError(
            f"{path.name}: expected one input (1, 3, H, W) of fixed size, "
            f"got {shapes_text(inputs, shapes)}"
        )
    _, _, height, width = shapes[inputs[0]]
    output, strides = _head(path, {name: shapes[name] for name in outputs}, (width, height))
    classes = shapes[output][2] - 5
    feature = neck_output(model, shapes, output, (width // strides[-1], height // strides[-1]))
    declared = [output] if feature in ("", output) else [output, feature]
    is_coco = classes == len(COCO_LABELS)
    return {
        "schema_version": 1,
        "name": path.stem,
        "role": "camera",
        "version": "1.0.0",
        "adapter": "yolox",
        "inputs": [_tensor(inputs[0], shapes)],
        "outputs": [_tensor(name, shapes) for name in declared],
        "preprocessing": {
            "image_input": inputs[0],
            "size": [width, height],
            "resize": "letterbox",
            "pad_value": 114.0,
            "pad": "bottom_right",
            "color": "bgr",
        },
        "postprocessing": {
            "output": output,
            "strides": list(strides),
            "decoded": any(node.op_type == "Exp" for node in model.graph.node),
            "classes": dict(ROAD_USERS) if is_coco else {},
        },
        "labels": list(COCO_LABELS) if is_coco else [],
        "features": {FEATURE: feature} if feature else {},
        "runtime": {"opset": opset_of(model)},
        "provenance": {
            "licence": "Apache-2.0",
            "source": "YOLOX, github.com/Megvii-BaseDetection/YOLOX",
            "data": "COCO 2017" if is_coco else "",
        },
    }


def _has_rows_beside(foreign: ForeignModel, output: str) -> bool:
    """Whether another output has numbers of the same cells: its own has all that YOLOX gives."""
    shapes = foreign.output_shapes()
    cells = shapes[output][1] if output in shapes else 0
    return any(
        len(shape) == len(shapes[output]) and shape[1] == cells
        for name, shape in shapes.items()
        if cells and name != output
    )


def _has_other_parts(foreign: ForeignModel) -> bool:
    """Whether rows are joined of other maps than box, objectness and classes."""
    maps = gathered_maps(foreign)
    parts = list(maps.levels[0].channels.values()) if maps is not None else []
    return len(parts) > 1 and parts[:2] != [4, 1]


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Recognise YOLOX by its head: a convolution of boxes beside sigmoids, level by level."""
    if foreign.size is None:
        return []
    maps = recognise_yolox_maps(foreign)
    if maps:
        return maps
    try:
        manifest = describe_graph(foreign.path, foreign.model)
    except ModelError:
        return []
    shapes = foreign.shapes
    output = manifest["postprocessing"]["output"]
    if _has_rows_beside(foreign, output) or _has_other_parts(foreign):
        return []
    strides = manifest["postprocessing"]["strides"]
    grid = (foreign.size[0] // strides[-1], foreign.size[1] // strides[-1])
    levels = [
        node
        for node in foreign.model.graph.node
        if node.op_type == "Concat"
        and _is_head_level(shapes.get(node.output[0]), shapes, output, grid)
    ]
    names, classes = len(foreign.names()), shapes[output][2] - 5
    decoded = manifest["postprocessing"]["decoded"]
    # Of operators of ONNX Runtime alone, as quantising leaves them, shapes inside are not known.
    raw = foreign.tried.get(output)
    rows = None if raw is None or decoded else raw[0][:, :4]
    offsets = (
        not levels
        and raw is not None
        and are_scores(raw[0][:, 4:])  # its export has their Sigmoid
        and are_offsets(foreign, rows, tuple(strides))
    )
    if not (levels or offsets) or names not in (0, classes):
        return []
    manifest["name"] = bundle_name(foreign.path)
    manifest["runtime"]["precision"] = precision_of(foreign.model)
    reasons = {
        "color": "YOLOX 0.1.1 and later",
        "scale": "YOLOX 0.1.1 and later: pixels as they are",
        "pad": "YOLOX places the image at the top left",
        "pad_value": "as YOLOX pads",
    }
    prepared, reasons = fitted(foreign, manifest["preprocessing"], reasons)
    labels, source = labels_of(foreign, classes, config_of(foreign))
    manifest |= {"preprocessing": prepared, "labels": labels}
    manifest["postprocessing"]["classes"] = published(labels)
    return [
        Reading(
            family="YOLOX",
            manifest=manifest,
            reasons={
                **reasons,
                "decoded": "on noise the middles of boxes are offsets in their cells"
                if offsets
                else "an Exp is in the graph"
                if decoded
                else "no Exp is in the graph",
                "strides": "the number of cells fits",
                "labels": source,
            },
            undecided={} if labels or "labels" in foreign.said else {"labels": LABELS_OPTION},
            classes=classes,
        )
    ]


def neck_output(model: Any, shapes: dict, output: str, grid: tuple[int, int]) -> str:
    """Return the tensor of size `grid` (width, height) that the head of that level reads.

    Of the tensors of that size everything the head makes comes through its stem, a convolution
    that leads to both branches; what the stem reads is the neck's. "" where there is no such
    tensor.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    parent = dominators(model)
    ends = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Concat"
        and _is_head_level(shapes.get(node.output[0]), shapes, output, grid)
    ]
    name = parent.get(ends[-1], "") if ends else ""
    while name and name in made_by:
        node = made_by[name]
        if node.op_type == "Conv":
            return str(node.input[0])
        name = parent[name]
    return ""


def _is_head_level(shape: Any, shapes: dict, output: str, grid: tuple[int, int]) -> bool:
    return shape == (1, shapes[output][2], grid[1], grid[0])


def _head(
    path: Path, outputs: dict[str, tuple[int, ...]], size: tuple[int, int]
) -> tuple[str, tuple[int, ...]]:
    for strides in _STRIDES:
        cells = sum((size[0] // stride) * (size[1] // stride) for stride in strides)
        for name, shape in outputs.items():
            if len(shape) == 3 and shape[:2] == (1, cells) and shape[2] > 5:
                return name, strides
    raise ModelError(
        f"{path.name}: expected an output (1, cells of strides 8, 16, 32, 5 + classes) for an "
        f"input of {size[0]} x {size[1]} px, got {shapes_text(outputs, outputs)}"
    )


def _tensor(name: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": list(shapes[name])}
