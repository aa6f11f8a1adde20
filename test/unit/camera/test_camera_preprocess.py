"""Images into tensors, and pixels back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edge_perception.core.errors import InvalidFrameError, ManifestError
from edge_perception.encoders.camera.letterbox import fit
from edge_perception.encoders.camera.preprocess import (
    CameraPreprocessing,
    ImagePreprocessor,
    camera_preprocessing,
)
from edge_perception.models.manifest import Manifest, TensorSpec

SIZES = [(64, 48), (33, 70), (40, 40), (1920, 1080), (16, 9)]


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(bgr: np.ndarray, config: CameraPreprocessing) -> np.ndarray:
    """Step by step, in the order a textbook has it."""
    width, height = config.size
    letterbox = fit((bgr.shape[1], bgr.shape[0]), config.size, config.resize, config.pad)
    canvas = np.full((height, width, 3), config.pad_value, np.float64)
    left, top = letterbox.corner
    inner = cv2.resize(bgr, letterbox.inner, interpolation=cv2.INTER_LINEAR)
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    if config.color == "rgb":
        canvas = canvas[..., ::-1]
    normal = (canvas * config.scale - config.mean) / config.std
    return normal.transpose(2, 0, 1)[None]


CONFIGS = [
    {"pad_value": 114.0},
    {"pad_value": 114.0, "pad": "center", "color": "rgb"},
    {"resize": "stretch"},
    {
        "color": "rgb",
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "pad": "center",
        "pad_value": 128.0,
    },
    {"mean": (104.0, 117.0, 0.0)},
]


@pytest.mark.parametrize("changes", CONFIGS)
def test_tensor_is_the_textbook_s(changes: dict[str, Any]) -> None:
    config = CameraPreprocessing(size=(56, 40), **changes)
    preprocessor = ImagePreprocessor(config)
    for size in (*SIZES, SIZES[0]):  # the tensor is reused: nothing may stay of the image before
        bgr = picture(*size)
        got = preprocessor(bgr)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, reference(bgr, config), rtol=1e-5, atol=2e-5)


def test_tensor_is_reused() -> None:
    preprocessor = ImagePreprocessor(CameraPreprocessing(size=(32, 32)))
    assert preprocessor(picture(64, 48)) is preprocessor(picture(64, 48))


def test_view_with_padded_rows() -> None:
    wide = picture(80, 48)
    preprocessor = ImagePreprocessor(CameraPreprocessing(size=(32, 32)))
    expected = preprocessor(wide[:, :64].copy()).copy()
    np.testing.assert_array_equal(preprocessor(wide[:, :64]), expected)


@pytest.mark.parametrize("pad", ["bottom_right", "center"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_find_their_way_back(size: tuple[int, int], resize: str, pad: str) -> None:
    """The corners of the pasted image are the corners of the image: half a pixel out."""
    letterbox = fit(size, (416, 416), resize, pad)
    corner, inner = np.array(letterbox.corner), np.array(letterbox.inner)
    assert np.all(corner >= 0)
    assert np.all(corner + inner <= 416)
    got = letterbox.to_image(np.stack([corner, corner + inner]))
    np.testing.assert_allclose(got, [[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]], atol=1e-9)
    if resize == "letterbox":
        assert max(inner) == 416
        assert letterbox.scale[0] == pytest.approx(letterbox.scale[1], rel=0.5 / min(inner))


def test_a_bright_spot_is_found_where_it_was() -> None:
    """Through the pixels themselves, not only the arithmetic."""
    bgr = np.zeros((600, 900, 3), np.uint8)
    bgr[301:321, 611:631] = 255  # centre at 620.5, 310.5
    config = CameraPreprocessing(size=(256, 256), pad="center")
    preprocessor = ImagePreprocessor(config)
    weight = preprocessor(bgr)[0, 0].astype(float)
    row, column = np.mgrid[0:256, 0:256] + 0.5
    spot = np.array([(column * weight).sum(), (row * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(
        preprocessor.letterbox((900, 600)).to_image(spot), [620.5, 310.5], atol=0.5
    )


def test_too_thin_for_the_input() -> None:
    with pytest.raises(InvalidFrameError, match="2000 x 1 px: nothing is left"):
        fit((2000, 1), (416, 416))


def manifest(preprocessing: dict[str, Any], **changes: Any) -> Manifest:
    inputs = (TensorSpec(name="images", dtype="float32", shape=(1, 3, 40, 56)),)
    fields = {"inputs": inputs, "name": "m", "role": "camera", **changes}
    values = dict.fromkeys(("schema_version", "version", "adapter", "outputs", "runtime"))
    bare = object.__new__(Manifest)
    for name, value in {**values, **fields, "preprocessing": preprocessing}.items():
        object.__setattr__(bare, name, value)
    return bare


@pytest.mark.parametrize(
    ("preprocessing", "text"),
    [
        ({}, "manifest.preprocessing.size: expected a value"),
        ({"size": [56, 40], "colour": "bgr"}, "preprocessing.colour: expected one of"),
        ({"size": [56, 40], "color": "gbr"}, "preprocessing.color: expected one of bgr, rgb"),
        ({"size": [56, 40], "std": [1, 0, 1]}, "preprocessing.std: expected positive"),
        ({"size": [56, 40], "pad_value": 300}, "pad_value: expected 0 to 255"),
        ({"size": [40, 56]}, r"expects inputs .*56, 40\)"),
        ({"size": [56, 40], "image_input": "x"}, "expects inputs {'x'"),
        ({"size": [56, 40], "lift_input": "grid"}, "both lift_input and lift"),
    ],
)
def test_manifest_that_does_not_fit(preprocessing: dict[str, Any], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        camera_preprocessing(manifest(preprocessing))


def test_manifest_that_fits() -> None:
    config = camera_preprocessing(manifest({"size": [56, 40], "pad_value": 114}))
    assert (config.size, config.pad_value, config.lift) == ((56, 40), 114.0, None)
