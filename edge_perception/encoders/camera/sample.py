"""An even sample of an image and what content checks read from it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.native import library

ROWS, COLUMNS = 48, 64  # of the sample
TILES = 4  # the sample is judged in TILES x TILES parts too
FULL_WELL = 250  # a pixel this bright carries no more information
_MOST = 16384  # pixels of a sample, as in src/sampling.c


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """Green at every n-th row and column: it carries most of the luminance (ITU-R BT.601)."""

    grey: NDArray[np.uint8]  # (rows, columns)
    bright: float  # grey value that 99 % of the pixels do not exceed
    saturated: float  # share of pixels from FULL_WELL on
    deviation: float  # grey values, as all below
    rest: float  # deviation from a smooth surface; Inf: of too few pixels
    detail: float  # deviation from the mean of the neighbours; Inf likewise
    # Half the mean squared difference of neighbours in the image over the variance. Of white noise
    # it is 1 (von Neumann's ratio, 1941); of pictures it is a few percent.
    noise: float
    tiles: NDArray[np.float64]  # (16,) deviation of each part; NaN: too few pixels


class _Sample(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in (
            "bright", "saturated", "deviation", "rest", "detail", "noise",
        )),
        ("tiles", ctypes.c_double * (TILES * TILES)),
    )  # fmt: skip


def sample_of(bgr: NDArray[np.uint8]) -> ImageSample:
    """Return the sample of an image, (H, W, 3)."""
    compiled = library()
    height, width = bgr.shape[:2]
    step_y, step_x = max(1, height // ROWS), max(1, width // COLUMNS)
    shape = (-(-(height - step_y // 2) // step_y), -(-(width - step_x // 2) // step_x))
    if compiled is None or bgr.strides[1:] != (3, 1) or shape[0] * shape[1] > _MOST:
        return sample_numpy(bgr)
    grey = np.empty(shape, np.uint8)
    found = _Sample()
    basis = _surface(*shape) if min(shape) >= 3 else None
    compiled.held.ep_image_sample(
        ctypes.c_void_p(bgr.ctypes.data),
        *(ctypes.c_int64(value) for value in (height, width, bgr.strides[0], step_y, step_x)),
        ctypes.c_int(FULL_WELL),
        None if basis is None else basis.ctypes,
        grey.ctypes,
        ctypes.byref(found),
    )
    return ImageSample(
        grey=grey,
        bright=found.bright,
        saturated=found.saturated,
        deviation=found.deviation,
        rest=found.rest,
        detail=found.detail,
        noise=found.noise,
        tiles=np.array(found.tiles),
    )


def sample_numpy(bgr: NDArray[np.uint8]) -> ImageSample:
    """Return the same, by NumPy alone."""
    height, width = bgr.shape[:2]
    step_y, step_x = max(1, height // ROWS), max(1, width // COLUMNS)
    grey = bgr[step_y // 2 :: step_y, step_x // 2 :: step_x, 1].copy()
    histogram = np.bincount(grey.reshape(-1), minlength=256)
    rest, detail = _structure(grey)
    return ImageSample(
        grey=grey,
        bright=float(np.searchsorted(np.cumsum(histogram), 0.99 * grey.size)),
        saturated=float(histogram[FULL_WELL:].sum()) / grey.size,
        deviation=float(grey.std()),
        rest=rest,
        detail=detail,
        noise=_noise(grey, bgr[step_y // 2 :: step_y, step_x // 2 + 1 :: step_x, 1]),
        tiles=_tiles(grey),
    )


def _noise(grey: NDArray[np.uint8], neighbour: NDArray[np.uint8]) -> float:
    columns = min(grey.shape[1], neighbour.shape[1])
    if not columns:
        return 0.0
    pixels = grey[:, :columns].astype(np.float32)
    difference = pixels - neighbour[:, :columns]
    return 0.5 * float(np.mean(difference * difference)) / max(float(pixels.var()), 1e-6)


def _structure(grey: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the deviation from a smooth surface, and that from the mean of the neighbours."""
    pixels = grey.astype(np.float32)
    if min(pixels.shape) < 3:
        return float("inf"), float("inf")
    basis = _surface(*pixels.shape)
    flat = pixels.reshape(-1)
    rest = flat - basis @ (basis.T @ flat)
    inner = pixels[1:-1, 1:-1]
    around = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]
    return float(rest.std()), float((inner - around / 4.0).std())


@lru_cache(maxsize=8)
def _surface(rows: int, columns: int) -> NDArray[np.float32]:
    """Return polynomials of second degree over a grid, orthonormal, (rows * columns, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.ascontiguousarray(np.linalg.qr(terms)[0], dtype=np.float32)


def _tiles(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    rows, columns = grey.shape[0] // TILES, grey.shape[1] // TILES
    if not rows or not columns:
        return np.full(TILES * TILES, np.nan)
    tiles = grey[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns)
    return np.asarray(tiles.std(axis=(1, 3), dtype=np.float64).reshape(-1))
