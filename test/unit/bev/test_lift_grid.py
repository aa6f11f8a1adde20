from dataclasses import replace

import numpy as np
import pytest

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import DetectedObject, Geometry
from edge_perception.encoders.camera.lift import (
    OUTSIDE,
    ImagePlacement,
    LiftConfig,
    lift_grid,
    seen_cells,
    shown,
)

OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
LIFT = LiftConfig(heights_m=(0.0, 1.6))
PLAIN = ImagePlacement(size=(512, 288))


def camera(yaw: float = 0.0) -> Geometry:
    """A level camera 1.6 m above the base origin."""
    pose = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    pose[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ OPTICAL
    pose[:3, 3] = (0.0, 0.0, 1.6)
    K = np.array([[400.0, 0, 255.5], [0, 400.0, 143.5], [0, 0, 1]])
    return Geometry(T_base_sensor=pose, intrinsics=K, image_size=(512, 288))


def at(grid: np.ndarray, layer: int, x: float, y: float) -> np.ndarray:
    row, column = int((x + 25.6) / 0.8), int((y + 25.6) / 0.8)
    return grid[0, layer * LIFT.shape[0] + row, column]


def test_shape_and_type():
    grid = lift_grid(camera(), LIFT, PLAIN)
    assert grid.shape == (1, 192, 64, 2)
    assert grid.dtype == np.float32


def test_points_at_camera_height_lie_on_the_horizon():
    x, y = 20.4, 2.8  # centre of a cell
    u, v = at(lift_grid(camera(), LIFT, PLAIN), 1, x, y)
    assert v == pytest.approx(0.0, abs=1e-6)
    assert u == pytest.approx(-400 * y / x / 256, abs=1e-6)  # left is negative


def test_ground_lies_below_the_horizon_by_height_over_distance():
    _, v = at(lift_grid(camera(), LIFT, PLAIN), 0, 20.4, 0.4)
    assert v == pytest.approx(400 * 1.6 / 20.4 / 144, abs=1e-6)


def test_behind_and_beside_is_outside():
    grid = lift_grid(camera(), LIFT, PLAIN)
    assert (at(grid, 0, -10.0, 0.4) == OUTSIDE).all()
    assert (at(grid, 0, 5.0, 20.0) == OUTSIDE).all()


def test_turned_camera_sees_what_is_there():
    grid = lift_grid(camera(yaw=np.pi), LIFT, PLAIN)
    assert (at(grid, 0, -20.0, 0.4) > -1).all()
    assert (at(grid, 0, 20.0, 0.4) == OUTSIDE).all()


def test_letterbox_scale_and_offset():
    original = replace(
        camera(),
        intrinsics=np.array([[800.0, 0, 511.5], [0, 800.0, 255.5], [0, 0, 1]]),
        image_size=(1024, 512),
    )
    placed = ImagePlacement(size=(512, 288), scale=(0.5, 0.5), offset=(0.0, 16.0))
    np.testing.assert_allclose(
        at(lift_grid(original, LIFT, placed), 1, 20.4, 2.8),
        at(lift_grid(camera(), LIFT, PLAIN), 1, 20.4, 2.8),
        atol=1e-6,
    )


def test_padding_is_never_sampled():
    grid = lift_grid(camera(), LIFT, ImagePlacement(size=(512, 384), offset=(0.0, 0.0)))
    inside = grid[grid[..., 0] > -1.5]
    assert inside[:, 1].max() <= 288 / 384 * 2 - 1


@pytest.mark.parametrize("missing", ["intrinsics", "image_size"])
def test_without_calibration_it_refuses(missing):
    with pytest.raises(InvalidFrameError, match="intrinsics and image size"):
        lift_grid(replace(camera(), **{missing: None}), LIFT, PLAIN)


def car(x: float, y: float) -> DetectedObject:
    return DetectedObject(
        class_name="car", score=0.4, center_m=(x, y, 0.8), size_m=(4.4, 1.8, 1.5), yaw_rad=0.0
    )


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    [
        (20.0, 2.0, True),
        (20.0, 14.0, True),  # its centre is a little beside the image: 0.64 of the distance
        (-23.6, 22.0, False),  # behind the camera, in the corner of the grid
        (5.0, 20.0, False),
        (60.0, 0.0, False),  # beyond the grid
        (-40.0, -40.0, False),
        (1e31, -1e31, False),
        (np.nan, 0.0, True),  # no place: what checks objects refuses it by name
        (np.inf, 0.0, True),
    ],
)
def test_what_no_cell_shows_is_no_object(x, y, kept):
    seen = seen_cells(lift_grid(camera(), LIFT, PLAIN), LIFT)
    assert bool(shown((car(x, y),), seen, LIFT)) is kept
