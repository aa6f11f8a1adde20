"""A laser scan that was made a cloud is no sweep, and a road below is no scan."""

import numpy as np
import pytest

from edge_perception.core.types import PointCloud
from edge_perception.encoders.content import Verdict
from edge_perception.encoders.lidar.content import CloudContentCheck, CloudContentLimits
from edge_perception.encoders.lidar.one_layer import ONE_LAYER, one_layer_told

RNG = np.random.default_rng(7)


def layers(*elevations_deg, tilt_deg=0.0, noise_m=0.01):
    """What a scanner sees in a yard, sensor frame."""
    azimuth = np.repeat(np.radians(np.arange(-135, 135, 0.5)), len(elevations_deg))
    slope = np.tan(np.radians(np.tile(elevations_deg, 540)))
    range_m = 8 + 4 * np.sin(3 * azimuth) + RNG.normal(0, noise_m, azimuth.size)
    flat = np.stack([np.cos(azimuth), np.sin(azimuth), slope], axis=1) * range_m[:, None]
    tilt = np.radians(tilt_deg)
    turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    return (flat @ turn.T).astype(np.float32)


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, 90.0])
def test_a_scan_is_told_however_it_is_mounted(tilt_deg):
    assert one_layer_told(layers(0.0, tilt_deg=tilt_deg)) == ONE_LAYER


def test_it_is_a_doubt_about_the_source():
    cloud = PointCloud(stamp_ns=1, frame_id="laser", xyz_m=layers(0.0), intensity=None)
    found = CloudContentCheck(CloudContentLimits()).check(cloud)
    assert (found.verdict, found.text) == (Verdict.DOUBTFUL, ONE_LAYER)


@pytest.mark.parametrize(
    "xyz",
    [
        layers(-0.4, 0.4),
        layers(-1.6, -0.8, 0.8, 1.6),
        np.pad(RNG.uniform(-40, 40, (500, 2)), ((0, 0), (0, 1)), constant_values=-1.8),
        layers(0.0)[:40],
    ],
    ids=["two layers", "four layers", "an even road without noise", "hardly a point"],
)
def test_other_clouds_are_none(xyz):
    assert one_layer_told(xyz.astype(np.float32)) == ""
