"""The LiDAR encoder on a small real model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lidar_messages import cloud_msg, xyz
from onnx_models import bundle_of, manifest_of

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import ConfigurationError, InvalidOutputError, ManifestError
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders import encoders
from edge_perception.encoders.lidar.encoder import lidar_preprocessing, to_base
from edge_perception.encoders.lidar.options import LidarSourceOptions
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing, obstacle_points, rasterize
from edge_perception.encoders.pose import located, pose_of
from edge_perception.running.parameter_yaml import decode_parameters

RASTER = {"x_range_m": [0.0, 16.0], "y_range_m": [-8.0, 8.0], "cell_m": 0.5}
CONFIG = LidarPreprocessing(x_range_m=(0.0, 16.0), y_range_m=(-8.0, 8.0), cell_m=0.5)
SHAPE = (1, len(CONFIG.channels), 32, 32)


def heads() -> dict[str, np.ndarray]:
    """A car of 4 x 2 x 1.5 m at the middle of cell (8, 16) of 1 m, heading +y."""
    heatmap = np.full((1, 1, 16, 16), -9.0, np.float32)
    boxes = np.zeros((1, 8, 16, 16), np.float32)
    heatmap[0, 0, 8, 10] = 3.0
    boxes[0, :, 8, 10] = [0.5, 0.5, 0.75, np.log(4), np.log(2), np.log(1.5), 1.0, 0.0]
    return {"heatmap": heatmap, "boxes": boxes}


@pytest.fixture
def bundle(tmp_path: Path) -> Any:
    manifest = manifest_of(
        "lidar",
        "bev_center",
        {"raster": SHAPE},
        {name: head.shape for name, head in heads().items()},
        preprocessing=RASTER,
        postprocessing={"x_min_m": 0.0, "y_min_m": -8.0, "cell_m": 1.0},
        labels=["car"],
        features={"bev": "boxes"},
    )
    return bundle_of(tmp_path / "tiny", manifest, heads())


@pytest.fixture
def encoder(bundle: Any) -> Any:
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    return encoders()["lidar"].make_encoder(bundle.manifest, backend)


def sweep(seed: int = 0) -> PointCloud:
    """A road at z = -1.8 m of the sensor and a wall 8 m ahead."""
    rng = np.random.default_rng(seed)
    road = np.c_[rng.uniform(0, 16, 3000), rng.uniform(-8, 8, 3000), np.full(3000, -1.8)]
    wall = np.c_[np.full(600, 8.1), rng.uniform(-2, 2, 600), rng.uniform(-1.7, 0.5, 600)]
    points = np.concatenate([road, wall]).astype(np.float32)
    intensity = rng.uniform(0, 1, len(points)).astype(np.float32)
    return PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=points, intensity=intensity)


def mounted(yaw: float = 0.0) -> Geometry:
    T = np.eye(4)
    T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    T[2, 3] = 1.8
    return Geometry(T_base_sensor=T)


INTENSITY = CONFIG.channels.index("intensity")


def seen_and_said(encoder: Any, frame: PointCloud, **parameters: Any) -> tuple[np.ndarray, str]:
    """The intensity that the model gets of a frame, and the notes."""
    given = {"source": "lidar", "T_base_sensor": [0.0, 0.0, 1.8, 0.0, 0.0, 0.0, 1.0]}
    options = decode_parameters(LidarSourceOptions, {**given, **parameters}, "lidar_encoder")
    # As nodes and replay do it: the pose is found for each frame.
    placed = pose_of(encoders()["lidar"], options).at("lidar", 1)
    geometry = located(options.geometry(), placed)
    inputs = encoder.preprocess(frame, geometry)
    seen = inputs["raster"][0, INTENSITY].copy()
    result = encoder.postprocess(encoder.infer(inputs), frame, geometry)
    return seen, "; ".join(result.notes)


def test_intensity_as_the_parameter_says(encoder: Any) -> None:
    assert encoders()["lidar"].options is LidarSourceOptions
    frame = sweep()
    before = frame.intensity.copy()
    plain, said = seen_and_said(encoder, frame)
    assert (plain.max() > 0, said) == (True, "")
    half, said = seen_and_said(encoder, frame, intensity="scale", intensity_scale=0.5)
    np.testing.assert_allclose(half, 0.5 * plain, atol=1e-6)
    assert "intensity times 0.5" in said
    bright, said = seen_and_said(encoder, frame, intensity="scale", intensity_scale=100.0)
    assert bright.max() == 1.0
    assert "as bright as can be" in said
    none, said = seen_and_said(encoder, frame, intensity="ignore")
    assert not none.any()
    assert "left out" in said
    np.testing.assert_array_equal(frame.intensity, before)
    dark = replace(frame, intensity=None)
    assert "no intensity" in seen_and_said(encoder, dark, intensity="scale")[1]


def test_told_intensity_comes_before_that_of_training(bundle: Any) -> None:
    asked = {**bundle.manifest.preprocessing, "intensity_median": 0.02}
    manifest = replace(bundle.manifest, preprocessing=asked)
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    encoder = encoders()["lidar"].make_encoder(manifest, backend)
    comparable, said = seen_and_said(encoder, sweep())
    assert "darker" in said
    told, said = seen_and_said(encoder, sweep(), intensity="scale", intensity_scale=1.0)
    assert "times 1" in said
    assert told.max() > 5 * comparable.max()


@pytest.mark.parametrize("told", [{}, {"intensity": "scale", "intensity_scale": 1.0}])
def test_what_is_brighter_than_the_limit_of_a_model_counts_as_so_bright(
    bundle: Any, encoder: Any, told: dict[str, Any]
) -> None:
    asked = {**bundle.manifest.preprocessing, "intensity_limit": 0.1}
    manifest = replace(bundle.manifest, preprocessing=asked)
    backend = backends()["onnxruntime"].load(bundle.model_path, BackendOptions())
    limited = encoders()["lidar"].make_encoder(manifest, backend)
    frame = sweep()
    dull = replace(frame, intensity=np.full_like(frame.intensity, 0.04))
    dull.intensity[::2] = 0.05
    bright = replace(dull, intensity=dull.intensity.copy())
    bright.intensity[::3] = 1.0
    before = bright.intensity.copy()
    np.testing.assert_array_equal(
        seen_and_said(limited, dull, **told)[0], seen_and_said(encoder, dull, **told)[0]
    )
    assert seen_and_said(encoder, bright, **told)[0].max() == 1.0
    seen, _ = seen_and_said(limited, bright, **told)
    assert seen.max() == pytest.approx(0.1)
    np.testing.assert_array_equal(bright.intensity, before)


@pytest.mark.parametrize("given", [{"intensity_scale": 2.0}, {"intensity": "rank"}])
def test_a_scale_that_nothing_uses_is_refused(encoder: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="intensity"):
        seen_and_said(encoder, sweep(), **given)


def test_objects_features_and_obstacles(encoder: Any) -> None:
    frame, geometry = sweep(), mounted()
    outputs = encoder.infer(encoder.preprocess(frame, geometry))
    result = encoder.postprocess(outputs, frame, geometry)
    (car,) = result.objects
    assert car.class_name == "car"
    assert car.center_m == pytest.approx((8.5, 2.5, 0.75))
    assert car.size_m == pytest.approx((4.0, 2.0, 1.5))
    assert car.yaw_rad == pytest.approx(np.pi / 2)
    np.testing.assert_array_equal(result.tensors["bev"], heads()["boxes"])
    obstacles = result.tensors["obstacle_points"]
    assert obstacles.dtype == np.float32
    assert 300 < len(obstacles) <= 600
    np.testing.assert_allclose(obstacles[:, 0], 8.1, atol=1e-5)  # the wall, not the road
    assert obstacles[:, 2].min() > 0.2


@pytest.mark.parametrize("yaw", [0.0, 0.3])
def test_raster_is_of_the_base_frame(encoder: Any, yaw: float) -> None:
    frame, geometry = sweep(), mounted(yaw)
    points = np.c_[frame.xyz_m, np.ones(len(frame.xyz_m))] @ geometry.T_base_sensor.T
    expected = rasterize(points[:, :3].astype(np.float32), frame.intensity, CONFIG)
    raster = encoder.preprocess(frame, geometry)["raster"]
    assert raster.shape == SHAPE
    # A point within float32 rounding of a cell's edge may fall to either side.
    assert np.mean(np.abs(raster[0] - expected) > 1e-3) < 1e-3


def test_next_sweep_leaves_nothing_of_the_last(encoder: Any) -> None:
    first, second, geometry = sweep(0), sweep(1), mounted()
    expected = encoder.preprocess(second, geometry)["raster"].copy()
    encoder.preprocess(first, geometry)
    np.testing.assert_array_equal(encoder.preprocess(second, geometry)["raster"], expected)


def test_postprocessing_belongs_to_its_own_frame(encoder: Any) -> None:
    """Also when another frame was preprocessed in between, as when two models run."""
    first, second, geometry = sweep(0), sweep(1), mounted()
    outputs = encoder.infer(encoder.preprocess(first, geometry))
    encoder.preprocess(second, geometry)
    got = encoder.postprocess(outputs, first, geometry).tensors["obstacle_points"]
    np.testing.assert_array_equal(got, obstacle_points(to_base(first.xyz_m, geometry), CONFIG))


def test_points_move_by_the_mounting() -> None:
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    T[:3, 3] = [1.0, 2.0, 3.0]
    got = to_base(np.array([[5.0, 0.0, 0.5]], np.float32), Geometry(T_base_sensor=T))
    np.testing.assert_allclose(got, [[1.0, 7.0, 3.5]])
    assert got.dtype == np.float32


def test_nan_in_the_outputs_is_refused(encoder: Any) -> None:
    with pytest.raises(InvalidOutputError, match="NaN or Inf"):
        encoder.infer({"raster": np.full(SHAPE, np.nan, np.float32)})


def test_intake_gives_the_frame_of_a_message(encoder: Any) -> None:
    intake = encoders()["lidar"].make_intake(None)
    frame = intake.frame(intake.accept(cloud_msg(xyz())))
    assert len(frame.xyz_m) == 12
    assert encoder.preprocess(frame, Geometry())["raster"].shape == SHAPE


@pytest.mark.parametrize(
    ("preprocessing", "text"),
    [
        ({**RASTER, "cell_m": 1.0}, "expects inputs"),
        ({**RASTER, "input": "points"}, "expects inputs {'points'"),
        ({**RASTER, "cell": 1.0}, "preprocessing.cell: expected one of"),
        ({**RASTER, "cell_m": 0.0}, "preprocessing.cell_m: expected 0.02 to 5 m"),
    ],
)
def test_manifest_that_does_not_fit(bundle: Any, preprocessing: dict[str, Any], text: str) -> None:
    object.__setattr__(bundle.manifest, "preprocessing", preprocessing)
    with pytest.raises(ManifestError, match=text):
        lidar_preprocessing(bundle.manifest)
