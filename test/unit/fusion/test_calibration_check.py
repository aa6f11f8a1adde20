"""A camera that was turned since its calibration is named; one that is only imprecise is not."""

import math

import numpy as np
import pytest

from edge_perception.core.health import Health, Level
from edge_perception.core.types import DetectedObject, Feature, Geometry, ModelVersion
from edge_perception.fusion.calibration_check import NEEDED, CalibrationCheck
from edge_perception.nodes.fusion.findings import with_calibration

VERSION = ModelVersion(role="", name="", version="", sha256="")
GOOD = Health(level=Level.OK, message="FULL")


def feature(source, places, class_name="car"):
    intrinsics = np.eye(3) if source.startswith("camera") else None
    boxes = tuple(
        DetectedObject(
            class_name=class_name, score=0.8, size_m=(4.0, 2.0, 1.5), yaw_rad=0.0,
            center_m=(range_m * math.cos(bearing), range_m * math.sin(bearing), 0.7),
        )
        for range_m, bearing in places
    )  # fmt: skip
    return Feature(
        stamp_ns=1, frame_id="", source=source, modality=source.split("_")[0], model=VERSION,
        sequence=0, geometry=Geometry(intrinsics=intrinsics), objects=boxes,
    )  # fmt: skip


def seen(turned_deg, *, cycles=40, seed=0, camera="camera"):
    """Three cars a cycle; the camera is off by 0.7 deg and a tenth of the range, at random."""
    rng, check = np.random.default_rng(seed), CalibrationCheck()
    for _ in range(cycles):
        real = [(rng.uniform(8.0, 40.0), rng.uniform(-0.5, 0.5)) for _ in range(3)]
        by_camera = [
            (r * rng.normal(1.0, 0.1), b + math.radians(turned_deg + rng.normal(0.0, 0.7)))
            for r, b in real
        ]
        check.add({"lidar": feature("lidar", real), camera: feature(camera, by_camera)})
    return check.offsets_deg()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("turned_deg", [2.0, -3.0, 5.0])
def test_a_turned_camera_is_named_with_angle_and_side(turned_deg, seed):
    offsets = seen(turned_deg, seed=seed, camera="camera_rear")
    assert offsets["camera_rear"][0] == pytest.approx(turned_deg, abs=0.4)
    health = with_calibration(GOOD, offsets, 1.5)
    assert health.level is Level.WARN
    assert "camera_rear: calibration?" in health.message
    assert ("left" if turned_deg > 0 else "right") in health.message


@pytest.mark.parametrize("seed", range(5))
def test_a_camera_that_is_only_imprecise_is_not(seed):
    offsets = seen(0.0, seed=seed)
    assert abs(offsets["camera"][0]) < 0.4
    health = with_calibration(GOOD, offsets, 1.5)
    assert (health.level, health.message) == (Level.OK, "FULL")
    assert "camera.calibration_deg" in health.values


def test_a_worse_finding_is_not_hidden():
    bad = Health(level=Level.ERROR, message="lidar: MISSING")
    assert with_calibration(bad, {"camera": (5.0, 100)}, 1.5).message == "lidar: MISSING"


def test_few_pairs_other_classes_and_a_lost_lidar_say_nothing():
    assert not seen(5.0, cycles=NEEDED // 3 - 1)
    check = CalibrationCheck()
    for _ in range(100):
        check.add({"camera": feature("camera", [(20.0, 0.1)])})
        check.add(
            {
                "lidar": feature("lidar", [(20.0, 0.1)]),
                "camera": feature("camera", [(20.0, 0.15)], class_name="pedestrian"),
            }
        )
    assert not check.offsets_deg()
