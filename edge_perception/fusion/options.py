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
            "of their cycle; empty: they are fused as they are"
        },
    )
    degradation_policy: str = field(
        default="",
        metadata={"text": "degradation policy, a YAML file; empty: as config/degradation.yaml"},
    )
