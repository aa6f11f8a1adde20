"""The input tensor made on the device: what `image.cu` needs to do as `ImagePreprocessor` does."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import TensorInfo
from edge_perception.backends.device_program import DeviceProgram, Launch, structure
from edge_perception.encoders.camera.letterbox import Letterbox
from edge_perception.encoders.camera.preprocess import CameraPreprocessing, normalisation

PIXELS = "image.pixels"  # array of a frame, uint8 (height, width, 3), BGR
_ONE = 2048.0  # OpenCV's weights have 11 bits


def image_program(config: CameraPreprocessing, placed: Letterbox) -> DeviceProgram:
    """Return the program for images of one size.

    Args:
        config: of the model.
        placed: where such an image lies in the input.
    """
    (width, height), (columns, rows) = placed.image_size, config.size
    gain, bias, channels = normalisation(config)
    plan = structure(
        {
            "width": width,
            "height": height,
            "columns": columns,
            "rows": rows,
            "left": placed.corner[0],
            "top": placed.corner[1],
            "inner_columns": placed.inner[0],
            "inner_rows": placed.inner[1],
            "channel": np.asarray(channels, np.int32),
            "gain": gain,
            "bias": bias,
            "pad": gain * np.float32(config.pad_value) + bias,
        }
    )
    x_of, x_weight = _taps(width, placed.inner[0], clamped=True)
    y_of, y_weight = _taps(height, placed.inner[1], clamped=False)
    tables = {"x_of": x_of, "x_weight": x_weight, "y_of": y_of, "y_weight": y_weight}
    return DeviceProgram(
        input=config.image_input,
        source=_source(),
        constants={"plan": plan, **tables},
        arrays=(TensorInfo(name=PIXELS, dtype="uint8", shape=(height, width, 3)),),
        scratch={},
        launches=(
            Launch(
                kernel="fill_image",
                threads=rows * columns,
                arguments=(PIXELS, "plan", *tables, config.image_input),
            ),
        ),
    )


def _taps(size: int, resized: int, *, clamped: bool) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the pixel before each resized one, and the weights of that and of the next.

    As OpenCV's resize: at both ends of a row the weight lies on the last pixel (`clamped`), at
    those of a column the two pixels are the same.
    """
    scale = 1.0 / (resized / size)
    position = ((np.arange(resized) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(position).astype(np.int32)
    rest = position - before.astype(np.float32)
    if clamped:
        outside = (before < 0) | (before >= size - 1)
        rest[outside] = 0.0
        before = np.clip(before, 0, size - 1)
    weights = np.stack([np.float32(1.0) - rest, rest], axis=1) * np.float32(_ONE)
    return before.astype(np.int32), np.rint(weights).astype(np.int32)


@cache
def _source() -> str:
    return files(__package__).joinpath("image.cu").read_text(encoding="utf-8")
