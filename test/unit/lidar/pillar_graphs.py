"""Graphs of pillars with the published signatures, whose weights give known boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_perception.core.types import PointCloud

onnx = pytest.importorskip("onnx", reason="the Python package onnx is not installed")


def save(path: Path, nodes: list, inputs: dict, outputs: dict, weights: dict, opset: int) -> Path:
    helper = onnx.helper
    infos = [
        [helper.make_tensor_value_info(name, 1, shape) for name, shape in of.items()]
        for of in (inputs, outputs)
    ]
    constants = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, path.stem, *infos, constants)
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def sweep() -> PointCloud:
    """A road, and two things on it: at (3.1, -2.2) and (-5.4, 1.3)."""
    rng = np.random.default_rng(3)
    road = np.c_[rng.uniform(-8, 8, (20, 1)), rng.uniform(-4, 4, (20, 1)), np.zeros(20)]
    things = [(3.1, -2.2, 1.4), (3.2, -2.1, 0.2), (-5.4, 1.3, 1.6), (30.0, 0.0, 2.0)]
    points = np.concatenate([road, things]).astype(np.float32)
    return PointCloud(stamp_ns=0, frame_id="lidar", xyz_m=points, intensity=None)


AUTOWARE = """
/**:
  ros__parameters:
    model_params:
      class_names: ["CAR", "PEDESTRIAN"]
      point_feature_size: 4
      max_voxel_size: 50
      point_cloud_range: [-8.0, -4.0, -3.0, 8.0, 4.0, 5.0]
      voxel_size: [0.5, 0.5, 8.0]
      downsample_factor: 1
      encoder_in_feature_size: 9
    score_threshold: 0.4
    circle_nms_dist_threshold: 0.5
    yaw_norm_thresholds: [0.3, 0.0]
"""
OPENPCDET = """
CLASS_NAMES: ['Car', 'Cyclist']
DATA_CONFIG:
    POINT_CLOUD_RANGE: [-8.0, -4.0, -3.0, 8.0, 4.0, 5.0]
    POINT_FEATURE_ENCODING: {used_feature_list: ['x', 'y', 'z', 'intensity']}
    DATA_PROCESSOR:
        - NAME: mask_points_and_boxes_outside_range
        - NAME: transform_points_to_voxels
          VOXEL_SIZE: [0.5, 0.5, 8]
          MAX_POINTS_PER_VOXEL: 5
          MAX_NUMBER_OF_VOXELS: {'train': 16000, 'test': 60}
MODEL:
    NAME: PointPillar
    DENSE_HEAD:
        NAME: AnchorHeadSingle
        DIR_OFFSET: 0.78539
        DIR_LIMIT_OFFSET: 0.0
        NUM_DIR_BINS: 2
        ANCHOR_GENERATOR_CONFIG:
            - {class_name: 'Car', anchor_sizes: [[3.9, 1.6, 1.56]], anchor_rotations: [0, 1.57],
               anchor_bottom_heights: [-1.78], align_center: False}
            - {class_name: 'Cyclist', anchor_sizes: [[1.76, 0.6, 1.73]],
               anchor_rotations: [0, 1.57], anchor_bottom_heights: [-0.6], align_center: False}
    POST_PROCESSING: {SCORE_THRESH: 0.1}
"""
# Row and column of a cell, anchor, label, box that is wanted: x, y, z, l, w, h, yaw.
WANTED = (
    (3, 20, 1, 0, (2.4, -2.6, -0.9, 4.2, 1.7, 1.5, 1.3)),
    (12, 5, 2, 1, (-5.2, 2.5, 0.2, 1.9, 0.7, 1.8, -2.9)),
)


def anchor(row: int, column: int, kind: int) -> np.ndarray:
    size = ((3.9, 1.6, 1.56), (1.76, 0.6, 1.73))[kind // 2]
    bottom = (-1.78, -0.6)[kind // 2]
    return np.array(
        [-8 + column * 16 / 31, -4 + row * 8 / 15, bottom + size[2] / 2, *size, (0, 1.57)[kind % 2]]
    )


def pointpillars(folder: Path, *, chw: bool = False) -> Path:
    """As OpenPCDet (or mmdeploy) exports it; the heads are weights plus 0 times the pillars."""
    heads = {"cls": np.full((16, 32, 4, 2), -9.0), "box": np.zeros((16, 32, 4, 7))}
    heads["dir"] = np.zeros((16, 32, 4, 2))
    for row, column, kind, label, box in WANTED:
        at, own = anchor(row, column, kind), np.array(box)
        heads["cls"][row, column, kind, label] = 2.0
        diagonal = np.hypot(at[3], at[4])
        offset = [*((own[:2] - at[:2]) / diagonal), (own[2] - at[2]) / at[5]]
        offset += [*np.log(own[3:6] / at[3:6]), own[6] - at[6] + np.pi]  # half a turn is lost
        heads["box"][row, column, kind] = offset
        # The half: floor of (yaw - offset) in [0, 2 pi) by half turns.
        half = int(((own[6] - 0.78539) % (2 * np.pi)) // np.pi)
        heads["dir"][row, column, kind, half] = 3.0
    names = ("cls_preds", "box_preds", "dir_cls_preds")
    if chw:
        names = ("cls_score", "bbox_pred", "dir_cls_pred")
    node, weights, outputs = onnx.helper.make_node, {}, {}
    nodes = [
        node("Cast", ["voxel_num_points"], ["counts"], to=1),
        node("Cast", ["voxel_coords"], ["places"], to=1),
        *(
            node("ReduceMax", [n], [f"{n}_most"], keepdims=0)
            for n in ("voxels", "counts", "places")
        ),
        node("Sum", ["voxels_most", "counts_most", "places_most"], ["all"]),
        node("Mul", ["all", "zero"], ["nothing"]),
    ]
    for name, head in zip(names, heads.values(), strict=True):
        value = head.reshape(1, 16, 32, -1).astype(np.float32)
        weights[f"{name}_w"] = value.transpose(0, 3, 1, 2) if chw else value
        outputs[name] = ["batch", *weights[f"{name}_w"].shape[1:]]
        nodes.append(node("Add", [f"{name}_w", "nothing"], [name]))
    weights["zero"] = np.array(0.0, np.float32)
    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info("voxels", 1, ["n", 5, 4]),
        helper.make_tensor_value_info("voxel_num_points", 6, ["n"]),
        helper.make_tensor_value_info("voxel_coords", 6, ["n", 4]),
    ]
    constants = [onnx.numpy_helper.from_array(v, n) for n, v in weights.items()]
    infos = [helper.make_tensor_value_info(n, 1, s) for n, s in outputs.items()]
    graph = helper.make_graph(nodes, "pp", inputs, infos, constants)
    path = folder / "pointpillar.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    (folder / "pointpillar.yaml").write_text(OPENPCDET)
    return path


def pointpillars_apart(folder: Path, *, chw: bool, extra: int = 5) -> tuple[Path, Path]:
    """PointPillars as two graphs: the voxel encoder, and what comes behind the scatter."""
    whole = onnx.load(str(pointpillars(folder, chw=chw)))
    node, width = onnx.helper.make_node, 4 + extra
    encoder = save(
        folder / "pfe.onnx",
        [node("ReduceMax", ["features"], ["pillars"], axes=[1], keepdims=0)],
        {"features": ["n", 5, width]}, {"pillars": ["n", width]}, {}, 13,
    )  # fmt: skip
    outputs = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in whole.graph.output
    }
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in whole.graph.initializer}
    nodes = [
        node("ReduceMax", ["spatial_features"], ["most"], keepdims=0),
        node("Mul", ["most", "zero"], ["nothing"]),
        *(node("Add", [f"{name}_w", "nothing"], [name]) for name in outputs),
    ]
    head = save(
        folder / "backbone.onnx", nodes, {"spatial_features": [1, width, 16, 32]}, outputs,
        weights, 14,
    )  # fmt: skip
    return encoder, head


def centerpoint(
    folder: Path,
    *,
    channels: int = 4,
    points: int | str = 5,
    tasks: tuple[int, ...] = (),
    naming: str = "{part}_{task}",
    spread: bool = False,
) -> tuple[Path, Path, Path]:
    """As Autoware exports it: a car is where something stands higher than 1 m.

    With `tasks` each of them has heads of its own for so many labels; the car is of the last one.
    With `spread` heads of boxes give as many variances behind their values (`has_variance`).
    """
    node = onnx.helper.make_node
    encoder = save(
        folder / "pts_voxel_encoder_centerpoint.onnx",
        [
            node("ReduceMax", ["input_features"], ["most"], axes=[1], keepdims=1),
            node("Slice", ["most", "from", "to", "axis"], ["pillar_features"]),
        ],
        {"input_features": ["num_voxels", points, 9]},
        {"pillar_features": ["num_voxels", 1, channels]},
        {"from": np.array([0]), "to": np.array([channels]), "axis": np.array([2])},
        13,
    )
    weights: dict[str, np.ndarray] = {}
    sizes = {"heatmap": 2, "reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    bias = {
        "reg": [0.5, 0.5], "height": [0.8],
        "dim": np.log([2.0, 4.0, 1.5]), "rot": [np.sin(-2.0), np.cos(-2.0)], "vel": [3.0, -1.0],
    }  # fmt: skip
    nodes, outputs = [], {}
    for task, labels in enumerate(tasks or (2,)):
        for part, count in sizes.items():
            name = naming.format(part=part, task=task) if tasks else part
            width = labels if part == "heatmap" else count
            own = np.asarray(bias.get(part, [-10.0, *[-30.0] * (labels - 1)]), np.float32)
            kernel = np.zeros((width, 4, 1, 1), np.float32)
            if part == "heatmap" and task == max(len(tasks) - 1, 0):
                kernel[0, 2] = 10.0
            elif part != "heatmap" and task < len(tasks) - 1:
                own = own + 7  # boxes of another task than the car's
            if spread and part != "heatmap":
                width, kernel = 2 * width, np.concatenate([kernel, kernel])
                own = np.concatenate([own, np.full(count, -2.0, np.float32)])
            weights |= {f"{name}_w": kernel, f"{name}_b": own}
            nodes.append(node("Conv", ["spatial_features", f"{name}_w", f"{name}_b"], [name]))
            outputs[name] = ["batch_size", width, "H", "W"]
    head = save(
        folder / "pts_backbone_neck_head_centerpoint.onnx",
        nodes,
        {"spatial_features": ["batch_size", 4, "H", "W"]},
        outputs,
        weights,
        14,
    )
    parameters = folder / "centerpoint_ml_package.param.yaml"
    parameters.write_text(AUTOWARE)
    return encoder, head, parameters
