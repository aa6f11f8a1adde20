"""Images that show nothing: frozen, black, saturated, covered, blurred, or only noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry, ImageFrame
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    Repeats,
    doubtful,
    frozen,
    worthless,
)

ROWS, COLUMNS = 48, 64  # of the sample
TILES = 4  # the sample is judged in TILES x TILES parts too
_FULL_WELL = 250  # a pixel this bright carries no more information


@dataclass(frozen=True, kw_only=True)
class ImageContentLimits:
    """Thresholds of the image check; grey values are 0 to 255."""

    frozen_frames: int = parameter(
        2,
        "exact repeats in a row that count as frozen; 0: off",
        unit="frames",
        low=0,
        high=1000,
        dynamic=True,
    )
    black_level: float = parameter(
        10.0, "the brightest percent is darker: black", unit="grey", low=0, high=255, dynamic=True
    )
    saturated_share: float = parameter(
        0.9, "share of pixels at full brightness: white", low=0, high=1, dynamic=True
    )
    saturated_warn_share: float = parameter(
        0.4, "share of them that raises a warning", low=0, high=1, dynamic=True
    )
    blocked_deviation: float = parameter(
        4.0,
        "standard deviation of an image of a covered lens",
        unit="grey",
        low=0,
        high=128,
        dynamic=True,
    )
    blocked_tile_share: float = parameter(
        0.6,
        "share of 16 parts without any contrast that raises a warning",
        low=0,
        high=1,
        dynamic=True,
    )
    blurred_deviation: float = parameter(
        12.0,
        "less deviation from a smooth surface, and a quarter of it between neighbours of a grid "
        "of 64: a cap or dirt, out of focus; 0: off",
        unit="grey",
        low=0,
        high=128,
        dynamic=True,
    )
    noise_share: float = parameter(
        0.6,
        "share of the contrast between neighbours: nothing but noise",
        low=0,
        high=1,
        dynamic=True,
    )
    noise_warn_share: float = parameter(
        0.3, "share of it that raises a warning", low=0, high=1, dynamic=True
    )


class ImageContentCheck:
    """Judges an even sample of 48 x 64 pixel pairs of each image."""

    def __init__(self, limits: ImageContentLimits) -> None:
        self.limits = limits
        self._repeats = Repeats()

    def check(
        self,
        frame: ImageFrame,
        encoder: Any = None,  # noqa: ARG002
        geometry: Geometry | None = None,  # noqa: ARG002
    ) -> Finding:
        """Return the worst finding."""
        height, width = frame.bgr.shape[:2]
        step_y, step_x = max(1, height // ROWS), max(1, width // COLUMNS)
        # Green carries most of the luminance (ITU-R BT.601).
        grey = frame.bgr[step_y // 2 :: step_y, step_x // 2 :: step_x, 1].copy()
        # A test picture or an even sky may repeat too, but not with the noise of a live sensor.
        repeats = self._repeats.see(grey)
        if 0 < self.limits.frozen_frames <= repeats:
            return worthless(frozen("image", repeats, self.limits.frozen_frames))
        exposure = self._exposure(grey)
        if exposure is not GOOD:
            return exposure
        neighbour = frame.bgr[step_y // 2 :: step_y, step_x // 2 + 1 :: step_x, 1]
        return self._noise(grey, neighbour) if width > 1 else GOOD

    def _exposure(self, grey: NDArray[np.uint8]) -> Finding:
        limits = self.limits
        histogram = np.bincount(grey.reshape(-1), minlength=256)
        bright = int(np.searchsorted(np.cumsum(histogram), 0.99 * grey.size))
        if bright < limits.black_level:
            return worthless(
                f"black: 99 % of the pixels <= {bright} "
                f"< content.black_level {limits.black_level:g}"
            )
        saturated = float(histogram[_FULL_WELL:].sum()) / grey.size
        if saturated > limits.saturated_share:
            return worthless(
                f"saturated: {saturated:.0%} of the pixels at full brightness "
                f"> content.saturated_share {limits.saturated_share:.0%}"
            )
        deviation = float(grey.std())
        if deviation < limits.blocked_deviation:
            return worthless(
                f"blocked: deviation {deviation:.1f} "
                f"< content.blocked_deviation {limits.blocked_deviation:g} grey values"
            )
        rest, detail = _structure(grey)
        if rest < limits.blurred_deviation and detail < limits.blurred_deviation / 4.0:
            return worthless(
                f"blurred: deviation {rest:.1f} from a smooth surface "
                f"< content.blurred_deviation {limits.blurred_deviation:g} grey values, "
                f"{detail:.1f} between neighbours"
            )
        if saturated > limits.saturated_warn_share:
            return doubtful(
                f"saturated: {saturated:.0%} of the pixels at full brightness "
                f"> content.saturated_warn_share {limits.saturated_warn_share:.0%}"
            )
        flat = _flat_share(grey, limits.blocked_deviation / 2.0)
        if flat > limits.blocked_tile_share:
            return doubtful(
                f"blocked: {flat:.0%} of the image without contrast "
                f"> content.blocked_tile_share {limits.blocked_tile_share:.0%}"
            )
        return GOOD

    def _noise(self, grey: NDArray[np.uint8], neighbour: NDArray[np.uint8]) -> Finding:
        """Compare the variance between neighbours with that of the image.

        Of white noise half the mean squared difference of neighbours equals the variance
        (von Neumann's ratio, 1941); of pictures it is a few percent.
        """
        limits = self.limits
        columns = min(grey.shape[1], neighbour.shape[1])
        pixels = grey[:, :columns].astype(np.float32)
        difference = pixels - neighbour[:, :columns]
        share = 0.5 * float(np.mean(difference * difference)) / max(float(pixels.var()), 1e-6)
        text = f"noise: {share:.0%} of the contrast lies between neighbours"
        if share > limits.noise_share:
            return worthless(f"{text} > content.noise_share {limits.noise_share:.0%}")
        if share > limits.noise_warn_share:
            return doubtful(f"{text} > content.noise_warn_share {limits.noise_warn_share:.0%}")
        return GOOD


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
    return np.asarray(np.linalg.qr(terms)[0], dtype=np.float32)


def _flat_share(grey: NDArray[np.uint8], deviation: float) -> float:
    """Return the share of the tiles whose standard deviation is below `deviation`."""
    rows, columns = grey.shape[0] // TILES, grey.shape[1] // TILES
    if not rows or not columns:
        return 0.0
    tiles = grey[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns)
    return float((tiles.std(axis=(1, 3), dtype=np.float32) < deviation).mean())


CONTENT = ContentSpec(limits=ImageContentLimits, make=ImageContentCheck)
