"""Which sources fusion listens to, and which model fuses them."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_FUSION_MODEL = "bev_lite/fusion"


@dataclass(frozen=True, kw_only=True)
class FusionNodeOptions:
    """Which sources fusion listens to."""

    sources: tuple[str, ...] = field(
        default=("camera", "lidar", "audio"),
        metadata={"text": "names of the sources; each begins with its modality"},
    )
    odometry_topic: str = field(
        default="",
        metadata={
            "text": "nav_msgs/Odometry of the base frame: features are moved to the newest stamp "
            "of their cycle, and objects get velocities; empty: they are fused as they are"
        },
    )
    calibration_warn_deg: float = field(
        default=1.5,
        metadata={
            "text": "a camera whose objects lie further beside the LiDAR's, in the median, is "
            "named in diagnostics",
            "unit": "deg",
            "min": 0.1,
            "max": 180.0,
        },
    )
    degradation_policy: str = field(
        default="",
        metadata={"text": "degradation policy, a YAML file; empty: as config/degradation.yaml"},
    )
