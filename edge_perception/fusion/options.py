"""Which sources fusion listens to, and which model fuses them."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter

DEFAULT_FUSION_MODEL = "bev_lite/fusion"


@dataclass(frozen=True, kw_only=True)
class FusionNodeOptions:
    """Which sources fusion listens to."""

    sources: tuple[str, ...] = parameter(
        ("camera", "lidar", "audio"),
        "names of the sources; each begins with its modality",
        read_only=True,
    )
    odometry_topic: str = parameter(
        "",
        "nav_msgs/Odometry of the base frame: features are moved to the newest stamp "
        "of their cycle, and objects get velocities; empty: they are fused as they are",
    )
    calibration_warn_deg: float = parameter(
        1.5,
        "a camera whose objects lie further beside the LiDAR's, in the median, is "
        "named in diagnostics",
        unit="deg",
        low=0.1,
        high=180.0,
        stricter="lower",
    )
    max_feature_mb: float = parameter(
        0.0,
        "a larger feature message is refused; 0: what the fusion model takes of its modality "
        "and 4 MB for decisions and points, 32 MB without a fusion model",
        unit="MB",
        low=0.0,
        high=1000.0,
    )
    slo_file: str = parameter(
        "", "what the operator asks of the output, YAML; empty: as config/slo.yaml"
    )
    degradation_policy: str = parameter(
        "", "degradation policy, a YAML file; empty: as config/degradation.yaml"
    )
    late_hold_s: float = parameter(
        0.0,
        "what a server says of a doubtful frame is in the fused messages for so long after that "
        "frame; 0: none is taken",
        unit="s",
        low=0.0,
        high=60.0,
        stricter="lower",
    )
