"""The camera's kernel, run on the CPU, against `ImagePreprocessor`."""

from __future__ import annotations

import numpy as np
import pytest
from kernels_on_cpu import OnCpu

from edge_perception.encoders.camera.image_program import PIXELS, image_program
from edge_perception.encoders.camera.preprocess import CameraPreprocessing, ImagePreprocessor
from edge_perception.samples.data import data_folder
from edge_perception.samples.images import decoded
from edge_perception.samples.pandaset import has_pandaset, load_pandaset

RNG = np.random.default_rng(7)


def both(config: CameraPreprocessing, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    preprocessor = ImagePreprocessor(config)
    expected = preprocessor(bgr)
    program = image_program(config, preprocessor.letterbox((bgr.shape[1], bgr.shape[0])))
    on_cpu = OnCpu(program, expected.shape)
    on_cpu({PIXELS: bgr})
    return on_cpu.input, expected


@pytest.mark.parametrize(
    "size", [(480, 270), (416, 416), (100, 37), (832, 468), (1, 1), (1921, 1081)]
)
@pytest.mark.parametrize(
    "config",
    [
        CameraPreprocessing(size=(480, 270)),
        CameraPreprocessing(size=(416, 416), pad="center", pad_value=114.0, color="rgb"),
        CameraPreprocessing(
            size=(320, 128),
            resize="stretch",
            scale=1 / 255,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
    ],
)
def test_every_bit_is_that_of_the_cpu(config, size):
    width, height = size
    bgr = RNG.integers(0, 256, (height, width, 3), np.uint8)
    if min(size) == 1 and config.resize == "letterbox":
        bgr = np.repeat(bgr, 2, axis=0)
    got, expected = both(config, bgr)
    np.testing.assert_array_equal(got, expected)


def test_real_images_are_those_of_the_cpu():
    data = data_folder()
    if data is None or not has_pandaset(data):
        pytest.skip("no real frames: EDGE_PERCEPTION_DATA")
    for sequence in load_pandaset(data).sequences:
        bgr = decoded(sequence[0].jpeg, sequence[0].name)
        got, expected = both(CameraPreprocessing(size=(416, 256), scale=1 / 255), bgr)
        np.testing.assert_array_equal(got, expected)


def test_rows_with_padding_and_pictures_with_edges():
    wide = RNG.integers(0, 256, (90, 200, 3), np.uint8)
    wide[::7] = 255
    wide[:, ::5] = 0
    got, expected = both(CameraPreprocessing(size=(64, 48)), wide[:, :160])
    np.testing.assert_array_equal(got, expected)
