"""Messages as rclpy and bag readers give them, without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np


def header(stamp_ns: int = 1_500_000_001, frame_id: str = "camera_optical") -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def image_msg(
    rows: np.ndarray,
    encoding: str,
    *,
    size: tuple[int, int] | None = None,
    padding: int = 0,
    big_endian: bool = False,
) -> SimpleNamespace:
    """A message of `rows`, (memory rows, ...); `padding` bytes of rubbish follow each row."""
    if rows.dtype.itemsize == 2:
        rows = rows.astype(">u2" if big_endian else "<u2")
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    padded = np.full((len(rows), flat.shape[1] + padding), 0xA5, np.uint8)
    padded[:, : flat.shape[1]] = flat
    width, height = size or (rows.shape[1], rows.shape[0])
    return SimpleNamespace(
        header=header(),
        width=width,
        height=height,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=padded.tobytes(),
    )


def compressed_msg(data: bytes, text: str = "jpeg") -> SimpleNamespace:
    return SimpleNamespace(header=header(), format=text, data=data)


def encoded(bgr: np.ndarray, suffix: str, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, bgr, list(options))
    assert done
    return data.tobytes()


def camera_info(**changes: Any) -> SimpleNamespace:
    fields: dict[str, Any] = {
        "header": header(),
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0],
        "p": [400.0, 0.0, 300.0, 0.0, 0.0, 410.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**{**fields, **changes})
