from dataclasses import replace

import numpy as np
import pytest

from edge_perception.simulation.generate import generate_frame
from edge_perception.simulation.ground import draw_ground
from edge_perception.simulation.raycast import cast_rays
from edge_perception.simulation.scenario import Lidar, Scenario
from edge_perception.simulation.scenario_file import load_scenario
from edge_perception.simulation.solids import Material, box, from_parts

AZIMUTH = -np.pi + (np.arange(720) + 0.5) * (2 * np.pi / 720)
SLOPE = np.tan(np.radians(np.linspace(10, -20, 61)))
ORIGIN = np.array([0.0, 0.0, 1.8])


def _flat():
    return draw_ground(np.random.default_rng(0), roughness=0.0)


def _boxes(*spans):
    parts = [box(x, y, z, Material.WALL, (0.5, 0.5, 0.5)) for x, y, z in spans]
    return from_parts(parts, list(range(len(parts))))


def test_rays_meet_flat_ground_where_geometry_says():
    hits = cast_rays(_boxes(), _flat(), ORIGIN, AZIMUTH, SLOPE, np.random.default_rng(0))
    down = SLOPE < -0.02
    expected = np.broadcast_to(1.8 / -SLOPE[down], hits.distance_m[:, down].shape)
    np.testing.assert_allclose(hits.distance_m[:, down], expected, rtol=1e-3)
    assert np.isinf(hits.distance_m[:, SLOPE > 0]).all()


def test_rays_meet_boxes_where_geometry_says():
    solids = _boxes(((10, 12), (-2, 2), (-1, 5)), ((20, 22), (-9, 9), (-1, 5)),
                    ((-8, -7), (-30, 30), (-1, 5)))  # fmt: skip
    hits = cast_rays(solids, _flat(), ORIGIN, AZIMUTH, SLOPE, np.random.default_rng(0))
    x = hits.distance_m * np.cos(AZIMUTH)[:, None]
    y = hits.distance_m * np.sin(AZIMUTH)[:, None]
    for index, near, low, high in ((0, 10, -2, 2), (1, 20, -9, 9), (2, -7, -30, 30)):
        mine = hits.solid == index
        assert mine.any()
        np.testing.assert_allclose(x[mine], near, atol=1e-3)
        assert y[mine].min() >= low - 1e-3
        assert y[mine].max() <= high + 1e-3
    # The far box is hidden exactly where the near one stands.
    level = np.argmin(np.abs(SLOPE))
    hidden = np.abs(np.tan(AZIMUTH)) < 2 / 10
    ahead = np.cos(AZIMUTH) > 0
    assert (hits.solid[hidden & ahead, level] == 0).all()
    beside = (np.abs(np.tan(AZIMUTH)) > 2 / 10 + 0.01) & (np.abs(np.tan(AZIMUTH)) < 9 / 20 - 0.01)
    assert (hits.solid[beside & ahead, level] == 1).all()


def test_windowed_casting_agrees_with_testing_every_ray():
    rng = np.random.default_rng(5)
    spans = []
    for _ in range(25):
        x, y, z = rng.uniform(-20, 20), rng.uniform(-20, 20), rng.uniform(-2, 1)
        if np.hypot(x, y) > 4:
            size = rng.uniform(0.3, 3, 3)
            spans.append(((x, x + size[0]), (y, y + size[1]), (z, z + size[2])))
    solids = _boxes(*spans)
    hits = cast_rays(solids, _flat(), ORIGIN, AZIMUTH, SLOPE, rng)
    direction = np.stack(np.broadcast_arrays(np.cos(AZIMUTH)[:, None], np.sin(AZIMUTH)[:, None],
                                             SLOPE[None]), -1)  # fmt: skip
    best = np.where(SLOPE < 0, 1.8 / np.maximum(-SLOPE, 1e-9), np.inf)
    best = np.broadcast_to(best, hits.distance_m.shape).copy()
    for x, y, z in spans:
        with np.errstate(divide="ignore"):
            a = (np.array([x[0], y[0], z[0]]) - ORIGIN) / direction
            b = (np.array([x[1], y[1], z[1]]) - ORIGIN) / direction
        start, end = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        met = (start < end) & (start > 0)
        best[met] = np.minimum(best[met], start[met])
    close = best < 100
    wrong = np.abs(hits.distance_m[close] - best[close]) > 0.02
    assert wrong.mean() < 2e-4  # rays that graze an edge may go either way


def in_base(frame):
    """Return the points of a cloud in the base frame, (N, 3)."""
    T = frame.T_base_lidar.astype(np.float32)
    return frame.cloud.xyz_m @ T[:3, :3].T + T[:3, 3]


def test_points_of_actors_lie_in_their_boxes_and_are_counted():
    scenario = replace(load_scenario("intersection"), sensors=("lidar",))
    frame = generate_frame(scenario, 21)
    assert frame.cloud is not None
    assert 80_000 < len(frame.cloud.xyz_m) < 115_200
    assert np.isfinite(frame.cloud.xyz_m).all()
    points = in_base(frame)
    seen = [o for o in frame.objects if o.lidar_hits > 30]
    assert len(seen) >= 5
    for item in seen:
        b = item.box
        c, s = np.cos(b.yaw_rad), np.sin(b.yaw_rad)
        offset = points - np.array(b.center_m, np.float32)
        local = np.stack([c * offset[:, 0] + s * offset[:, 1],
                          c * offset[:, 1] - s * offset[:, 0], offset[:, 2]], 1)  # fmt: skip
        # Mirrors, range noise and the motion within a sweep reach over the box a little.
        half = np.array(b.size_m) / 2 + (0.15, 0.2, 0.1)
        inside = int((np.abs(local) < half).all(1).sum())
        assert inside >= 0.97 * item.lidar_hits


def test_sweeps_repeat_with_the_seed_and_change_with_time():
    scenario = replace(load_scenario("straight_road"), sensors=("lidar",))
    first, again, later = (generate_frame(scenario, 3, t).cloud for t in (0.0, 0.0, 0.1))
    np.testing.assert_array_equal(first.xyz_m, again.xyz_m)
    assert first.xyz_m.shape != later.xyz_m.shape or (first.xyz_m != later.xyz_m).any()


def test_dropout_fog_and_fewer_beams_take_returns():
    scenario = Scenario(name="x", sensors=("lidar",))
    clear = len(generate_frame(scenario, 8).cloud.xyz_m)
    half = replace(scenario, lidar=Lidar(dropout=0.5))
    assert len(generate_frame(half, 8).cloud.xyz_m) == pytest.approx(0.5 * clear, rel=0.05)
    fog = generate_frame(replace(scenario, weather="fog"), 8)
    assert len(fog.cloud.xyz_m) < 0.95 * clear
    few = generate_frame(replace(scenario, lidar=Lidar(model="spinning32")), 8).cloud
    assert few.ring.max() <= 31
    assert len(few.xyz_m) < 0.6 * clear


def test_fog_and_rain_put_returns_into_the_free_space_before_the_sensor():
    scenario = Scenario(name="x", sensors=("lidar",), layout="road")
    counts = {}
    for weather in ("clear", "rain", "fog"):
        points = in_base(generate_frame(replace(scenario, weather=weather), 8))
        free = (np.hypot(points[:, 0], points[:, 1]) < 3.2) & (points[:, 2] > 0.9)
        counts[weather] = int(free.sum())
    assert counts["clear"] < 20
    assert counts["rain"] > 100
    assert counts["fog"] > counts["rain"]


def test_fields_of_a_cloud_have_the_promised_ranges():
    cloud = generate_frame(Scenario(name="x", sensors=("lidar",)), 2).cloud
    assert cloud.xyz_m.dtype == np.float32
    assert 0.0 <= cloud.intensity.min() <= cloud.intensity.max() <= 1.0
    assert cloud.ring.dtype == np.uint16
    assert -0.05 <= cloud.time_offset_s.min() < -0.04 < 0.04 < cloud.time_offset_s.max() <= 0.05
