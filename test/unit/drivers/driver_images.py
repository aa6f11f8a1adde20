"""Images and calibrations as the drivers of cameras publish them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from driver_case import PERIOD_NS, REFUSED, STAMP_NS, WARN, Case, header

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
WIDTH, HEIGHT = 320, 240
K = (250.0, 0.0, 159.5, 0.0, 250.0, 119.5, 0.0, 0.0, 1.0)
SIM_NS = 5_000_000_000


@cache
def picture(index: int) -> np.ndarray:
    """A smooth coloured scene with a horizon, BGR, that a mosaic or half the colours can hold."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    sky = rows < HEIGHT * 0.45
    blue = np.where(sky, 190 - rows / 4, 70 + 30 * np.sin(columns / 23.0 + index))
    green = np.where(sky, 140 - rows / 6, 90 + 40 * np.sin(rows / 17.0))
    red = np.where(sky, 90 + rows / 5, 100 + 50 * np.cos(columns / 31.0))
    bgr = np.stack([blue, green, red], axis=-1)
    bgr += np.random.default_rng(index).normal(0, 0.7, bgr.shape)
    return np.clip(bgr, 0, 255).astype(np.uint8)


def image(
    rows: np.ndarray, encoding: str, index: int, *,
    frame_id: str = "camera_optical", start_ns: int = STAMP_NS, pad: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> SimpleNamespace:  # fmt: skip
    """A message of the rows in memory; `pad` bytes of rubbish behind each."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    data = np.full((len(rows), flat.shape[1] + pad), 0xA5, np.uint8)
    data[:, : flat.shape[1]] = flat
    return SimpleNamespace(
        header=header(start_ns + index * PERIOD_NS, frame_id),
        height=size[1],
        width=size[0],
        encoding=encoding,
        is_bigendian=0,
        step=data.shape[1],
        data=data.tobytes(),
    )


def compressed(index: int, text: str, bgr: np.ndarray, suffix: str = ".jpg") -> SimpleNamespace:
    done, data = cv2.imencode(suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    stamp = header(STAMP_NS + index * PERIOD_NS, "camera_optical")
    return SimpleNamespace(header=stamp, format=text, data=data.tobytes())


def info(**changes: Any) -> SimpleNamespace:
    fields: dict[str, Any] = {
        "header": header(STAMP_NS, "camera_optical"),
        "height": HEIGHT,
        "width": WIDTH,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": list(K),
        "r": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
        "p": [K[0], 0, K[2], 0, 0, K[4], K[5], 0, 0, 0, 1.0, 0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }
    return SimpleNamespace(**{**fields, **changes})


def mosaic(bgr: np.ndarray, order: str) -> np.ndarray:
    """One colour a pixel, `order` names those of the first two rows."""
    planes = {"b": bgr[..., 0], "g": bgr[..., 1], "r": bgr[..., 2]}
    found = np.empty(bgr.shape[:2], bgr.dtype)
    for place, colour in enumerate(order):
        row, column = divmod(place, 2)
        found[row::2, column::2] = planes[colour][row::2, column::2]
    return found


def packed_422(bgr: np.ndarray, order: str) -> np.ndarray:
    """BT.601 with a colour for two pixels; `order` is YUYV or UYVY."""
    yuv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV).astype(float)
    y = np.clip(16 + yuv[..., 0] * 219 / 255, 0, 255)
    b, g, r = (bgr[..., place].astype(float) for place in range(3))
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    pairs = {"y": (y[:, ::2], y[:, 1::2]), "u": (u[:, ::2],), "v": (v[:, ::2],)}
    taken = {"y": 0, "u": 0, "v": 0}
    found = np.empty((*bgr.shape[:2], 2), np.uint8)
    flat = found.reshape(bgr.shape[0], -1, 4)
    for place, name in enumerate(order.lower()):
        flat[..., place] = np.rint(pairs[name][taken[name]])
        taken[name] += 1
    return found


def nv12(bgr: np.ndarray) -> np.ndarray:
    """A plane of Y, then U and V in turn for each four pixels."""
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    luma, chroma = i420[:HEIGHT], i420[HEIGHT:].reshape(2, -1)
    return np.concatenate([luma, chroma.T.reshape(HEIGHT // 2, WIDTH)])


def is_the_picture(worst: float, *, grey: bool = False) -> Callable[[Any], None]:
    """Assert that 95 % of a frame's pixels are those of picture 0 within `worst` grey values."""

    def check(frame: Any) -> None:
        expected = picture(0)
        if grey:
            expected = np.repeat(cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
        assert frame.bgr.shape == expected.shape
        off = np.abs(frame.bgr.astype(int) - expected).max(axis=2)
        assert np.quantile(off[2:-2, 2:-2], 0.95) <= worst

    return check


def has_intrinsics(
    model: str = "", *, size: tuple[int, int] = (WIDTH, HEIGHT), count: int = 0
) -> Callable[[Any], None]:
    def check(geometry: Any) -> None:
        assert geometry.image_size == size
        np.testing.assert_allclose(geometry.intrinsics.ravel(), K)
        assert geometry.distortion_model == model
        if model:
            assert len(geometry.distortion) == count

    return check


def bright(index: int, bits: int, of: np.ndarray | None = None) -> np.ndarray:
    """The picture in 16 bits of which the lower `bits` are used."""
    of = picture(index) if of is None else of
    return of.astype(np.uint16) << (bits - 8)


def _case(row: str, make: Callable[[int], Any], **fields: Any) -> Case:
    stamp = make(0).header.stamp
    fields = {"before": ((INFO, info()),), "calibrated": has_intrinsics(), **fields}
    is_raw = hasattr(make(0), "encoding")
    return Case(
        row=row, modality="camera", make=make, kind=IMAGE if is_raw else COMPRESSED,
        stamp_ns=stamp.sec * 10**9 + stamp.nanosec, **fields,
    )  # fmt: skip


def _bgr(index: int, **fields: Any) -> SimpleNamespace:
    return image(picture(index), "bgr8", index, **fields)


def _rgb(index: int, **fields: Any) -> SimpleNamespace:
    return image(picture(index)[..., ::-1], "rgb8", index, **fields)


def _bgra(index: int, **fields: Any) -> SimpleNamespace:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    return image(np.concatenate([picture(index), alpha], axis=2), "bgra8", index, **fields)


def _grey(index: int) -> np.ndarray:
    return cv2.cvtColor(picture(index), cv2.COLOR_BGR2GRAY)


RATIONAL = [0.1, -0.05, 1e-3, -1e-3, 0.01, 0.12, -0.04, 0.005]
BINNED = info(
    height=2 * HEIGHT, width=2 * WIDTH, binning_x=2, binning_y=2,
    k=[500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1],
)  # fmt: skip
HALF = info(height=HEIGHT // 2, width=WIDTH // 2, k=[125.0, 0, 79.5, 0, 125.0, 59.5, 0, 0, 1])
NOTHING = info(k=[0.0] * 9, p=[0.0] * 12, d=[], distortion_model="")


def _scaled(geometry: Any) -> None:
    assert geometry.image_size == (WIDTH // 2, HEIGHT // 2), "of the image only with the image"


CASES = (
    _case("RealSense, colour", _rgb, decoded=is_the_picture(0)),
    _case(
        "RealSense, infrared", lambda n: image(_grey(n), "mono8", n),
        decoded=is_the_picture(0, grey=True),
    ),
    _case(
        "RealSense, depth", lambda n: image(bright(n, 12, _grey(n)), "16UC1", n),
        state=REFUSED, says=("expected a picture, got depth",),
    ),
    _case(
        "ZED", _bgra, decoded=is_the_picture(0),
        before=((INFO, info(distortion_model="rational_polynomial", d=RATIONAL)),),
        calibrated=has_intrinsics("rational_polynomial", count=8),
    ),
    _case(
        "ZED, fisheye", _bgra, decoded=is_the_picture(0),
        before=((INFO, info(distortion_model="equidistant", d=[0.05, -0.01, 1e-3, 0.0, 0.0])),),
        calibrated=has_intrinsics("equidistant", count=4),
        notes=("distortion_model 'equidistant' with 5 coefficients is read as",),
    ),
    _case(
        "OAK-D (depthai)", lambda n: image(nv12(picture(n)), "nv12", n, pad=64),
        decoded=is_the_picture(6),
        before=((INFO, info(distortion_model="rational_polynomial", d=[*RATIONAL, *[0.0] * 6])),),
        calibrated=has_intrinsics("rational_polynomial", count=14),
    ),
    _case(
        "usb_cam", lambda n: image(packed_422(picture(n), "yuyv"), "yuv422_yuy2", n),
        decoded=is_the_picture(6),
    ),
    _case(
        "usb_cam, not calibrated", lambda n: image(packed_422(picture(n), "yuyv"), "yuyv", n),
        before=((INFO, NOTHING),), calibrated=lambda geometry: None,
        state=REFUSED, says=("camera_info: uncalibrated",),
    ),
    _case("v4l2_camera", _rgb, decoded=is_the_picture(0)),
    _case(
        "v4l2_camera, calibrated at another size", _rgb, decoded=is_the_picture(0),
        before=((INFO, HALF),), calibrated=_scaled,
        notes=("camera_info of 160x120 is scaled to images of 320x240",),
    ),
    _case(
        "pylon", lambda n: image(mosaic(picture(n), "rggb"), "bayer_rggb8", n),
        decoded=is_the_picture(6),
        before=((INFO, info(d=[-0.1, 0.02, 0, 0, 0, 0, 0, 0])),),
        calibrated=has_intrinsics("plumb_bob", count=5),
        notes=("distortion_model 'plumb_bob' with 8 coefficients is read as plumb_bob with 5",),
    ),
    _case(
        "pylon, 12 bits",
        lambda n: image(bright(n, 12, mosaic(picture(n), "bggr")), "bayer_bggr16", n),
        decoded=is_the_picture(6), notes=("images of 16 bits use 12 of them",),
    ),
    _case(
        "pylon, binned", lambda n: image(packed_422(picture(n), "uyvy"), "yuv422", n),
        decoded=is_the_picture(6), before=((INFO, BINNED),),
    ),
    _case(
        "aravis", lambda n: image(bright(n, 10, _grey(n)), "mono16", n, pad=6),
        decoded=is_the_picture(1, grey=True), notes=("images of 16 bits use 10 of them",),
    ),
    _case(
        "aravis, compressed mosaic",
        lambda n: compressed(
            n, "bayer_grbg8; jpeg compressed bayer_grbg8", mosaic(picture(n), "grbg")
        ),
        decoded=is_the_picture(8),
    ),
    _case(
        "image_proc, rectified", _bgr, decoded=is_the_picture(0),
        before=((INFO, info(d=[-0.3, 0.1, 0, 0, 0], k=[*K[:2], 150.0, *K[3:]])),),
        notes=("the topic is of rectified images: p of camera_info counts",),
    ),
    _case(
        "image_transport", lambda n: compressed(n, "rgb8; jpeg compressed bgr8", picture(n)),
        decoded=is_the_picture(6),
    ),
    _case(
        "compressed_depth_image_transport",
        lambda n: compressed(n, "16UC1; compressedDepth png", bright(n, 12, _grey(n)), ".png"),
        state=REFUSED, says=("expected a picture, got depth",),
    ),
    _case(
        "Gazebo camera", lambda n: _rgb(n, start_ns=SIM_NS, frame_id="vehicle/camera_link/camera"),
        decoded=is_the_picture(0),
    ),
    _case(
        "Gazebo camera", lambda n: _rgb(n, start_ns=SIM_NS, frame_id="vehicle/camera_link/camera"),
        part="at the pose of its body",
        parameters={"T_base_sensor": [1.5, 0.0, 1.4, 0.0, 0.0, 0.0, 1.0]},
        decoded=is_the_picture(0), state=WARN,
        says=("the camera looks into the sky", "body frame (x forward, z up)"),
    ),
    _case(
        "Isaac Sim camera", lambda n: _rgb(n, start_ns=SIM_NS, frame_id="sim_camera"),
        decoded=is_the_picture(0),
        before=((INFO, info(distortion_model="pinhole", d=[0.0] * 4)),),
    ),
    _case(
        "CARLA camera", lambda n: _bgra(n, start_ns=SIM_NS, frame_id="ego_vehicle/rgb_front"),
        decoded=is_the_picture(0),
    ),
    _case("KITTI by kitti2bag, camera", _bgr, decoded=is_the_picture(0)),
    _case(
        "nuScenes by nuscenes2bag, camera", lambda n: compressed(n, "jpeg", picture(n)),
        decoded=is_the_picture(6), before=((INFO, info(d=[], distortion_model="")),),
    ),
)  # fmt: skip
