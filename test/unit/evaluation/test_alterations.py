"""Sweeps as other sensors have them, and how sure a figure of few frames is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders.lidar.obstacles import to_base
from edge_perception.evaluation.alterations import KINDS
from edge_perception.evaluation.resampling import interval


@pytest.fixture
def sweep() -> tuple[PointCloud, Geometry]:
    rng = np.random.default_rng(0)
    distance, azimuth = rng.uniform(5, 40, 8000), rng.uniform(-np.pi, np.pi, 8000)
    base = np.c_[distance * np.cos(azimuth), distance * np.sin(azimuth), np.zeros(8000)]
    base[:800, 2] = rng.uniform(0, 2, 800)
    T = np.eye(4)
    T[:3, :3] = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]  # looks to the right
    T[:3, 3] = 1.0, 0.0, 1.8
    xyz = ((base - T[:3, 3]) @ T[:3, :3]).astype(np.float32)
    bright = rng.exponential(0.05, 8000).clip(0, 1).astype(np.float32)
    cloud = PointCloud(stamp_ns=1, frame_id="lidar", xyz_m=xyz, intensity=bright)
    return cloud, Geometry(T_base_sensor=T)


def altered(sweep, kind, name):
    before = sweep[0].xyz_m.copy(), sweep[0].intensity.copy(), sweep[1].T_base_sensor.copy()
    found = KINDS[kind].alterations[name](*sweep, np.random.default_rng(1))
    for value, kept in zip(
        (sweep[0].xyz_m, sweep[0].intensity, sweep[1].T_base_sensor), before, strict=True
    ):
        np.testing.assert_array_equal(value, kept)  # the next one starts from the same
    return found


def test_the_share_that_is_said_lies_below_the_road(sweep) -> None:
    for share in (0.005, 0.02, 0.05):
        cloud, pose = altered(sweep, "returns below the road", f"{share:.1%}")
        z = to_base(cloud.xyz_m, pose)[:, 2]
        assert (z < -0.45).mean() == pytest.approx(share, rel=0.3)
        assert z.min() > -3.1
        same = np.isclose(cloud.xyz_m, sweep[0].xyz_m, atol=1e-4).all(axis=1)
        assert same.mean() == pytest.approx(1 - share, abs=0.01)


def test_brightness_is_read_as_a_driver_gives_it(sweep) -> None:
    quarter = altered(sweep, "intensity", "times 0.25")[0].intensity
    np.testing.assert_allclose(quarter, sweep[0].intensity / 4, atol=1e-5)
    clipped = altered(sweep, "intensity", "times 16, clipped at 255")[0].intensity
    assert (clipped == 1.0).mean() > 0.2
    assert altered(sweep, "intensity", "absent")[0].intensity is None
    # Floats above 255 count photons to whoever reads them: scaled by the brightest.
    assert altered(sweep, "intensity", "times 4")[0].intensity.max() == 1.0


def test_told_poses_are_wrong_and_sweeps_are_not(sweep) -> None:
    for name in KINDS["mounting"].alterations:
        cloud, pose = altered(sweep, "mounting", name)
        assert cloud is sweep[0]
        lifted = to_base(cloud.xyz_m, pose)[:, 2] - to_base(cloud.xyz_m, sweep[1])[:, 2]
        most = np.tan(np.deg2rad(3)) * 45 if "degrees" in name else 0.5
        assert 0.45 < np.abs(lifted).max() < most + 0.1
        np.testing.assert_allclose(
            pose.T_base_sensor[:3, :3] @ pose.T_base_sensor[:3, :3].T, np.eye(3), atol=1e-12
        )


def test_beams_and_view(sweep) -> None:
    count = len(sweep[0].xyz_m)
    assert len(altered(sweep, "beams", "half (32)")[0].xyz_m) == pytest.approx(count / 2, rel=0.1)
    twice = altered(sweep, "beams", "twice (128)")[0]
    assert (len(twice.xyz_m), len(twice.intensity)) == (2 * count, 2 * count)
    narrow, pose = altered(sweep, "view", "70 degrees, solid state")
    base = to_base(narrow.xyz_m, pose)
    assert 0 < len(base) < count / 3
    assert (np.abs(np.arctan2(base[:, 1], base[:, 0] - 1.0)) < np.deg2rad(35.1)).all()


def test_an_interval_holds_the_mean_and_tells_how_many() -> None:
    rng = np.random.default_rng(3)
    mean = lambda some: float(np.mean(some))  # noqa: E731
    few = interval(list(rng.normal(5, 1, 8)), mean)
    many = interval(list(rng.normal(5, 1, 800)), mean)
    assert few[0] < 5 < few[1]
    assert many[0] < 5 < many[1]
    assert few[1] - few[0] > 4 * (many[1] - many[0])
    assert interval([1.0], mean) is None
    assert interval([1.0, 2.0], lambda _: float("nan")) is None
