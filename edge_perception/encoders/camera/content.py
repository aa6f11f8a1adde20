"""Images that show nothing: frozen, black, saturated, covered, blurred, or only noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry, ImageFrame
from edge_perception.encoders.camera.sample import ImageSample, sample_of
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    Repeats,
    doubtful,
    frozen,
    worthless,
)


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
        sample = sample_of(frame.bgr)
        # A test picture or an even sky may repeat too, but not with the noise of a live sensor.
        repeats = self._repeats.see(sample.grey)
        if 0 < self.limits.frozen_frames <= repeats:
            return worthless(frozen("image", repeats, self.limits.frozen_frames))
        exposure = self._exposure(sample)
        return self._noise(sample.noise) if exposure is GOOD else exposure

    def _exposure(self, sample: ImageSample) -> Finding:
        limits = self.limits
        if sample.bright < limits.black_level:
            return worthless(
                f"black: 99 % of the pixels <= {sample.bright:.0f} "
                f"< content.black_level {limits.black_level:g}"
            )
        if sample.saturated > limits.saturated_share:
            return worthless(
                f"saturated: {sample.saturated:.0%} of the pixels at full brightness "
                f"> content.saturated_share {limits.saturated_share:.0%}"
            )
        if sample.deviation < limits.blocked_deviation:
            return worthless(
                f"blocked: deviation {sample.deviation:.1f} "
                f"< content.blocked_deviation {limits.blocked_deviation:g} grey values"
            )
        smooth = sample.rest < limits.blurred_deviation
        if smooth and sample.detail < limits.blurred_deviation / 4.0:
            return worthless(
                f"blurred: deviation {sample.rest:.1f} from a smooth surface "
                f"< content.blurred_deviation {limits.blurred_deviation:g} grey values, "
                f"{sample.detail:.1f} between neighbours"
            )
        if sample.saturated > limits.saturated_warn_share:
            return doubtful(
                f"saturated: {sample.saturated:.0%} of the pixels at full brightness "
                f"> content.saturated_warn_share {limits.saturated_warn_share:.0%}"
            )
        flat = float((sample.tiles < limits.blocked_deviation / 2.0).mean())
        if flat > limits.blocked_tile_share:
            return doubtful(
                f"blocked: {flat:.0%} of the image without contrast "
                f"> content.blocked_tile_share {limits.blocked_tile_share:.0%}"
            )
        return GOOD

    def _noise(self, share: float) -> Finding:
        limits = self.limits
        text = f"noise: {share:.0%} of the contrast lies between neighbours"
        if share > limits.noise_share:
            return worthless(f"{text} > content.noise_share {limits.noise_share:.0%}")
        if share > limits.noise_warn_share:
            return doubtful(f"{text} > content.noise_warn_share {limits.noise_warn_share:.0%}")
        return GOOD


CONTENT = ContentSpec(limits=ImageContentLimits, make=ImageContentCheck)
