"""From light to pixels: bloom, rain on the way, a soiled glass, noise and tone curve."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.simulation.seeding import stream
from edge_perception.simulation.soiling import soil


def apply_lens(
    colour: NDArray[np.float32], glow: NDArray[np.float32], *, weather: str, light: str,
    dirty_lens: float, wet_lens: float, seed: int, rng: np.random.Generator,
) -> NDArray[np.uint8]:  # fmt: skip
    """Return the image of linear light, (H, W, 3) BGR.

    Args:
        colour: (H, W, 3), linear light.
        glow: (H, W, 3), the part of it that lamps emit.
        weather: ``rain`` adds streaks, ``fog`` widens the bloom.
        light: ``night`` and ``dusk`` raise gain and noise.
        dirty_lens: Share of the view that dirt covers, 0 to 1.
        wet_lens: Share of the view that drops cover, 0 to 1.
        seed: Fixes where both are.
        rng: Noise of this image.
    """
    height, width = colour.shape[:2]
    if light != "day" or weather == "fog":
        colour = colour + _bloom(glow, wide=weather != "clear")
    if weather == "rain":
        colour = colour + _streaks(height, width, rng) * (0.25 if light == "day" else 0.08)
    colour = soil(colour, dirty=dirty_lens, wet=wet_lens, seed=seed)
    gain = {"day": 1.05, "dusk": 1.5, "night": 2.1}[light]
    exposed = cv2.GaussianBlur(colour * np.float32(gain), (3, 3), 0.6)
    # sRGB is close to a power of 1 / 2.2; albedos here are half-way to it, so 3 / 4 is left.
    root = np.sqrt(np.clip(exposed, 0, 1))
    toned = root * np.sqrt(root)
    deviation = {"day": 0.012, "dusk": 0.02, "night": 0.03}[light]
    grain = _grain(height, width, rng) * np.float32(deviation * 255.0)
    bytes_ = cv2.convertScaleAbs(np.maximum(toned * 255 + cv2.merge([grain] * 3), 0))
    return np.asarray(bytes_, np.uint8)


@functools.lru_cache(maxsize=1)
def _grain_sheet() -> NDArray[np.float32]:
    return stream(0, "grain").standard_normal((1024, 1024), np.float32)


def _grain(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return unit noise: one sheet, shifted anew for every image, as drawing it takes longer."""
    sheet = _grain_sheet()
    size = len(sheet)
    rows = (np.arange(height) + int(rng.integers(size))) % size
    columns = (np.arange(width) + int(rng.integers(size))) % size
    return np.ascontiguousarray(sheet[rows][:, columns])


def _bloom(glow: NDArray, *, wide: bool) -> NDArray[np.float32]:
    height, width = glow.shape[:2]
    small = cv2.resize(
        glow, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA
    )
    near = cv2.GaussianBlur(small, (0, 0), width / 500.0)
    far = cv2.GaussianBlur(small, (0, 0), width / (60.0 if wide else 120.0))
    light = cv2.resize(0.9 * near + 1.6 * far, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(light, np.float32)


def _streaks(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    layer = np.zeros((height, width), np.float32)
    count = int(height * width / 1500)
    u, v = rng.integers(0, width, count), rng.integers(0, height, count)
    length = rng.integers(height // 60 + 2, height // 20 + 4, count)
    for a, b, n in zip(u.tolist(), v.tolist(), length.tolist(), strict=True):
        cv2.line(layer, (a, b), (a + n // 8, b + n), 0.5, 1)
    return np.asarray(cv2.blur(layer, (2, 3)), np.float32)[..., None]
