"""Images that show nothing: frozen, black, saturated, covered, or only noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.core.types import ImageFrame
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    Repeats,
    doubtful,
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

    def check(self, frame: ImageFrame) -> Finding:
        """Return the worst finding."""
        height, width = frame.bgr.shape[:2]
        step_y, step_x = max(1, height // ROWS), max(1, width // COLUMNS)
        # Green carries most of the luminance (ITU-R BT.601).
        grey = frame.bgr[step_y // 2 :: step_y, step_x // 2 :: step_x, 1].copy()
        # A test picture or an even sky may repeat too, but not with the noise of a live sensor.
        repeats = self._repeats.see(grey)
        if 0 < self.limits.frozen_frames <= repeats:
            return worthless(
                f"frozen: the same image for {repeats + 1} frames > {self.limits.frozen_frames}"
            )
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
            return worthless(f"black: 99 % of the pixels <= {bright} < {limits.black_level:g}")
        saturated = float(histogram[_FULL_WELL:].sum()) / grey.size
        if saturated > limits.saturated_share:
            return worthless(
                f"saturated: {saturated:.0%} of the pixels at full brightness "
                f"> {limits.saturated_share:.0%}"
            )
        deviation = float(grey.std())
        if deviation < limits.blocked_deviation:
            return worthless(
                f"blocked: deviation {deviation:.1f} < {limits.blocked_deviation:g} grey values"
            )
        if saturated > limits.saturated_warn_share:
            return doubtful(
                f"saturated: {saturated:.0%} of the pixels at full brightness "
                f"> {limits.saturated_warn_share:.0%}"
            )
        flat = _flat_share(grey, limits.blocked_deviation / 2.0)
        if flat > limits.blocked_tile_share:
            return doubtful(
                f"blocked: {flat:.0%} of the image without contrast "
                f"> {limits.blocked_tile_share:.0%}"
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
            return worthless(f"{text} > {limits.noise_share:.0%}")
        if share > limits.noise_warn_share:
            return doubtful(f"{text} > {limits.noise_warn_share:.0%}")
        return GOOD


def _flat_share(grey: NDArray[np.uint8], deviation: float) -> float:
    """Return the share of the tiles whose standard deviation is below `deviation`."""
    rows, columns = grey.shape[0] // TILES, grey.shape[1] // TILES
    if not rows or not columns:
        return 0.0
    tiles = grey[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns)
    return float((tiles.std(axis=(1, 3), dtype=np.float32) < deviation).mean())


CONTENT = ContentSpec(limits=ImageContentLimits, make=ImageContentCheck)
