"""Sound that carries nothing: digital silence, clipping, a channel that died."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter
from edge_perception.encoders.audio.stream import AudioWindow
from edge_perception.encoders.content import (
    GOOD,
    ContentSpec,
    Finding,
    doubtful,
    worthless,
)


@dataclass(frozen=True, kw_only=True)
class AudioContentLimits:
    """Thresholds of the sound check."""

    zero_s: float = parameter(
        0.2,
        "nothing but zeros for this long: no microphone; 0: off",
        unit="s",
        low=0,
        high=3600,
        dynamic=True,
    )
    clipped_share: float = parameter(
        0.3, "share of clipped samples that makes it worthless", low=0, high=1, dynamic=True
    )
    clipped_warn_share: float = parameter(
        0.02, "share of clipped samples that raises a warning", low=0, high=1, dynamic=True
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

    def check(self, frame: AudioWindow) -> Finding:
        """Return the worst finding."""
        levels = frame.levels
        if levels is None:
            return GOOD
        limits = self.limits
        if limits.zero_s and levels.zero_s >= limits.zero_s - 1e-3:
            return worthless(f"only zeros for {levels.zero_s:.2f} s >= {limits.zero_s:.2f} s")
        text = f"clipped: {levels.clipped_share:.0%} of the samples at full scale"
        if levels.clipped_share > limits.clipped_share:
            return worthless(f"{text} > {limits.clipped_share:.0%}")
        if levels.clipped_share > limits.clipped_warn_share:
            return doubtful(f"{text} > {limits.clipped_warn_share:.0%}")
        peak = max(levels.channel_peaks)
        for channel, value in enumerate(levels.channel_peaks):
            if value < limits.dead_channel_ratio * peak:
                return doubtful(
                    f"channel {channel} dead: peak {value:.1e} "
                    f"< {limits.dead_channel_ratio * peak:.1e}"
                )
        return GOOD


CONTENT = ContentSpec(limits=AudioContentLimits, make=AudioContentCheck)
