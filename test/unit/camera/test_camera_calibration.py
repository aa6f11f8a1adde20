"""CameraInfo, resized images and lenses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from camera_messages import camera_info

from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import Geometry
from edge_perception.encoders.camera import SPEC as CAMERA
from edge_perception.encoders.camera.calibration import (
    geometry_of_image,
    project,
    undistort_boxes,
    undistort_pixels,
)
from edge_perception.encoders.camera.camera_info import (
    geometry_from_camera_info,
    geometry_of_rectified,
)

PLUMB_BOB = [-0.28, 0.09, 0.001, -0.0008, -0.01]
RATIONAL = [0.1, 0.02, 0.0004, 0.0002, 0.001, 0.4, 0.05, 0.001]
EQUIDISTANT = [0.05, -0.01, 0.003, -0.001]
LENSES = [
    ("plumb_bob", PLUMB_BOB),
    ("rational_polynomial", RATIONAL),
    ("equidistant", EQUIDISTANT),
]


def bend(model: str, d: list[float], x: float, y: float) -> tuple[float, float]:
    """A ray (x / z, y / z) through the lens, by the formulas of the ROS CameraInfo models."""
    r2 = x * x + y * y
    if model == "equidistant":
        r = np.sqrt(r2)
        theta = np.arctan(r)
        bent = theta * (1 + sum(k * theta ** (2 * i + 2) for i, k in enumerate(d)))
        return x * bent / r, y * bent / r
    k1, k2, p1, p2, k3 = d[:5]
    k4, k5, k6 = d[5:8] if len(d) > 5 else (0.0, 0.0, 0.0)
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def lens(model: str, d: list[float]) -> Geometry:
    return geometry_from_camera_info(camera_info(distortion_model=model, d=d))


def test_pinhole() -> None:
    geometry = geometry_from_camera_info(camera_info())
    np.testing.assert_array_equal(geometry.intrinsics, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    assert geometry.image_size == (640, 480)
    assert geometry.distortion is None
    assert geometry.distortion_model == ""
    np.testing.assert_array_equal(geometry.T_base_sensor, np.eye(4))


def test_p_where_k_is_not_set() -> None:
    geometry = geometry_from_camera_info(camera_info(k=[0.0] * 9, d=PLUMB_BOB))
    assert geometry.intrinsics[0, 0] == 400.0
    assert geometry.distortion is None  # P is of the rectified image


def test_an_identity_in_the_place_of_k_says_nothing() -> None:
    """ensenso/ros_driver#59: k and r are identities, the calibration is in p."""
    one = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert geometry_from_camera_info(camera_info(k=one, d=[])).intrinsics[0, 0] == 400.0
    for changes in ({"p": [0.0] * 12}, {"d": PLUMB_BOB}):  # P belongs to no image with distortion
        with pytest.raises(InvalidFrameError, match="a focal length of 1"):
            geometry_from_camera_info(camera_info(k=one, **changes))


def test_k_of_the_binned_image_beside_the_size_of_the_full_one() -> None:
    """astuff/avt_vimba_camera#82: calibrated with binning."""
    k = [299.5, 0.0, 254.1, 0.0, 300.1, 183.9, 0.0, 0.0, 1.0]
    size = {"width": 2064, "height": 1544, "k": k}
    geometry = geometry_from_camera_info(camera_info(**size, binning_x=4, binning_y=4))
    assert geometry.image_size == (516, 386)
    np.testing.assert_array_equal(geometry.intrinsics.ravel(), k)
    assert "k of camera_info is that of the binned image" in geometry.notes[0]
    with pytest.raises(InvalidFrameError, match="2064 x 1544"):
        geometry_from_camera_info(camera_info(**size))


def test_rows_that_a_codec_added_move_nothing() -> None:
    geometry = geometry_from_camera_info(
        camera_info(width=1920, height=1080, k=[1000.0, 0, 960.0, 0, 1000.0, 540.0, 0, 0, 1.0])
    )
    coded = geometry_of_image(geometry, (1920, 1088))
    assert coded.image_size == (1920, 1088)
    np.testing.assert_array_equal(coded.intrinsics, geometry.intrinsics)
    assert coded.notes == (
        "the image has 1920x1088: rows that a codec added below those of camera_info",
    )
    for size in ((1920, 1096), (1920, 1072), (1984, 1088)):
        with pytest.raises(InvalidFrameError, match="of another shape"):
            geometry_of_image(geometry, size)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/image_raw", False),
        ("/camera/image_raw/compressed", False),
        ("/rectory/image_raw", False),
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("/zed/zed_node/rgb/color/rect/image", True),
    ],
)
def test_p_of_images_that_the_topic_calls_rectified(topic: str, rectified: bool) -> None:
    geometry = CAMERA.calibration_of(camera_info(d=PLUMB_BOB), [topic])
    assert geometry.intrinsics is not None
    assert (geometry.distortion is None) is rectified
    assert geometry.intrinsics[0, 0] == (400.0 if rectified else 500.0)
    assert bool(geometry.notes) is rectified


def test_rectified_images_without_p_are_refused_where_the_lens_bends() -> None:
    nothing = [0.0] * 12
    with pytest.raises(InvalidFrameError, match="p expects the calibration of the rectified"):
        geometry_of_rectified(camera_info(d=PLUMB_BOB, p=nothing))
    straight = geometry_of_rectified(camera_info(p=nothing))
    np.testing.assert_array_equal(
        straight.intrinsics, geometry_from_camera_info(camera_info()).intrinsics
    )


def test_region_of_interest_and_binning() -> None:
    roi = SimpleNamespace(x_offset=100, y_offset=40, width=400, height=300, do_rectify=False)
    geometry = geometry_from_camera_info(camera_info(roi=roi, binning_x=2, binning_y=2))
    assert geometry.image_size == (200, 150)
    # The centre of pixel 320 of the full image is 220 of the region, which continuous
    # coordinates put at 220.5 / 2 = 110.25, 109.75 of pixel centres.
    np.testing.assert_allclose(geometry.intrinsics, [[250, 0, 109.75], [0, 255, 99.75], [0, 0, 1]])


@pytest.mark.parametrize(
    ("x_offset", "y_offset", "width", "height"), [(100, 0, 640, 480), (0, 300, 320, 200)]
)
def test_a_region_that_is_not_inside_the_image_moves_nothing(
    x_offset: int, y_offset: int, width: int, height: int
) -> None:
    """Drivers that say the region's size as that of the image, and a calibration of it."""
    roi = SimpleNamespace(
        x_offset=x_offset, y_offset=y_offset, width=width, height=height, do_rectify=False
    )
    geometry = geometry_from_camera_info(camera_info(roi=roi))
    assert geometry.image_size == (640, 480)
    plain = geometry_from_camera_info(camera_info())
    np.testing.assert_array_equal(geometry.intrinsics, plain.intrinsics)
    assert "roi of camera_info is not inside its image" in geometry.notes[0]


@pytest.mark.parametrize("d", [[], [0.0] * 4, [0.0] * 6])
@pytest.mark.parametrize(
    "name",
    ["omni", "omnidirectional", "mei", "ucm", "eucm", "double_sphere", "ds", "ftheta", "fisheye62",
     "fthetaPolynomial", "fisheyePolynomial", "equirectangular", "cylindrical", "stereographic",
     "scaramuzza", "ocam", "equisolid", "kannala_brandt6", "thin_prism_fisheye"],
)  # fmt: skip
def test_a_wide_lens_without_coefficients_is_no_pinhole(name: str, d: list[float]) -> None:
    with pytest.raises(InvalidFrameError, match=r"unknown distortion_model|expects 4 finite"):
        geometry_from_camera_info(camera_info(distortion_model=name, d=d))


@pytest.mark.parametrize("name", ["rectified", "division", "Inverse Brown Conrady", "none", ""])
def test_a_lens_that_bends_nothing_is_one(name: str) -> None:
    geometry = geometry_from_camera_info(camera_info(distortion_model=name, d=[0.0] * 5))
    assert geometry.distortion is None


@pytest.mark.parametrize(
    ("name", "d", "like"),
    [("KannalaBrandt8", EQUIDISTANT, "equidistant"), ("rational", RATIONAL, "rational_polynomial")],
)
def test_other_names_of_lenses_that_are_known(name: str, d: list[float], like: str) -> None:
    geometry = geometry_from_camera_info(camera_info(distortion_model=name, d=d))
    assert geometry.distortion_model == like
    np.testing.assert_array_equal(geometry.distortion, d)


def test_image_of_another_size() -> None:
    geometry = geometry_from_camera_info(camera_info())
    half = geometry_of_image(geometry, (320, 240))
    point = np.array([[0.4, -0.2, 3.0]])
    full_px, half_px = project(point, geometry), project(point, half)
    np.testing.assert_allclose(half_px + 0.5, (full_px + 0.5) / 2)
    assert geometry_of_image(geometry, (640, 480)) is geometry


@pytest.mark.parametrize("size", [(1280, 480), (640, 960)])
def test_two_pictures_in_one_are_named(size: tuple[int, int]) -> None:
    geometry = geometry_from_camera_info(camera_info())
    with pytest.raises(InvalidFrameError, match="two pictures in one, of a stereo camera"):
        geometry_of_image(geometry, size)


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_projection_follows_the_model(model: str, d: list[float]) -> None:
    geometry = lens(model, d)
    rng = np.random.default_rng(0)
    rays = rng.uniform(-0.45, 0.45, (50, 2))
    got = project(np.c_[rays, np.ones(50)] * rng.uniform(1, 50, (50, 1)), geometry)
    bent = np.array([bend(model, d, x, y) for x, y in rays])
    np.testing.assert_allclose(got, bent * [500, 510] + [320, 240], atol=1e-6)


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_undistortion_is_its_inverse(model: str, d: list[float]) -> None:
    rng = np.random.default_rng(1)
    rays = rng.uniform(-0.5, 0.5, (200, 2))
    pixels = np.array([bend(model, d, x, y) for x, y in rays]) * [500, 510] + [320, 240]
    got = undistort_pixels(pixels, lens(model, d))
    np.testing.assert_allclose(got, rays * [500, 510] + [320, 240], atol=1e-3)


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_undistorted_box_holds_what_the_box_held(model: str, d: list[float]) -> None:
    geometry = lens(model, d)
    box = np.array([[20.0, 30.0, 220.0, 180.0]])
    low, high = undistort_boxes(box, geometry)[0].reshape(2, 2)
    inside = np.random.default_rng(2).uniform(box[0, :2], box[0, 2:], (500, 2))
    mapped = undistort_pixels(inside, geometry)
    assert np.all(mapped > low - 1.5)
    assert np.all(mapped < high + 1.5)


def test_without_distortion_nothing_moves() -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert undistort_boxes(boxes, lens("plumb_bob", [0.0] * 5)) is boxes


def test_nothing_behind_the_camera() -> None:
    got = project(np.array([[0.1, 0.1, -2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), lens(*LENSES[0]))
    np.testing.assert_array_equal(np.isnan(got[:, 0]), [True, True, False])


def test_points_past_the_field_do_not_fold_back_into_the_image() -> None:
    barrel = [-0.4, 0.05, 0.0, 0.0, 0.0]
    x, _ = bend("plumb_bob", barrel, 1.8, 0.0)
    assert 320 < 500 * x + 320 < 640  # the bare polynomial puts it in the image
    geometry = lens("plumb_bob", barrel)
    got = project(np.array([[1.8, 0.0, 1.0], [0.5, 0.0, 1.0]]), geometry)
    np.testing.assert_array_equal(np.isnan(got[:, 0]), [True, False])


def test_fisheye_past_80_degrees_has_no_pinhole_image() -> None:
    wide = camera_info(
        distortion_model="equidistant",
        d=[0.0, 0.0, 0.0, 1e-9],
        k=[200.0, 0.0, 320.0, 0.0, 200.0, 240.0, 0.0, 0.0, 1.0],
    )
    geometry = geometry_from_camera_info(wide)
    edge = 320 + 200 * np.radians([70.0, 88.0])
    got = undistort_pixels(np.stack([edge, [240.0, 240.0]], axis=1), geometry)
    assert got[0, 0] == pytest.approx(320 + 200 * np.tan(np.radians(70)), abs=1e-3)
    assert np.isnan(got[1]).all()
    boxes = np.array([[edge[0], 200.0, edge[1], 280.0], [edge[1], 239.0, edge[1] + 2, 241.0]])
    seen = undistort_boxes(boxes, geometry)
    assert np.isfinite(seen[0]).all()
    assert np.isnan(seen[1]).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "uncalibrated"),
        ({"k": [-1.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "uncalibrated"),
        ({"k": [float("nan"), 0, 0, 0, 1, 0, 0, 0, 1]}, "uncalibrated"),
        ({"width": 0}, "image size, got 0 x 480"),
        ({"distortion_model": "fov", "d": [0.9]}, "unknown distortion_model 'fov'; known: plumb"),
        ({"d": [0.1, 0.2]}, "plumb_bob expects 4 or 5, 8, 12 or 14 finite"),
        ({"d": [0.1, float("inf"), 0, 0, 0]}, "finite"),
    ],
)
def test_refused(changes: dict, text: str) -> None:
    with pytest.raises(InvalidFrameError, match=text):
        geometry_from_camera_info(camera_info(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"intrinsics": np.eye(3) * 2},
        {"intrinsics": None},
        {"image_size": (8, 8)},
        {"other_sizes": {(4, 4): np.eye(3)}},
        {"other_sizes": {(2, 2): np.eye(3) * 2}},
        {"distortion": np.zeros(5)},
        {"distortion": None},
        {"distortion_model": "equidistant"},
        {"T_base_sensor": np.eye(4) * 2},
        {"pose_source": "tf"},
        {"microphones_m": np.zeros((1, 3))},
        {"notes": ("odd",)},
    ],
)
def test_a_calibration_says_the_same_only_where_every_value_is_equal(changes: dict) -> None:
    def known() -> Geometry:
        return Geometry(
            intrinsics=np.eye(3),
            image_size=(4, 2),
            other_sizes={(2, 2): np.eye(3)},
            distortion_model="plumb_bob",
            distortion=np.ones(5),
        )

    assert known().says_the_same(known())
    changed = replace(known(), **changes)
    assert not changed.says_the_same(known())
    assert not known().says_the_same(changed)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [1e6, -1e9, 5.0, 5.0, 1e12]),
        ("plumb_bob", [-9.0, 40.0, 0.0, 0.0, -300.0]),
        ("plumb_bob", [-0.33, 0.12, 300.0, 0.0, 0.0]),  # of one coefficient the unit was lost
        ("rational_polynomial", [-1e8, 0.0, 0.0, 0.0, 0.0, 1e3, 0.0, 0.0]),
        ("equidistant", [-50.0, 900.0, 0.0, 0.0]),
    ],
)
def test_coefficients_of_no_lens_are_refused(model: str, d: list[float]) -> None:
    """Finite, and light comes to hardly any pixel: the camera would see nothing and be OK."""
    with pytest.raises(InvalidFrameError, match="expects coefficients of a lens"):
        geometry_from_camera_info(camera_info(distortion_model=model, d=d))


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("plumb_bob", [-0.45, 0.25, 0.0, 0.0, -0.08]),  # wide: the corners have no ray
        ("plumb_bob", [0.3, -0.9, 0.001, 0.0, 0.7]),
        ("equidistant", [0.1, -0.05, 0.02, -0.01]),
    ],
)
def test_strong_lenses_are_lenses(model: str, d: list[float]) -> None:
    wide = [250.0, 0.0, 320.0, 0.0, 250.0, 240.0, 0.0, 0.0, 1.0]
    assert (
        geometry_from_camera_info(camera_info(distortion_model=model, d=d, k=wide)).distortion
        is not None
    )


def test_k_that_was_written_column_by_column_is_named() -> None:
    k = np.array(camera_info().k).reshape(3, 3).T.ravel().tolist()
    with pytest.raises(InvalidFrameError, match=r"last row of \(320, 240, 1\): written column by"):
        geometry_from_camera_info(camera_info(k=k))
