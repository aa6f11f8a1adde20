"""Configuration of fusion: cycle, sources and decisions, every field with unit and range.

The three parts are flat, so that a node can declare each of them as ROS parameters:
``CycleConfig`` and ``DecisionConfig`` once, ``SourceConfig`` once for each source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_perception.core.errors import ConfigurationError
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


def _meta(text: str, unit: str = "", low: Any = None, high: Any = None) -> dict[str, Any]:
    limits = {} if low is None else {"min": low, "max": high}
    return {"text": text, "unit": unit, "dynamic": True, **limits}


def _fixed(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, **more}


def _check(config: Any, where: str) -> None:
    for item in dataclasses.fields(config):
        check_limits(getattr(config, item.name), item.metadata, f"{where}.{item.name}")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """What is expected of one source. A time of 0 is derived from the rate."""

    source: str = field(metadata=_fixed("unique name, as in Feature.source"))
    modality: str = field(metadata=_fixed("camera, lidar or audio"))
    required: bool = field(
        default=False, metadata=_meta("without this source a message is not valid")
    )
    locates: bool = field(
        default=True, metadata=_meta("its evidence places objects in space (audio: false)")
    )
    rate_hz: float = field(default=10.0, metadata=_meta("expected rate", "Hz", 0.01, 1000.0))
    reuse_s: float = field(
        default=0.0,
        metadata=_meta(
            "above 0: the source sets no pace, is not waited for, and its newest feature "
            "contributes for this long after its arrival",
            "s",
            0.0,
            60.0,
        ),
    )
    late_after_s: float = field(
        default=0.0,
        metadata=_meta(
            "silence that makes it LATE; 0: 2.2 periods, 1.8 if reused", "s", 0.0, 3600.0
        ),
    )
    stale_after_s: float = field(
        default=0.0, metadata=_meta("silence that makes it STALE; 0: 5 periods", "s", 0.0, 3600.0)
    )
    missing_after_s: float = field(
        default=0.0,
        metadata=_meta("silence that makes it MISSING; 0: 10 periods", "s", 0.0, 3600.0),
    )
    max_age_s: float = field(
        default=0.0,
        metadata=_meta(
            "older features do not contribute; 0: 5 periods, at least 0.5 s", "s", 0.0, 3600.0
        ),
    )
    max_future_s: float = field(
        default=0.2,
        metadata=_meta("a stamp further ahead of the node clock is refused", "s", 0, 60),
    )
    time_offset_s: float = field(
        default=0.0, metadata=_meta("added to the stamps before alignment", "s", -10.0, 10.0)
    )

    def __post_init__(self) -> None:
        """Check ranges and the order of the limits."""
        where = f"source {self.source}"
        _check(self, where)
        limits = (self.late_ns, self.stale_ns, self.missing_ns)
        if list(limits) != sorted(limits):
            raise ConfigurationError(
                f"{where}: expected late_after_s <= stale_after_s <= missing_after_s, got "
                + ", ".join(f"{limit / NS:g} s" for limit in limits)
            )

    @classmethod
    def for_modality(cls, source: str, modality: str, **overrides: Any) -> SourceConfig:
        """Return the defaults of a modality, for example for a source called `camera_rear`."""
        return cls(
            source=source, modality=modality, **{**MODALITY_DEFAULTS.get(modality, {}), **overrides}
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


MODALITY_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "audio": {"locates": False, "reuse_s": 0.3, "max_age_s": 1.0},
}


@dataclass(frozen=True, kw_only=True)
class CycleConfig:
    """When a fused view is made."""

    policy: str = field(
        default="complete",
        metadata={
            **_meta("complete: when all live sources delivered; fixed_rate: on a timer"),
            "choices": ("complete", "fixed_rate"),
        },
    )
    deadline_s: float = field(
        default=0.25,
        metadata=_meta(
            "longest time from the first new feature, and from the last output, to the next output",
            "s",
            0.01,
            10.0,
        ),
    )
    deadline_margin_s: float = field(
        default=0.02,
        metadata=_meta(
            "a cycle closes this much earlier, for fusing and publishing", "s", 0.0, 1.0
        ),
    )
    alignment_window_s: float = field(
        default=0.1, metadata=_meta("largest spread of the stamps in one cycle", "s", 0.0, 10.0)
    )
    compensated_window_s: float = field(
        default=0.3,
        metadata=_meta(
            "the same while odometry tells the motion in between: what is late joins, moved",
            "s",
            0.0,
            10.0,
        ),
    )
    rate_hz: float = field(
        default=10.0, metadata=_meta("output rate of policy fixed_rate", "Hz", 0.1, 200.0)
    )
    heartbeat_s: float = field(
        default=0.2,
        metadata=_meta(
            "period of the output while no source that sets the pace lives", "s", 0.05, 10.0
        ),
    )
    recovery_frames: int = field(
        default=3, metadata=_meta("good features in a row until a source is OK again", "", 1, 100)
    )
    base_frame: str = field(
        default="base_link", metadata=_fixed("frame of the fused objects (REP-105)")
    )

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

    min_score: float = field(
        default=0.2, metadata=_meta("weaker objects are left out of the output", "", 0.0, 1.0)
    )
    max_objects: int = field(
        default=200, metadata=_meta("strongest objects kept in one message", "", 1, 5000)
    )
    gate_m: float = field(
        default=2.0, metadata=_meta("centres of one object differ by at most this", "m", 0.1, 20.0)
    )
    min_bev_iou: float = field(
        default=0.1, metadata=_meta("or their footprints overlap by this", "", 0.0, 1.0)
    )
    min_image_iou: float = field(
        default=0.3,
        metadata=_meta("overlap of a projected box and a 2-D box that count as one", "", 0.0, 1.0),
    )
    unseen_factor: float = field(
        default=0.6,
        metadata=_meta("score factor of a box that a camera should see and does not", "", 0.0, 1.0),
    )
    unseen_range_m: float = field(
        default=30.0, metadata=_meta("that factor applies up to this range", "m", 0.0, 200.0)
    )
    unseen_height_px: float = field(
        default=40.0, metadata=_meta("and from this height in the image", "px", 0.0, 4000.0)
    )
    points_factor: float = field(
        default=0.8,
        metadata=_meta("score factor of a 2-D box placed by LiDAR points", "", 0.0, 1.0),
    )
    ground_factor: float = field(
        default=0.6, metadata=_meta("score factor of a 2-D box placed on the road", "", 0.0, 1.0)
    )
    ground_range_m: float = field(
        default=50.0, metadata=_meta("2-D boxes are placed up to this range", "m", 1.0, 200.0)
    )
    min_points: int = field(
        default=3, metadata=_meta("LiDAR points needed to place a 2-D box", "", 1, 1000)
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
