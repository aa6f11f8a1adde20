"""Pillars: compiled, with NumPy and by loops; CenterPoint of others in two graphs, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillar_graphs import AUTOWARE, OPENPCDET, WANTED, centerpoint, pointpillars, sweep

from edge_perception.backends import BackendOptions, backends
from edge_perception.cli.main import main
from edge_perception.core.errors import ManifestError, ModelError
from edge_perception.core.types import DetectedObject, Geometry, PointCloud
from edge_perception.encoders import encoders
from edge_perception.encoders.lidar.native import native
from edge_perception.encoders.lidar.pillars import Pillarizer, PillarPreprocessing, cells_input
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.releases.first_look import read_picture
from edge_perception.releases.first_sweep import odd_boxes
from edge_perception.releases.importing import import_model
from edge_perception.releases.recognising import recognise

onnx = pytest.importorskip("onnx", reason="the Python package onnx is not installed")

MMDET3D = (
    "class_names = ['CAR', 'PEDESTRIAN']\n"
    "model = dict(data_preprocessor=dict(voxel_layer=dict(max_num_points=5, max_voxels=(9, 50),"
    "voxel_size=[0.5, 0.5, 8], point_cloud_range=[-8, -4, -3, 8, 4, 5])),"
    "pts_voxel_encoder=dict(in_channels=4), pts_bbox_head=dict(type='CenterHead',"
    "tasks=[dict(class_names=class_names)]))\n"
)

RANGE = (-8.0, -4.0, -3.0, 8.0, 4.0, 5.0)
HEADS = ("heatmap", "reg", "height", "dim", "rot", "vel")


def config(**changes: Any) -> PillarPreprocessing:
    return PillarPreprocessing(
        **{
            "range_m": RANGE,
            "voxel_m": (0.5, 0.5, 8.0),
            "max_pillars": 60,
            "max_points": 5,
            "extra_features": 6,
            **changes,
        }
    )


def cloud(seed: int, count: int = 900) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, (4.0, 2.0, 1.5, 0.3), (count, 4)).astype(np.float32)
    points[:3, :2] = [[-8.0, -4.0], [8.0, 0.0], [0.0, 4.0]]  # on the edges
    return points


def by_loops(points: np.ndarray, wanted: PillarPreprocessing) -> dict[int, np.ndarray]:
    """Flat cell to the features of its returns, pillar by pillar."""
    found: dict[int, list] = {}
    for point in points:
        if not all(RANGE[k] <= point[k] < RANGE[k + 3] for k in range(3)):
            continue
        column, row = int((point[0] + 8) / 0.5), int((point[1] + 4) / 0.5)
        cell = row * 32 + column
        if cell not in found and len(found) == wanted.max_pillars:
            continue
        if len(found.setdefault(cell, [])) < wanted.max_points:
            found[cell].append(point)
    full = {}
    for cell, kept in found.items():
        rows = np.array(kept)
        centre = [cell % 32 * 0.5 - 7.75, cell // 32 * 0.5 - 3.75, 1.0]
        extra = [rows[:, :3] - rows[:, :3].mean(axis=0), (rows[:, :3] - centre)]
        axes = wanted.extra_features - 3
        decorated = [extra[0], extra[1][:, :axes]] if wanted.extra_features else []
        full[cell] = np.concatenate([rows, *decorated], axis=1)
    return full


@pytest.mark.parametrize("extra", [0, 5, 6])
@pytest.mark.parametrize("compiled", [False, True])
def test_pillars_are_those_of_plain_loops(extra: int, compiled: bool) -> None:
    if compiled and native() is None:
        pytest.skip("the package was not built with colcon")
    wanted = config(extra_features=extra)
    make = Pillarizer(wanted, compiled=compiled)
    for seed in (1, 0):  # what the first sweep left is gone
        points = cloud(seed, 900 - 600 * seed)
        pillars = make(points)
        expected = by_loops(points, wanted)
        assert pillars.cells[: pillars.count].tolist() == list(expected)
        assert set(pillars.cells[pillars.count :].tolist()) <= {16 * 32}
        for at, rows in enumerate(expected.values()):
            assert pillars.held[at] == len(rows)
            np.testing.assert_allclose(pillars.features[at, : len(rows)], rows, atol=2e-6)
            assert not pillars.features[at, len(rows) :].any()
        assert not pillars.features[pillars.count :].any()


@pytest.mark.skipif(native() is None, reason="the package was not built with colcon")
@pytest.mark.parametrize("limit", [60, 1000])
def test_compiled_and_numpy_give_the_same_bits(limit: int) -> None:
    wanted = config(max_pillars=limit, voxel_m=(0.16, 0.2, 8.0))
    for seed in range(3):
        points = cloud(seed, 3000)
        one, other = (Pillarizer(wanted, compiled=c)(points) for c in (True, False))
        assert one.count == other.count
        assert one.features.tobytes() == other.features.tobytes()
        assert one.cells.tobytes() == other.cells.tobytes()
        assert one.held.tobytes() == other.held.tobytes()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"range_m": (0, 0, 0, 0, 1, 1)}, "min below max"),
        ({"voxel_m": (0.0, 1, 1)}, "positive voxels"),
        ({"point_features": ("x", "y", "z", "ring")}, "expected x, y, z"),
    ],
)
def test_impossible_grids_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        config(**changes)


@pytest.mark.parametrize(
    ("given", "spread"), [("encoder", False), ("head", False), ("encoder", True)]
)
def test_centerpoint_of_two_graphs_finds_what_its_weights_say(
    tmp_path: Path, given: str, spread: bool
) -> None:
    encoder, head, parameters = centerpoint(tmp_path, spread=spread)
    first, second = (encoder, head) if given == "encoder" else (head, encoder)
    recognised = recognise(first, parts=[second], config=parameters)
    whys = {row.name: (row.value, row.why) for row in recognised.assumptions}
    assert whys["convention"][1] == "'centerpoint_ml_package.param.yaml' is autoware's"
    bundle = import_model(
        first, adapter="centerpoint", into=tmp_path / "models", recognised=recognised, name="cp"
    )
    assert bundle.manifest.labels == ("car", "pedestrian")
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    model = encoders()["lidar"].make_encoder(bundle.manifest, backend)
    T = np.eye(4)
    T[:3, 3] = [0.5, 0.0, 0.0]  # the sensor is half a metre ahead
    geometry = Geometry(T_base_sensor=T)
    outputs = model.infer(model.preprocess(sweep(), geometry))
    result = model.postprocess(outputs, sweep(), geometry)
    found = {tuple(np.round(o.center_m, 3).tolist()): o for o in result.objects}
    assert set(found) == {(3.75, -2.25, 0.8), (-4.75, 1.25, 0.8)}  # middles of their cells
    for item in found.values():
        assert item.class_name == "car"
        assert item.size_m == pytest.approx((4.0, 2.0, 1.5), rel=1e-5)
        assert item.yaw_rad == pytest.approx(2.0 - np.pi / 2, abs=1e-5)
        assert item.velocity_mps == pytest.approx((3.0, -1.0, 0.0))
    assert result.tensors["obstacle_points"].shape[1] == 3
    inside = model.in_range(np.array([[0, 0, 0], [7.6, 0, 0]], np.float32), geometry)
    assert inside.tolist() == [True, False]


@pytest.mark.parametrize(
    ("convention", "size", "yaw"),
    [
        ("mmdet3d", (2.0, 4.0, 1.5), -2.0),
        ("openpcdet", (2.0, 4.0, 1.5), np.arctan2(np.cos(-2.0), np.sin(-2.0))),
    ],
)
def test_other_conventions(tmp_path: Path, convention: str, size: tuple, yaw: float) -> None:
    encoder, head, parameters = centerpoint(tmp_path)
    said = {"convention": convention, "origin_m": [0.0, 0.0, 1.8]}
    recognised = recognise(encoder, parts=[head], config=parameters, said=said)
    bundle = import_model(
        encoder, adapter="centerpoint", into=tmp_path / "models", recognised=recognised
    )
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    model = encoders()["lidar"].make_encoder(bundle.manifest, backend)
    raised = PointCloud(
        stamp_ns=0,
        frame_id="lidar",
        xyz_m=sweep().xyz_m + np.array([0, 0, 1.8], np.float32),
    )
    outputs = model.infer(model.preprocess(raised, Geometry()))
    (item, *_) = model.postprocess(outputs, raised, Geometry()).objects
    assert item.size_m == pytest.approx(size, rel=1e-5)
    assert item.yaw_rad == pytest.approx(yaw, abs=1e-5)
    assert item.center_m[2] == pytest.approx(0.8 + 1.8)  # back in the base frame


def test_returns_a_pillar_are_autowares_where_its_exporter_leaves_them_free(
    tmp_path: Path,
) -> None:
    encoder, head, parameters = centerpoint(tmp_path, points="num_max_points")
    recognised = recognise(encoder, parts=[head], config=parameters)
    rows = {row.name: (row.value, row.why) for row in recognised.assumptions}
    assert rows["max_points"] == ("32", "as Autoware's node has it")
    assert recognised.manifest["inputs"][0]["shape"] == [50, 32, 9]


def test_two_graphs_with_the_python_of_mmdetection3d(tmp_path: Path) -> None:
    encoder, head, _ = centerpoint(tmp_path)
    config = tmp_path / "centerpoint.py"
    config.write_text(MMDET3D)
    manifest = recognise(encoder, parts=[head], config=config).manifest
    assert manifest["preprocessing"]["extra_features"] == 5
    assert manifest["preprocessing"]["max_pillars"] == 50
    assert manifest["postprocessing"]["convention"] == "mmdet3d"
    assert manifest["labels"] == ["car", "pedestrian"]


@pytest.mark.parametrize("naming", ["{part}_{task}", "task{task}_{part}"])
def test_heads_of_several_tasks_are_read_one_after_the_other(tmp_path: Path, naming: str) -> None:
    encoder, head, parameters = centerpoint(tmp_path, tasks=(1, 2), naming=naming)
    labels = ["bus", "car", "pedestrian"]
    text = parameters.read_text().replace('["CAR", "PEDESTRIAN"]', '["BUS", "CAR", "PEDESTRIAN"]')
    parameters.write_text(text)
    recognised = recognise(encoder, parts=[head], config=parameters)
    assert recognised.manifest["postprocessing"]["tasks"] == [1, 2]
    bundle = import_model(
        encoder, adapter="centerpoint", into=tmp_path / "models", recognised=recognised
    )
    assert bundle.manifest.labels == tuple(labels)
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    model = encoders()["lidar"].make_encoder(bundle.manifest, backend)
    outputs = model.infer(model.preprocess(sweep(), Geometry()))
    found = model.postprocess(outputs, sweep(), Geometry()).objects
    assert [item.class_name for item in found] == ["car", "car"]
    for item in found:  # by the heads of their own task
        assert item.size_m == pytest.approx((4.0, 2.0, 1.5), rel=1e-5)
        assert item.center_m[2] == pytest.approx(0.8)


def test_classes_of_openpcdets_heads_are_in_the_order_of_the_heads(tmp_path: Path) -> None:
    """Its predictions are brought to the order of CLASS_NAMES afterwards, in its own code."""
    encoder, head, _ = centerpoint(tmp_path, tasks=(1, 2))
    text = OPENPCDET.replace("['Car', 'Cyclist']", "['Car', 'Bus', 'Pedestrian']")
    heads = "NAME: CenterHead\n        CLASS_NAMES_EACH_HEAD: [['Bus'], ['Car', 'Pedestrian']]\n"
    config = tmp_path / "cbgs_dyn_pp_centerpoint.yaml"
    config.write_text(text.replace("NAME: AnchorHeadSingle\n", heads))
    manifest = recognise(encoder, parts=[head], config=config).manifest
    assert manifest["labels"] == ["bus", "car", "pedestrian"]
    assert manifest["postprocessing"]["tasks"] == [1, 2]
    config.write_text(config.read_text().replace("[['Bus'], ['Car', 'P", "[['Bus', 'Car'], ['P"))
    with pytest.raises(ModelError, match=r"tasks of \[2, 1\] labels, the outputs of \[1, 2\]"):
        recognise(encoder, parts=[head], config=config)


def test_tasks_that_lack_a_head_or_are_others_than_configured_are_named(tmp_path: Path) -> None:
    encoder, head, parameters = centerpoint(tmp_path, tasks=(1, 1))
    with pytest.raises(ModelError, match="the outputs have 2 classes, 3 names are given"):
        recognise(encoder, parts=[head], config=parameters, labels=["a", "b", "c"])
    model = onnx.load(str(head))
    model.graph.output.remove(next(v for v in model.graph.output if v.name == "dim_1"))
    onnx.save(model, str(head))
    with pytest.raises(ModelError, match=r"'dim' is there for tasks \[0\], 'heatmap' for \[0, 1\]"):
        recognise(encoder, parts=[head], config=parameters)
    config = tmp_path / "centerpoint.py"
    apart = "[dict(class_names=['CAR']), dict(class_names=['PEDESTRIAN'])]"
    config.write_text(MMDET3D.replace("[dict(class_names=class_names)]", apart))
    (tmp_path / "one").mkdir()
    encoder, head, _ = centerpoint(tmp_path / "one")
    with pytest.raises(ModelError, match=r"tasks of \[1, 1\] labels, the outputs of one task"):
        recognise(encoder, parts=[head], config=config)
    encoder, head, _ = centerpoint(tmp_path / "one", tasks=(1, 1))
    manifest = recognise(encoder, parts=[head], config=config).manifest
    assert (manifest["postprocessing"]["tasks"], manifest["labels"]) == (
        [1, 1],
        ["car", "pedestrian"],
    )


def test_what_the_two_files_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    encoder, head, parameters = centerpoint(tmp_path)
    for path, parts, used, text in (
        (encoder, [], parameters, "--part FILE with the head"),
        (head, [], parameters, "--part FILE with the voxel encoder"),
        (head, [encoder], None, "convention=autoware|mmdet3d|openpcdet"),
        (head, [encoder], encoder, "expected YAML"),
    ):
        with pytest.raises(ModelError) as caught:
            recognise(path, parts=parts, config=used)
        assert text in str(caught.value)
    for before, after, text in (
        ("encoder_in_feature_size: 9", "encoder_in_feature_size: 10", "its configuration makes"),
        ("point_feature_size: 4", "point_feature_size: 7", "expected 4 or 5, got 7"),
        ("class_names", "names", "not as Autoware or OpenPCDet write it"),
    ):
        parameters.write_text(AUTOWARE.replace(before, after))
        with pytest.raises(ModelError) as caught:
            recognise(head, parts=[encoder], config=parameters)
        assert text in str(caught.value)
    centerpoint(tmp_path, channels=3)
    parameters.write_text(AUTOWARE)
    with pytest.raises(ModelError, match="the head takes"):
        recognise(head, parts=[encoder], config=parameters)


def test_golden_pillars_lie_in_cells_of_their_own(tmp_path: Path) -> None:
    encoder, head, parameters = centerpoint(tmp_path)
    recognised = recognise(encoder, parts=[head], config=parameters)
    bundle = import_model(
        encoder, adapter="centerpoint", into=tmp_path / "models", recognised=recognised
    )
    inputs, _ = read_golden(bundle)
    cells = inputs["cells"].ravel()
    real = cells[cells < 32 * 16]
    assert len(real) == len(set(real.tolist())) == 50
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    assert all(deviation.passed for deviation in compare_golden(bundle, backend))


@pytest.mark.parametrize("chw", [False, True])
def test_pointpillars_boxes_are_those_of_its_anchors(tmp_path: Path, chw: bool) -> None:
    path = pointpillars(tmp_path, chw=chw)
    recognised = recognise(
        path, config=tmp_path / "pointpillar.yaml", said={"origin_m": [0.0, 0.0, 1.73]}
    )
    assert ("mmdetection3d" if chw else "OpenPCDet") in recognised.family
    bundle = import_model(
        path, adapter="pointpillars", into=tmp_path / "models", recognised=recognised
    )
    assert bundle.manifest.inputs[0].shape == (60, 5, 4)
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    model = encoders()["lidar"].make_encoder(bundle.manifest, backend)
    result = model.postprocess(
        model.infer(model.preprocess(sweep(), Geometry())), sweep(), Geometry()
    )
    found = {o.class_name: o for o in result.objects}
    assert set(found) == {"car", "cyclist"}
    for *_, label, box in WANTED:
        item = found[("car", "cyclist")[label]]
        assert item.center_m == pytest.approx((box[0], box[1], box[2] + 1.73), abs=1e-4)
        assert item.size_m == pytest.approx(box[3:6], abs=1e-4)
        turn = (item.yaw_rad - box[6] + np.pi) % (2 * np.pi) - np.pi
        assert turn == pytest.approx(0.0, abs=1e-3)
        assert item.score == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-4)


def test_pillars_that_are_none_repeat_the_first_one(tmp_path: Path) -> None:
    wanted = config(extra_features=0, cells_as="batch_z_y_x")
    make = Pillarizer(wanted)
    for seed in (0, 1):
        pillars = make(cloud(seed, 40))
        real = pillars.count
        assert 0 < real < wanted.max_pillars
        make.repeat_first()
        places = cells_input(wanted, pillars, np.int32)
        assert len({tuple(place) for place in places.tolist()}) == real
        assert (pillars.features[real:] == pillars.features[0]).all()
        assert (places[real:] == places[0]).all()


def test_what_pointpillars_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    path = pointpillars(tmp_path)
    with pytest.raises(ModelError) as caught:
        recognise(path)
    for text in ("range_m", "voxel_m", "origin_m=[x,y,z]", "anchors=[", "--labels"):
        assert text in str(caught.value)
    parameters = tmp_path / "autoware.yaml"
    parameters.write_text(AUTOWARE)
    with pytest.raises(ModelError, match="expected a configuration of OpenPCDet"):
        recognise(path, config=parameters)
    broken = tmp_path / "broken.yaml"
    broken.write_text(OPENPCDET.replace("anchor_sizes", "sizes"))
    with pytest.raises(ModelError, match="not as OpenPCDet writes it"):
        recognise(path, config=broken)


def test_the_command_draws_a_sweep_and_stops_boxes_that_no_street_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, head, parameters = centerpoint(tmp_path)
    command = ["models", "import", str(encoder), "--part", str(head), "--config", str(parameters)]
    command += ["--into", str(tmp_path / "models")]
    assert main([*command, "--name", "cp"]) == 0
    assert "found in a simulated street: " in capsys.readouterr().out
    assert read_picture(tmp_path / "models" / "cp.import.png").shape == (960, 960, 3)
    assert main([*command, "--name", "high", "--assume", "origin_m=[0,0,-12]"]) == 0  # sees nothing
    box = DetectedObject(
        class_name="car", score=0.9, center_m=(1, 2, 9.5), size_m=(50, 2, 1), yaw_rad=0.0
    )
    faults = odd_boxes((box,) * 120)
    assert [fault.split(" of ")[0].split(" ")[0] for fault in faults] == ["120", "120", "120"]
    assert "convention" in faults[0]
    assert "origin_m" in faults[1]
    assert "120 boxes in one street" in faults[2]
    assert odd_boxes(()) == []
