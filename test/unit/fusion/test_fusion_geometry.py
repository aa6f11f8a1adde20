import math

import numpy as np
import pytest
from fusion_scene import CAMERA_M, FOCAL_PX, HEIGHT, WIDTH, box, camera_geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_perception.core.types import Geometry
from edge_perception.fusion.geometry import (
    bev_iou,
    box_corners,
    image_rectangles,
    image_size,
    intersection,
    project,
    rays_base,
    rectangle_iou,
)


def test_corners_turn_with_the_heading():
    corners = box_corners([box(10.0, 5.0, size=(4.0, 2.0, 1.0), yaw=math.pi / 2)])[0]
    assert corners.min(axis=0) == pytest.approx([9.0, 3.0, 0.0])
    assert corners.max(axis=0) == pytest.approx([11.0, 7.0, 1.0])
    assert box_corners([]).shape == (0, 8, 3)


def test_point_ahead_projects_onto_the_principal_point():
    pixels, depth = project(
        np.array([[21.5, 0.0, 1.6], [21.5, 2.0, 0.6], [-5.0, 0.0, 1.6]]), camera_geometry()
    )
    assert pixels[0] == pytest.approx([WIDTH / 2, HEIGHT / 2])
    assert pixels[1] == pytest.approx([WIDTH / 2 - FOCAL_PX * 0.1, HEIGHT / 2 + FOCAL_PX * 0.05])
    assert depth == pytest.approx([20.0, 20.0, -6.5])
    assert np.isnan(pixels[2]).all(), "behind the camera"


@settings(max_examples=50)
@given(st.floats(2.0, 80.0), st.floats(-20.0, 20.0), st.floats(0.0, 4.0), st.floats(-3.0, 3.0))
def test_rays_undo_the_projection(x, y, z, yaw):
    geometry = camera_geometry(yaw)
    pixels, depth = project(np.array([[x, y, z]]), geometry)
    if np.isnan(pixels).any():
        return
    point = np.array(CAMERA_M) + rays_base(pixels, geometry)[0] * depth[0]
    assert point == pytest.approx([x, y, z], abs=1e-6)


def test_rectangles_are_clipped_and_say_how_much_is_seen():
    objects = [box(20.0, 0.0), box(12.0, 8.0), box(-20.0, 0.0), box(2.0, 0.0)]
    rectangles, shares = image_rectangles(box_corners(objects), camera_geometry())
    assert shares[0] == pytest.approx(1.0)
    near_side_m = 20.0 - 2.2 - CAMERA_M[0]
    assert rectangles[0, 2] - rectangles[0, 0] == pytest.approx(FOCAL_PX * 1.8 / near_side_m)
    assert 0.0 < shares[1] < 1.0
    assert rectangles[1, 0] == 0.0
    assert shares[2] == 0.0, "behind"
    assert shares[3] > 0.0, "around the camera: cut at the near plane"
    assert np.isfinite(rectangles).all()
    assert (rectangles[:, 2:] <= [WIDTH - 1, HEIGHT - 1]).all()


def test_no_boxes_no_rectangles():
    rectangles, shares = image_rectangles(box_corners([]), camera_geometry())
    assert rectangles.shape == (0, 4)
    assert shares.shape == (0,)


def test_rectangle_overlap():
    a = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    b = np.array([[5.0, 0.0, 15.0, 10.0]])
    assert intersection(a, b)[:, 0] == pytest.approx([50.0, 0.0])
    assert rectangle_iou(a, b)[:, 0] == pytest.approx([1 / 3, 0.0])
    assert rectangle_iou(a, np.empty((0, 4))).shape == (2, 0)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, 1.0),
        ({"yaw": math.pi}, 1.0),
        ({"dx": 2.0}, 1 / 3),
        ({"dx": 4.0}, 0.0),
        ({"dx": 100.0}, 0.0),
        ({"yaw": math.pi / 2}, 4 / 12),
    ],
)
def test_footprint_overlap(other, expected):
    size = (4.0, 2.0, 1.5)
    first = box(10.0, 3.0, size=size)
    second = box(10.0 + other.get("dx", 0.0), 3.0, size=size, yaw=other.get("yaw", 0.0))
    assert bev_iou(first, second) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60)
@given(
    st.floats(-4, 4),
    st.floats(-4, 4),
    st.floats(-3.2, 3.2),
    st.floats(-3.2, 3.2),
    st.floats(0.3, 8),
)
def test_footprint_overlap_is_symmetric_and_matches_sampling(dx, dy, yaw_a, yaw_b, length):
    a = box(0.0, 0.0, size=(length, 2.0, 1.5), yaw=yaw_a)
    b = box(dx, dy, size=(4.0, 1.8, 1.5), yaw=yaw_b)
    overlap = bev_iou(a, b)
    assert overlap == pytest.approx(bev_iou(b, a), abs=1e-6)
    # Centres of 5 cm cells: points on the boxes' own edges would count whole cells too much.
    axis = np.arange(-8.975, 9.0, 0.05)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    in_a, in_b = _inside(grid, a), _inside(grid, b)
    sampled = (in_a & in_b).sum() / max((in_a | in_b).sum(), 1)
    assert overlap == pytest.approx(sampled, abs=0.08)


def _inside(grid, item):
    shifted = grid - np.array(item.center_m[:2])
    cos, sin = math.cos(item.yaw_rad), math.sin(item.yaw_rad)
    along = shifted @ np.array([cos, sin])
    across = shifted @ np.array([-sin, cos])
    return (np.abs(along) <= item.size_m[0] / 2) & (np.abs(across) <= item.size_m[1] / 2)


def test_image_size_is_guessed_from_the_principal_point():
    geometry = Geometry(intrinsics=camera_geometry().intrinsics)
    assert image_size(geometry) == (WIDTH, HEIGHT)
