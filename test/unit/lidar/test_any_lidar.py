"""What the LiDAR encoder is trained with: sensors of any make, obstacles, spoiled sweeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="no SciPy: the scenes of training are made with it")

from edge_perception.encoders.lidar.preprocess import LidarPreprocessing
from edge_perception.simulation.lidar import MODELS
from edge_perception.simulation.scenario import LIDARS, random_scenario
from edge_perception.simulation.solids import STATIC
from edge_perception.simulation.world import World
from training import rasters
from training.obstacles import with_obstacles
from training.rasters import raster_and_counts
from training.samples import in_box
from training.sensors import draw_sensor
from training.simulated import simulate_any
from training.spoiled import _KINDS, spoil

CONFIG = LidarPreprocessing(intensity_median=0.035)


@pytest.fixture(scope="module")
def sweeps():
    return [simulate_any(seed) for seed in range(7, 13)]


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


def test_spoiling_repeats_with_its_seed(sweeps):
    first, second = (spoil(sweeps[0], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.xyz_m, second.xyz_m)
    np.testing.assert_array_equal(first.intensity, second.intensity)


def test_compiled_rasters_are_those_of_numpy(sweeps, monkeypatch):
    compiled = [raster_and_counts(sweep, CONFIG) for sweep in sweeps]
    monkeypatch.setattr(rasters, "_sweeper", lambda _: None)
    for sweep, (raster, counts) in zip(sweeps, compiled, strict=True):
        expected, points = raster_and_counts(sweep, CONFIG)
        np.testing.assert_array_equal(raster, expected)
        np.testing.assert_array_equal(counts, points)
    nothing = replace(sweeps[0], boxes=sweeps[0].boxes[:0], labels=sweeps[0].labels[:0])
    assert len(raster_and_counts(nothing, CONFIG)[1]) == 0
