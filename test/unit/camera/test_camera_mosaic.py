"""Mosaics of colour cameras that are called grey."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from camera_messages import compressed_msg, encoded, image_msg

from edge_perception.encoders.camera.conversion import image_from_msg
from edge_perception.encoders.camera.mosaic import NOTE, is_mosaic

CHANNEL = {"r": 2, "g": 1, "b": 0}


def mosaic(bgr: np.ndarray, order: str) -> np.ndarray:
    """What a sensor of that order gives: blue and red are weaker than green."""
    raw = (bgr * [0.6, 1.0, 0.5]).astype(np.uint8)
    found = np.empty(bgr.shape[:2], np.uint8)
    for at, colour in enumerate(order):
        rows, columns = slice(at // 2, None, 2), slice(at % 2, None, 2)
        found[rows, columns] = raw[rows, columns, CHANNEL[colour]]
    return found


@pytest.fixture(scope="module")
def pictures(data_dir) -> list[np.ndarray]:
    paths = sorted((data_dir / "pandaset").glob("*/*.jpg"))
    assert paths
    return [cv2.resize(cv2.imread(str(path)), (960, 540)) for path in paths[::3]]


@pytest.mark.parametrize("order", ["rggb", "grbg"])
def test_a_mosaic_that_is_called_grey_is_told(pictures, order):
    for bgr in pictures:
        rows = mosaic(bgr, order)
        messages = (
            image_msg(rows, "mono8"),
            image_msg(rows.astype(np.uint16) * 16, "mono16"),
            compressed_msg(encoded(rows, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 80), "jpeg"),
            compressed_msg(encoded(rows, ".png"), "mono8; png compressed mono8"),
        )
        for message in messages:
            assert NOTE in image_from_msg(message).notes
        assert NOTE not in image_from_msg(image_msg(rows, f"bayer_{order}8")).notes


def test_grey_pictures_are_no_mosaic(pictures):
    rng = np.random.default_rng(1)
    for bgr in pictures:
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        noisy = np.clip(grey + rng.normal(0, 20, grey.shape), 0, 255).astype(np.uint8)
        for each in (grey, noisy, grey // 8):
            assert image_from_msg(image_msg(each, "mono8")).notes == ()
    assert not is_mosaic(np.full((100, 100), 90, np.uint8))
    assert not is_mosaic(rng.integers(0, 256, (100, 100), dtype=np.uint8))
    assert not is_mosaic(np.zeros((4, 4), np.uint8))
