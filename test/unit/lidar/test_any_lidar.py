"""What the LiDAR encoder is trained with: sensors of any make, obstacles, spoiled sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="no SciPy: the scenes of training are made with it")

from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders.lidar.encoder import make_encoder
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.simulation.lidar import MODELS
from edge_perception.simulation.scenario import LIDARS, random_scenario
from edge_perception.simulation.solids import STATIC
from edge_perception.simulation.world import World
from training import rasters
from training.obstacles import with_obstacles
from training.rasters import raster_and_counts
from training.samples import in_box
from training.sensors import draw_sensor
from training.simulated import HELD_OUT_SEED, simulate_any, simulate_sweep
from training.spoiled import _KINDS, accompanied, reshaped, spoil

CONFIG = LidarPreprocessing(intensity_median=0.035)


@pytest.fixture(scope="module")
def sweeps():
    return [simulate_any(seed) for seed in range(7, 13)]


@pytest.fixture(scope="module")
def streets():
    return [simulate_sweep(HELD_OUT_SEED + number) for number in range(6)]


@pytest.fixture(scope="module")
def encoder():
    bundle = find_bundle("bev_lite/lidar", installed_model_folders())
    loaded = open_bundle(bundle, ModelOptions(model="lidar"))
    yield make_encoder(bundle.manifest, loaded.backend)
    loaded.backend.close()


def test_every_model_of_a_scenario_has_beams():
    assert set(MODELS) == set(LIDARS)
    for beams in MODELS.values():
        assert list(beams.elevation_deg) == sorted(beams.elevation_deg, reverse=True)


def test_sensors_span_what_is_promised():
    sensors = [draw_sensor(np.random.default_rng(seed)) for seed in range(400)]
    beams = [len(sensor.beams.elevation_deg) for sensor in sensors]
    heights = [sensor.position_m[2] for sensor in sensors]
    assert min(beams) == 16
    assert max(beams) >= 128
    assert 0.5 <= min(heights) < 0.8
    assert 2.7 < max(heights) <= 3.0
    narrow = sum(sensor.view_rad is not None for sensor in sensors)
    assert 0.08 < narrow / len(sensors) < 0.25
    for sensor in sensors:
        assert list(sensor.beams.elevation_deg) == sorted(sensor.beams.elevation_deg, reverse=True)


def test_obstacles_stand_beside_road_users_and_hide_no_label():
    total = 0
    for seed in range(5):
        scene = World(random_scenario(seed), seed).at(1.0)
        more = with_obstacles(scene, np.random.default_rng(seed))
        before = {vertices.tobytes() for vertices in scene.solids.vertices_m}
        added = np.array([v.tobytes() not in before for v in more.solids.vertices_m])
        total += int(added.sum())
        assert (more.solids.actor[added] == STATIC).all()
        assert more.actors == scene.actors
        corners = more.solids.vertices_m[added].reshape(-1, 3)
        for actor in scene.actors:
            b = actor.box
            box = np.array([*b.center_m, *b.size_m, b.yaw_rad], np.float32)
            box[5] = 50.0
            assert len(in_box(corners, box)) == 0
    assert total > 100


def test_sweeps_of_any_sensor_hold_returns_of_what_is_labelled(sweeps):
    for sweep in sweeps:
        assert np.isfinite(sweep.xyz_m).all()
        assert len(sweep.xyz_m) == len(sweep.intensity) > 3000
        assert len(sweep.boxes) == len(sweep.labels)
    found = sum(int((raster_and_counts(s, CONFIG)[1] > 20).sum()) for s in sweeps)
    assert found > 20


@pytest.mark.parametrize("kind", [function for function, _ in _KINDS], ids=lambda f: f.__name__)
def test_spoiled_sweeps_keep_their_labels(kind, sweeps):
    rng = np.random.default_rng(3)
    changed = 0
    for sweep in sweeps:
        made = kind(sweep, rng)
        assert made.boxes is sweep.boxes
        assert made.labels is sweep.labels
        assert made.xyz_m.dtype == made.intensity.dtype == np.float32
        assert len(made.xyz_m) == len(made.intensity) > 0
        assert np.isfinite(made.xyz_m).all()
        assert ((made.intensity >= 0) & (made.intensity <= 1)).all()
        changed += made.xyz_m.shape != sweep.xyz_m.shape or bool(
            (made.xyz_m != sweep.xyz_m).any() or (made.intensity != sweep.intensity).any()
        )
    assert changed >= len(sweeps) - 2


def test_people_of_other_shapes_keep_their_returns_in_their_boxes(sweeps):
    rng, changed = np.random.default_rng(4), 0
    for sweep in sweeps:
        made = reshaped(sweep, rng)
        people = np.isin(sweep.labels, (3, 4))
        np.testing.assert_array_equal(made.boxes[~people], sweep.boxes[~people])
        for before, after in zip(sweep.boxes[people], made.boxes[people], strict=True):
            count = len(in_box(sweep.xyz_m, before))
            assert len(in_box(made.xyz_m, after, 0.02)) >= 0.9 * count
            assert after[2] - 0.5 * after[5] == pytest.approx(before[2] - 0.5 * before[5], abs=1e-4)
            changed += after[5] != before[5] and count > 0
    assert changed > 10


def test_who_is_accompanied_has_somebody_beside_that_the_sensor_sees(sweeps):
    rng, more = np.random.default_rng(4), 0
    for sweep in sweeps * 3:
        made = accompanied(sweep, rng)
        count = len(sweep.boxes)
        np.testing.assert_array_equal(made.boxes[:count], sweep.boxes)
        assert (made.labels[count:] == 3).all()
        for box in made.boxes[count:]:
            gap = np.hypot(*(sweep.boxes[sweep.labels == 3, :2] - box[:2]).T).min()
            assert 0.4 <= gap <= 1.0 + 1e-4
        more += len(made.boxes) - count
        assert made.xyz_m.dtype == made.intensity.dtype == made.boxes.dtype == np.float32
        assert len(made.labels) == len(made.boxes)
    assert more > 10


def test_with_pictures_nobody_changes_that_they_show(sweeps):
    for seed in range(20):
        made = spoil(sweeps[seed % 6], np.random.default_rng(seed), bodies=False)
        assert made.boxes is sweeps[seed % 6].boxes


def test_spoiling_repeats_with_its_seed(sweeps):
    first, second = (spoil(sweeps[0], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.xyz_m, second.xyz_m)
    np.testing.assert_array_equal(first.intensity, second.intensity)


@pytest.mark.parametrize("brightness", [0.3, 1.0])
def test_the_bundled_model_finds_people_in_bright_coats(streets, encoder, brightness):
    dull = bright = 0
    for sweep in streets:
        people = [box for box, label in zip(sweep.boxes, sweep.labels, strict=True) if label == 3]
        shining = sweep.intensity.copy()
        for box in people:
            shining[in_box(sweep.xyz_m, box, 0.05)] = brightness
        dull += found(encoder, sweep, people)
        bright += found(encoder, replace(sweep, intensity=shining), people)
    assert dull > 20
    assert bright >= 0.9 * dull


def found(encoder, sweep, people):
    """Return how many of some boxes have a pedestrian within 2 m."""
    cloud = PointCloud(
        stamp_ns=1, frame_id="lidar", xyz_m=sweep.xyz_m, intensity=sweep.intensity
    )  # fmt: skip
    placed = Geometry(pose_source="parameter")
    outputs = encoder.infer(encoder.preprocess(cloud, placed))
    places = [
        item.center_m[:2] for item in encoder.postprocess(outputs, cloud, placed).objects
        if item.class_name == "pedestrian"
    ]  # fmt: skip
    there = np.array([box[:2] for box in people]).reshape(-1, 1, 2)
    gaps = np.hypot(*(there - np.array(places).reshape(-1, 2)).T)
    return int((gaps.min(axis=0, initial=np.inf) < 2.0).sum())


def test_compiled_rasters_are_those_of_numpy(sweeps, monkeypatch):
    compiled = [raster_and_counts(sweep, CONFIG) for sweep in sweeps]
    monkeypatch.setattr(rasters, "_sweeper", lambda _: None)
    for sweep, (raster, counts) in zip(sweeps, compiled, strict=True):
        expected, points = raster_and_counts(sweep, CONFIG)
        np.testing.assert_array_equal(raster, expected)
        np.testing.assert_array_equal(counts, points)
    nothing = replace(sweeps[0], boxes=sweeps[0].boxes[:0], labels=sweeps[0].labels[:0])
    assert len(raster_and_counts(nothing, CONFIG)[1]) == 0
