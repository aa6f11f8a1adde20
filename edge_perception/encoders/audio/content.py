"""Sound that carries nothing: a muted or constant input, clipping, a channel that died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_perception.core.parameter import parameter
from edge_perception.core.types import Geometry
from edge_perception.encoders.audio.levels import QUIET, Levels
from edge_perception.encoders.audio.stream import AudioWindow
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    doubtful,
    worst,
    worthless,
)

_EPSILON_S = 1e-3
# Of four microphones about a sound that comes from one side more is left.
_CANCELLED, _CANCELLED_S = 0.02, 0.5


@dataclass(frozen=True, kw_only=True)
class AudioContentLimits:
    """Thresholds of the sound check."""

    zero_s: float = parameter(
        0.2,
        "nothing but zeros or one constant value for this long: no microphone; 0: off",
        unit="s",
        low=0,
        high=3600,
        dynamic=True,
    )
    quiet_s: float = parameter(
        1.0,
        "no more than the last bit of 16 for this long: muted; 0: off",
        unit="s",
        low=0,
        high=3600,
        dynamic=True,
    )
    clipped_share: float = parameter(
        0.3, "share of clipped samples that is worthless if it lasts", low=0, high=1, dynamic=True
    )
    clipped_s: float = parameter(
        5.0,
        "above clipped_share for this long: the gain is wrong, not a siren near",
        unit="s",
        low=0,
        high=3600,
        dynamic=True,
    )
    clipped_warn_share: float = parameter(
        0.02, "share of clipped samples that raises a warning", low=0, high=1, dynamic=True
    )
    rate_share: float = parameter(
        0.2,
        "samples that come, by their stamps, more or fewer by this part: sample_rate, channels "
        "or the format are wrong; 0: off",
        low=0,
        high=1,
        dynamic=True,
    )
    rate_warn_share: float = parameter(
        0.05, "by this part: a warning; 0: off", low=0, high=1, dynamic=True
    )
    dead_channel_ratio: float = parameter(
        1e-3,
        "a channel below this part of the loudest one is dead; 0: off",
        low=0,
        high=1,
        dynamic=True,
    )


class AudioContentCheck:
    """Judges the newest block of each window."""

    def __init__(self, limits: AudioContentLimits) -> None:
        self.limits = limits
        self._clipped_s = self._cancelled_s = 0.0

    def check(
        self,
        frame: AudioWindow,
        encoder: Any = None,  # noqa: ARG002
        geometry: Geometry | None = None,  # noqa: ARG002
    ) -> Finding:
        """Return the worst finding."""
        found = [self._rate(frame)]
        if frame.silent_s:
            found.append(doubtful(f"the device started anew: silence for {frame.silent_s:.2f} s"))
        if frame.levels is not None:
            of_block = self._silence, self._clipping, self._dead_channel, self._cancelling
            found.extend(look(frame.levels) for look in of_block)
        return worst(*found)

    def _rate(self, frame: AudioWindow) -> Finding:
        """Judge the rate; a NaN, which is not known yet, is no fault."""
        limits, off = self.limits, abs(frame.rate_ratio - 1.0)
        rate_hz = frame.device_rate_hz
        text = (
            f"{frame.rate_ratio * rate_hz:.0f} samples a second came, by their stamps, of "
            f"{rate_hz}: is sample_rate, channels or the format wrong, or are blocks missing? off "
            f"by {off:.0%}"
        )
        if 0 < limits.rate_share < off:
            return worthless(f"{text} > content.rate_share {limits.rate_share:.0%}")
        if 0 < limits.rate_warn_share < off:
            return doubtful(f"{text} > content.rate_warn_share {limits.rate_warn_share:.0%}")
        return GOOD

    def _silence(self, levels: Levels) -> Finding:
        limits = self.limits
        if limits.zero_s and levels.zero_s >= limits.zero_s - _EPSILON_S:
            return worthless(
                f"only zeros or one constant value for {levels.zero_s:.2f} s "
                f">= content.zero_s {limits.zero_s:.2f} s"
            )
        if limits.quiet_s and levels.quiet_s >= limits.quiet_s - _EPSILON_S:
            return worthless(
                f"muted: no sample above {QUIET:.0e} of full scale for {levels.quiet_s:.1f} s "
                f">= content.quiet_s {limits.quiet_s:.1f} s"
            )
        return GOOD

    def _clipping(self, levels: Levels) -> Finding:
        limits, share = self.limits, levels.clipped_share
        much = share > limits.clipped_share
        self._clipped_s = self._clipped_s + levels.block_s if much else 0.0
        text = f"clipped: {share:.0%} of the samples at full scale"
        if much and self._clipped_s >= limits.clipped_s - _EPSILON_S:
            return worthless(
                f"{text} > content.clipped_share {limits.clipped_share:.0%} for "
                f"{self._clipped_s:.1f} s >= content.clipped_s {limits.clipped_s:.1f} s"
            )
        if share > limits.clipped_warn_share:
            return doubtful(f"{text} > content.clipped_warn_share {limits.clipped_warn_share:.0%}")
        return GOOD

    def _cancelling(self, levels: Levels) -> Finding:
        # Of many that have nothing in common (wind) 1 / N is left: that is no cancelling.
        limit = min(_CANCELLED, 0.5 / len(levels.channel_peaks))
        self._cancelled_s = self._cancelled_s + levels.block_s if levels.mono_share < limit else 0.0
        if self._cancelled_s < _CANCELLED_S:
            return GOOD
        return doubtful(
            f"channels cancel one another: {levels.mono_share:.1%} of their power is left in their "
            "mean, which is what is heard: is one of them inverted, or is it one tone whose wave "
            "reaches them half a period apart?"
        )

    def _dead_channel(self, levels: Levels) -> Finding:
        limit = self.limits.dead_channel_ratio * max(levels.channel_peaks)
        for channel, value in enumerate(levels.channel_peaks):
            if value < limit:
                return doubtful(
                    f"channel {channel} dead: peak {value:.1e} < {limit:.1e} "
                    "(content.dead_channel_ratio of the loudest)"
                )
        return GOOD


CONTENT = ContentSpec(limits=AudioContentLimits, make=AudioContentCheck)
