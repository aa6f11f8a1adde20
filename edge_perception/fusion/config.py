"""Configuration of fusion: cycle, sources and decisions, every field with unit and range.

The three parts are flat, so that a node can declare each of them as ROS parameters:
``CycleConfig`` and ``DecisionConfig`` once, ``SourceConfig`` once for each source.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import check_limits

NS = 1_000_000_000

# Limits derived from the expected rate, in periods. One lost frame means a silence of two periods
# and a little jitter: it must stay below the first limit. A source that is not waited for is named
# in the next view only, up to a period later: its limit is lower, and a lost frame of it shows.
LATE_PERIODS = 2.2
REUSED_LATE_PERIODS = 1.8
STALE_PERIODS = 5.0
MISSING_PERIODS = 10.0
MIN_DERIVED_AGE_S = 0.5


def _check(config: Any, where: str) -> None:
    for item in dataclasses.fields(config):
        check_limits(getattr(config, item.name), item.metadata, f"{where}.{item.name}")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """What is expected of one source. A time of 0 is derived from the rate."""

    source: str = parameter(text="unique name, as in Feature.source", read_only=True)
    modality: str = parameter(text="kind of sensor, a folder of encoders", read_only=True)
    required: bool = parameter(False, "without this source a message is not valid", dynamic=True)
    locates: bool = parameter(
        True, "its evidence places objects in space (audio: false)", dynamic=True
    )
    rate_hz: float = parameter(
        10.0, "expected rate", unit="Hz", low=0.01, high=1000.0, dynamic=True
    )
    reuse_s: float = parameter(
        0.0,
        "above 0: the source sets no pace, is not waited for, and its newest feature "
        "contributes for this long after its arrival",
        unit="s",
        low=0.0,
        high=60.0,
        dynamic=True,
    )
    late_after_s: float = parameter(
        0.0,
        "silence that makes it LATE; 0: 2.2 periods, 1.8 if reused",
        unit="s",
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
    stale_after_s: float = parameter(
        0.0,
        "silence that makes it STALE; 0: 5 periods",
        unit="s",
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
    missing_after_s: float = parameter(
        0.0,
        "silence that makes it MISSING; 0: 10 periods",
        unit="s",
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
    max_age_s: float = parameter(
        0.0,
        "older features do not contribute; 0: 5 periods, at least 0.5 s",
        unit="s",
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
    max_future_s: float = parameter(
        0.2,
        "a stamp further ahead of the node clock is refused",
        unit="s",
        low=0,
        high=60,
        dynamic=True,
    )
    time_offset_s: float = parameter(
        0.0, "added to the stamps before alignment", unit="s", low=-10.0, high=10.0, dynamic=True
    )

    def __post_init__(self) -> None:
        """Check ranges and the order of the limits."""
        where = f"fusion.{self.source}"
        _check(self, where)
        limits = (self.late_ns, self.stale_ns, self.missing_ns)
        if list(limits) != sorted(limits):
            raise ConfigurationError(
                f"{where}: expected {self.source}.late_after_s <= {self.source}.stale_after_s <= "
                f"{self.source}.missing_after_s, got "
                + ", ".join(f"{limit / NS:g} s" for limit in limits)
            )

    @property
    def period_ns(self) -> int:
        """Expected time between two features, ns."""
        return round(NS / self.rate_hz)

    @property
    def late_ns(self) -> int:
        """Silence above which the source is LATE, ns."""
        periods = REUSED_LATE_PERIODS if self.reuse_s else LATE_PERIODS
        return round((self.late_after_s or periods / self.rate_hz) * NS)

    @property
    def stale_ns(self) -> int:
        """Silence above which the source is STALE, ns."""
        return round((self.stale_after_s or STALE_PERIODS / self.rate_hz) * NS)

    @property
    def missing_ns(self) -> int:
        """Silence above which the source is MISSING, ns."""
        return round((self.missing_after_s or MISSING_PERIODS / self.rate_hz) * NS)

    @property
    def max_age_ns(self) -> int:
        """Age above which a feature does not contribute, ns."""
        derived = max(MIN_DERIVED_AGE_S, STALE_PERIODS / self.rate_hz)
        return round((self.max_age_s or derived) * NS)


@dataclass(frozen=True, kw_only=True)
class CycleConfig:
    """When a fused view is made."""

    policy: str = parameter(
        "complete",
        "complete: when all live sources delivered; fixed_rate: on a timer",
        choices=("complete", "fixed_rate"),
        dynamic=True,
    )
    deadline_s: float = parameter(
        0.25,
        "longest time from the first new feature, and from the last output, to the next output",
        unit="s",
        low=0.01,
        high=10.0,
        dynamic=True,
    )
    deadline_margin_s: float = parameter(
        0.02,
        "a cycle closes this much earlier, for fusing and publishing",
        unit="s",
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    alignment_window_s: float = parameter(
        0.1, "largest spread of the stamps in one cycle", unit="s", low=0.0, high=10.0, dynamic=True
    )
    compensated_window_s: float = parameter(
        0.3,
        "the same while odometry tells the motion in between: what is late joins, moved",
        unit="s",
        low=0.0,
        high=10.0,
        dynamic=True,
    )
    rate_hz: float = parameter(
        10.0, "output rate of policy fixed_rate", unit="Hz", low=0.1, high=200.0, dynamic=True
    )
    heartbeat_s: float = parameter(
        0.2,
        "period of the output while no source that sets the pace lives",
        unit="s",
        low=0.05,
        high=10.0,
        dynamic=True,
    )
    recovery_frames: int = parameter(
        3, "good features in a row until a source is OK again", low=1, high=100, dynamic=True
    )
    base_frame: str = parameter("base_link", "frame of the fused objects (REP-105)")

    def __post_init__(self) -> None:
        """Check ranges and that the margin leaves time to wait."""
        _check(self, "fusion")
        if self.deadline_margin_s > self.deadline_s / 2:
            raise ConfigurationError(
                f"fusion.deadline_margin_s: expected at most half of deadline_s "
                f"({self.deadline_s / 2:g} s), got {self.deadline_margin_s:g}"
            )


@dataclass(frozen=True, kw_only=True)
class DecisionConfig:
    """Thresholds of decision-level fusion."""

    min_score: float = parameter(
        0.2, "weaker objects are left out of the output", low=0.0, high=1.0, dynamic=True
    )
    max_objects: int = parameter(
        200, "strongest objects kept in one message", low=1, high=5000, dynamic=True
    )
    gate_m: float = parameter(
        2.0,
        "centres of one object differ by at most this",
        unit="m",
        low=0.1,
        high=20.0,
        dynamic=True,
    )
    min_bev_iou: float = parameter(
        0.1, "or their footprints overlap by this", low=0.0, high=1.0, dynamic=True
    )
    min_image_iou: float = parameter(
        0.3,
        "overlap of a projected box and a 2-D box that count as one",
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    unseen_factor: float = parameter(
        0.6,
        "score factor of a box that a camera should see, as it sees others, and does not",
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    unseen_range_m: float = parameter(
        30.0, "that factor applies up to this range", unit="m", low=0.0, high=200.0, dynamic=True
    )
    unseen_height_px: float = parameter(
        40.0, "and from this height in the image", unit="px", low=0.0, high=4000.0, dynamic=True
    )
    points_factor: float = parameter(
        0.8, "score factor of a 2-D box placed by LiDAR points", low=0.0, high=1.0, dynamic=True
    )
    ground_factor: float = parameter(
        0.6, "score factor of a 2-D box placed on the road", low=0.0, high=1.0, dynamic=True
    )
    ground_range_m: float = parameter(
        50.0, "2-D boxes are placed up to this range", unit="m", low=1.0, high=200.0, dynamic=True
    )
    min_points: int = parameter(
        3, "LiDAR points needed to place a 2-D box", low=1, high=1000, dynamic=True
    )

    def __post_init__(self) -> None:
        """Check ranges."""
        _check(self, "fusion.decision")


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Everything fusion is told."""

    sources: tuple[SourceConfig, ...]
    cycle: CycleConfig = field(default_factory=CycleConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)

    def __post_init__(self) -> None:
        """Check that there are sources and that their names differ."""
        names = [source.source for source in self.sources]
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(f"fusion.sources: expected unique names, got {names}")
