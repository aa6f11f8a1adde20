"""Pillar networks of others in one graph: mmdetection3d's Python, a plug-in of TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillar_graphs import (
    OPENPCDET,
    WANTED,
    onnx,
    pointpillars,
    pointpillars_apart,
    save,
    sweep,
)

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import ModelError
from edge_perception.core.types import DetectedObject, Geometry
from edge_perception.encoders import encoders
from edge_perception.models.python_config import UNREAD, read_python_config
from edge_perception.releases.importing import import_model
from edge_perception.releases.recognising import Recognised, recognise

BASE = """
voxel_size = [0.5, 0.5, 8]
model = dict(
    type='VoxelNet',
    data_preprocessor=dict(voxel_layer=dict(
        max_num_points=5, point_cloud_range=[0, 0, 0, 1, 1, 1], voxel_size=voxel_size,
        max_voxels=(16000, 60))),
    voxel_encoder=dict(type='PillarFeatureNet', in_channels=4),
    bbox_head=dict(
        type='Anchor3DHead',
        anchor_generator=dict(
            type='AlignedAnchor3DRangeGenerator', rotations=[0, 1.57],
            ranges=[[0, 0, 0, 1, 1, 0]], sizes=[[1.0, 0.5, 1.0]])),
    test_cfg=dict(score_thr=0.1))
"""
KITTI = """
import os
_base_ = ['./base.py']
dataset_type = 'KittiDataset'
class_names = ['Car', 'Cyclist']
point_cloud_range = [-8.0, -4.0, -3.0] + [8.0, 4.0, 5.0]
secret = os.system('false')
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=point_cloud_range)),
    bbox_head=dict(
        dir_offset=0.78539,
        anchor_generator=dict(
            _delete_=True, type='Anchor3DRangeGenerator', rotations=[0, 1.57], reshape_out=False,
            ranges=[[-8, -4, -1.78, 8, 4, -1.78], [-8, -4, -0.6, 8, 4, -0.6]],
            sizes=[[3.9, 1.6, 1.56], [1.76, 0.6, 1.73]])))
"""


def objects_of(path: Path, recognised: Recognised) -> tuple[DetectedObject, ...]:
    bundle = import_model(
        path,
        adapter=recognised.adapter.name,
        into=path.parent / "models",
        recognised=recognised,
        replace=True,
    )
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    model = encoders()["lidar"].make_encoder(bundle.manifest, backend)
    outputs = model.infer(model.preprocess(sweep(), Geometry()))
    return model.postprocess(outputs, sweep(), Geometry()).objects


def check_wanted(found: tuple[DetectedObject, ...]) -> None:
    named = {item.class_name: item for item in found}
    assert set(named) == {"car", "cyclist"}
    for *_, label, box in WANTED:
        item = named[("car", "cyclist")[label]]
        assert item.center_m == pytest.approx(box[:3], abs=1e-4)
        assert item.size_m == pytest.approx(box[3:6], abs=1e-4)
        turn = (item.yaw_rad - box[6] + np.pi) % (2 * np.pi) - np.pi
        assert turn == pytest.approx(0.0, abs=1e-3)


ORIGIN = {"origin_m": [0.0, 0.0, 0.0]}


@pytest.mark.parametrize("chw", [False, True])
@pytest.mark.parametrize("given", ["encoder", "head"])
def test_pointpillars_of_two_graphs(tmp_path: Path, chw: bool, given: str) -> None:
    first, second = pointpillars_apart(tmp_path, chw=chw)[:: 1 if given == "encoder" else -1]
    config = tmp_path / "pointpillar.yaml"
    recognised = recognise(first, parts=[second], config=config, said=ORIGIN)
    assert "in two graphs" in recognised.family
    told = recognised.manifest["preprocessing"]
    assert (told["cells_as"], told["extra_features"], told["num_points"]) == ("flat", 5, "")
    check_wanted(objects_of(first, recognised))


def test_half_of_pointpillars_asks_for_the_other(tmp_path: Path) -> None:
    _, head = pointpillars_apart(tmp_path, chw=False)
    with pytest.raises(ModelError, match="--part FILE with the voxel encoder"):
        recognise(head, config=tmp_path / "pointpillar.yaml", said=ORIGIN)


def test_the_python_of_mmdetection3d_says_what_pointpillars_wants(tmp_path: Path) -> None:
    path = pointpillars(tmp_path, chw=True)
    (tmp_path / "base.py").write_text(BASE)
    config = tmp_path / "pointpillars_kitti.py"
    config.write_text(KITTI)
    recognised = recognise(path, config=config, said=ORIGIN)
    whys = {row.name: (row.value, row.why) for row in recognised.assumptions}
    assert whys["range_m"][1] == whys["anchors"][1] == "'pointpillars_kitti.py'"
    assert whys["aligned"][0] == "false"
    check_wanted(objects_of(path, recognised))
    for before, after, text in (
        (
            "[3.9, 1.6, 1.56], [1.76, 0.6, 1.73]",
            "[1.6, 3.9, 1.56], [0.6, 1.76, 1.73]",
            "width first",
        ),
        ("-0.6, 8, 4, -0.6", "-0.6, 9, 4, -0.6", "one range in x and y"),
        ("class_names = ['Car', 'Cyclist']", "class_names = names()", "--labels FILE"),
        ("dir_offset=", "bbox_coder=dict(type='Other'), dir_offset=", "bbox_coder: expected"),
        (
            "dir_offset=",
            "use_direction_classifier=False, dir_offset=",
            "the graph gives directions",
        ),
        ("KittiDataset", "WaymoDataset", "intensity_scale=1 (KITTI) or 255"),
        ("-3.0] + [8.0, 4.0, 5.0]", "-3.0] + [8.0, 4.0, 29.0]", "4 layers"),
        ("model = dict(", "model = dict(data_preprocessor=9, x=dict(", "on pillars"),
    ):
        config.write_text(KITTI.replace(before, after) + (")" if "x=dict" in after else ""))
        with pytest.raises(ModelError) as caught:
            recognise(path, config=config, said=ORIGIN)
        assert text in str(caught.value)


def test_python_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "sizes.py").write_text("size = [2, 3]\nmodel = dict(a=1, b=dict(c=2))")
    config = tmp_path / "config.py"
    config.write_text(
        "from mmengine.config import read_base\n"
        "with read_base():\n    from ._base_.sizes import *\n"
        "open('written', 'w')\n"
        "half = -size[0] / 2\nboth = size + [*size[1:]] * 2\nlonger = [0] * 99999999\n"
        "model.b.c = 5\nmodel = dict(b=dict(d=size[:1]), e=eval('1'), f=(lambda: 1)())\n"
        "total = sum([1, 2]) + len(size)\nname = f'{size}'\n"
    )
    read = read_python_config(config)
    assert read["half"] == -1.0
    assert read["both"] == [2, 3, 3, 3]
    assert read["total"] == 5
    assert read["model"]["b"]["d"] == [2]
    assert read["model"]["a"] == 1
    assert [read["model"][k] for k in "ef"] == [UNREAD, UNREAD]
    assert read["longer"] is read["name"] is UNREAD
    assert not (tmp_path / "written").exists()


NUS = """
class_names = ['car', 'truck', 'pedestrian']
model = dict(
    type='CenterPoint',
    data_preprocessor=dict(voxel_layer=dict(
        max_num_points=5, voxel_size=[0.5, 0.5, 8], max_voxels=(30000, 60),
        point_cloud_range=[-8.0, -4.0, -3.0, 8.0, 4.0, 5.0])),
    pts_voxel_encoder=dict(type='PillarFeatureNet', in_channels=5),
    pts_bbox_head=dict(type='CenterHead', tasks=[
        dict(num_class=1, class_names=['car']),
        dict(num_class=2, class_names=['truck', 'pedestrian'])]),
    test_cfg=dict(pts=dict(score_threshold=0.1)))
"""


def centerpoint_whole(path: Path) -> Path:
    """As mmdeploy joins the heads: a car at row 3, column 20; a pedestrian at row 9, column 4."""
    heat = np.full((1, 3, 16, 32), -9.0, np.float32)
    boxes, turns = np.zeros((1, 16, 16, 32), np.float32), np.zeros((1, 4, 16, 32), np.float32)
    for task, label, z, size, yaw, speed in (
        (0, 0, 0.9, (4.0, 1.8, 1.5), 0.7, (3.0, -1.0)),
        (1, 2, 0.6, (0.7, 0.6, 1.7), -2.0, (0.5, 0.25)),
    ):
        row, column = ((3, 20), (9, 4))[task]
        heat[0, label, row, column] = 2.0
        part = [0.25 + 0.5 * task, 0.5, z, *np.log(size), *speed]
        boxes[0, 8 * task : 8 * task + 8, row, column] = part
        turns[0, 2 * task : 2 * task + 2, row, column] = np.sin(yaw), np.cos(yaw)
    heads = {"cls_score": heat, "bbox_pred": boxes, "dir_cls_pred": turns}
    node = onnx.helper.make_node
    nodes = [
        node("ReduceMax", [n], [f"{n}_most"], keepdims=0) for n in ("voxels", "num_points", "coors")
    ]
    nodes += [
        node("Sum", ["voxels_most", "num_points_most", "coors_most"], ["all"]),
        node("Mul", ["all", "zero"], ["nothing"]),
        *(node("Add", [f"{name}_w", "nothing"], [name]) for name in heads),
    ]
    weights: dict[str, Any] = {f"{name}_w": value for name, value in heads.items()}
    weights["zero"] = np.array(0.0, np.float32)
    inputs = {"voxels": ["n", 5, 5], "num_points": ["n"], "coors": ["n", 4]}
    outputs = {name: list(value.shape) for name, value in heads.items()}
    return save(path, nodes, inputs, outputs, weights, 13)


def test_centerpoint_of_mmdeploy_has_a_head_for_each_task(tmp_path: Path) -> None:
    path = centerpoint_whole(tmp_path / "end2end.onnx")
    config = tmp_path / "centerpoint.py"
    config.write_text(NUS)
    recognised = recognise(path, config=config, said=ORIGIN)
    assert "in one graph" in recognised.family
    found = {item.class_name: item for item in objects_of(path, recognised)}
    assert set(found) == {"car", "pedestrian"}
    car, walker = found["car"], found["pedestrian"]
    assert car.center_m == pytest.approx((-8 + 20.25 * 0.5, -4 + 3.5 * 0.5, 0.9))
    assert walker.center_m == pytest.approx((-8 + 4.75 * 0.5, -4 + 9.5 * 0.5, 0.6))
    assert car.size_m == pytest.approx((4.0, 1.8, 1.5), rel=1e-5)
    assert walker.yaw_rad == pytest.approx(-2.0, abs=1e-5)
    assert walker.velocity_mps == pytest.approx((0.5, 0.25, 0.0))
    config.write_text(NUS.replace("dict(num_class=1, class_names=['car']),", ""))
    with pytest.raises(ModelError, match="has 1 tasks with 2 labels"):
        recognise(path, config=config, said=ORIGIN)


def cuda_pointpillars(folder: Path) -> Path:
    """As NVIDIA's exporter leaves it: ten features, the scatter a plug-in, the count an input.

    A pillar's channel 0 is its highest z; the heads are those of `pointpillars`, and the class
    logits have 0 times the scattered map.
    """
    path = pointpillars(folder)
    model = onnx.load(str(path))
    graph, helper = model.graph, onnx.helper
    del graph.node[:], graph.input[:]
    for name, kind, shape in (
        ("voxels", 1, [60, 5, 10]), ("voxel_idxs", 6, [60, 4]), ("voxel_num", 6, [1]),
    ):  # fmt: skip
        graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    node = helper.make_node
    graph.node.extend(
        [
            node("ReduceMax", ["voxels"], ["features"], axes=[1], keepdims=[0]),
            node("PPScatterPlugin", ["features", "voxel_idxs", "voxel_num"], ["canvas"],
                 dense_shape=[16, 32]),
            node("ReduceMax", ["canvas"], ["canvas_most"], keepdims=0),
            node("Mul", ["canvas_most", "zero"], ["nothing"]),
            *(node("Add", [f"{v.name}_w", "nothing"], [v.name]) for v in graph.output),
        ]
    )  # fmt: skip
    graph.output.append(helper.make_tensor_value_info("canvas", 1, [1, 10, 16, 32]))
    onnx.save(model, str(path))
    return path


def test_the_scatter_of_nvidias_pointpillars_becomes_standard_operators(tmp_path: Path) -> None:
    path = cuda_pointpillars(tmp_path)
    (tmp_path / "pointpillar.yaml").write_text(OPENPCDET)
    recognised = recognise(path, config=tmp_path / "pointpillar.yaml", said=ORIGIN)
    assert "scatter in standard operators" in recognised.family
    assert recognised.manifest["preprocessing"]["extra_features"] == 6
    check_wanted(objects_of(path, recognised))
    backend = backends()["onnxruntime"].load(
        tmp_path / "models" / "pointpillar" / "model.onnx", BackendOptions()
    )
    voxels = np.zeros((60, 5, 10), np.float32)
    voxels[0, 2, 3], voxels[1, 0, 3] = 7.0, 9.0
    places = np.zeros((60, 4), np.int32)
    places[0, 2:], places[1, 2:] = (5, 6), (15, 31)
    canvas = backend.infer({"voxels": voxels, "voxel_idxs": places})["canvas"]
    assert np.argwhere(canvas).tolist() == [[0, 3, 5, 6], [0, 3, 15, 31]]
    assert canvas[0, 3, 15, 31] == 9.0


def test_the_base_of_openpcdets_yaml_is_read_where_its_tree_is(tmp_path: Path) -> None:
    path = pointpillars(tmp_path)
    folder = tmp_path / "tools" / "cfgs"
    for name in ("dataset_configs", "nuscenes_models"):
        (folder / name).mkdir(parents=True)
    config = folder / "nuscenes_models" / "pointpillar.yaml"
    line = "    POINT_FEATURE_ENCODING: {used_feature_list: ['x', 'y', 'z', 'intensity']}\n"
    base = "    _BASE_CONFIG_: cfgs/dataset_configs/nuscenes_dataset.yaml\n"
    config.write_text(OPENPCDET.replace(line, base))
    (folder / "dataset_configs" / "nuscenes_dataset.yaml").write_text(line.replace("    ", ""))
    recognised = recognise(path, config=config, said=ORIGIN)
    whys = {row.name: (row.value, row.why) for row in recognised.assumptions}
    assert whys["point_features"] == ('["x", "y", "z", "intensity"]', "'pointpillar.yaml'")
    assert whys["intensity_scale"] == ("255.0", "'pointpillar.yaml'")
