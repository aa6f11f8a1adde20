"""An image becomes the network's input tensor: resize, colour order, layout, normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.encoders.camera.letterbox import Letterbox, fit
from edge_perception.encoders.camera.lift import LiftConfig
from edge_perception.models.golden import generated_inputs
from edge_perception.models.manifest import Manifest, TensorSpec


@dataclass(frozen=True, kw_only=True)
class CameraPreprocessing:
    """`preprocessing` of a camera manifest.

    A value of the input is (pixel * scale - mean) / std, mean and std in the order of `color`.
    """

    image_input: str = "images"  # graph input, float32 (1, 3, height, width)
    size: tuple[int, int]  # width and height of the input, px
    resize: str = parameter("letterbox", choices=("letterbox", "stretch"))
    pad_value: float = parameter(0.0, low=0.0, high=255.0)  # as a pixel
    pad: str = parameter("bottom_right", choices=("bottom_right", "center"))
    color: str = parameter("bgr", choices=("bgr", "rgb"))
    scale: float = parameter(1.0, low=1e-6, high=1e3)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    lift_input: str = ""  # graph input that takes the sampling grid, where there is one
    lift: LiftConfig | None = None


def camera_preprocessing(manifest: Manifest) -> CameraPreprocessing:
    """Read and check `preprocessing` of a camera manifest.

    Raises:
        ManifestError: a field is wrong, or does not fit the inputs of the graph.
    """
    where = f"{manifest.name}: manifest.preprocessing"
    config = decode(CameraPreprocessing, manifest.preprocessing, where, error=ManifestError)
    if min(config.std) <= 0:
        raise ManifestError(f"{where}.std: expected positive numbers, got {config.std}")
    if bool(config.lift_input) != (config.lift is not None):
        raise ManifestError(f"{where}.lift: expected both lift_input and lift, or neither")
    shapes: dict[str, tuple[int, ...]] = {
        config.image_input: (1, 3, config.size[1], config.size[0])
    }
    if config.lift is not None:
        rows, columns = config.lift.shape
        shapes[config.lift_input] = (1, len(config.lift.heights_m) * rows, columns, 2)
    declared = {spec.name: (spec.shape, spec.dtype) for spec in manifest.inputs}
    expected = {name: (shape, "float32") for name, shape in shapes.items()}
    if declared != expected:
        raise ManifestError(f"{where}: expects inputs {expected}, manifest.inputs has {declared}")
    return config


class ImagePreprocessor:
    """Fills one tensor again and again; not thread-safe.

    The resize is bilinear without low-pass, as the detectors' own training pipelines do it.
    """

    def __init__(self, config: CameraPreprocessing) -> None:
        self._config = config
        self._gain, self._bias, self._channels = normalisation(config)
        width, height = config.size
        self._tensor = np.empty((1, 3, height, width), np.float32)
        self._planes: list[NDArray[np.uint8]] = []
        self._resized = np.empty((0, 0, 3), np.uint8)
        self._placed: Letterbox | None = None

    def letterbox(self, image_size: tuple[int, int]) -> Letterbox:
        """Return how an image of that size (width, height) is placed in the input."""
        return fit(image_size, self._config.size, self._config.resize, self._config.pad)

    def __call__(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the input tensor, (1, 3, H, W); the next call overwrites it.

        Args:
            bgr: (H, W, 3), any size.
        """
        letterbox = self.letterbox((bgr.shape[1], bgr.shape[0]))
        if letterbox != self._placed:
            self._place(letterbox)
        cv2.resize(bgr, letterbox.inner, dst=self._resized, interpolation=cv2.INTER_LINEAR)
        self._planes = list(cv2.split(self._resized, self._planes or None))  # type: ignore[arg-type]
        for plane, channel in enumerate(self._channels):
            target = self._inner[plane]
            if self._gain[plane] == 1.0:
                target[:] = self._planes[channel]
            else:
                np.multiply(self._planes[channel], self._gain[plane], out=target)
            if self._bias[plane] != 0.0:
                target += self._bias[plane]
        return self._tensor

    def _place(self, letterbox: Letterbox) -> None:
        pad = self._gain * np.float32(self._config.pad_value) + self._bias
        self._tensor[0] = pad[:, None, None]
        (left, top), (width, height) = letterbox.corner, letterbox.inner
        self._inner = self._tensor[0, :, top : top + height, left : left + width]
        self._resized = np.empty((height, width, 3), np.uint8)
        self._planes = []
        self._placed = letterbox


def normalisation(
    config: CameraPreprocessing,
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, int, int]]:
    """Return gain and bias of each plane of the tensor, and the channel of BGR that it takes."""
    std = np.asarray(config.std)
    gain = np.asarray(config.scale / std, dtype=np.float32)
    bias = np.asarray(-np.asarray(config.mean) / std, dtype=np.float32)
    return gain, bias, (0, 1, 2) if config.color == "bgr" else (2, 1, 0)


def golden_inputs(manifest: Manifest) -> dict[str, NDArray]:
    """Return a generated picture after the model's own preprocessing, and noise for the rest."""
    config = camera_preprocessing(manifest)
    picture = TensorSpec(name="picture", dtype="float32", shape=(3, 270, 480))
    pixels = generated_inputs((picture,))["picture"] * 255
    bgr = np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 2, 0))
    return {**generated_inputs(manifest.inputs), config.image_input: ImagePreprocessor(config)(bgr)}
