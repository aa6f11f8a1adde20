"""Quality of service of every topic, in one place."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions, QoSPolicyKind

from edge_perception.encoders import TopicSpec

FEATURES = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
FUSED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# As tf2's own listener asks for them; moving transforms come again, so best effort hears everybody.
TF_STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
# The steps of the last changes, also for those who come later.
EVENTS = QoSProfile(
    depth=64,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# A link that loses messages may want a reliable sensor topic, which the driver must offer; a busy
# machine may want a longer queue.
INPUT_OVERRIDES = QoSOverridingOptions(
    policy_kinds=[QoSPolicyKind.RELIABILITY, QoSPolicyKind.DEPTH]
)


def input_qos(topic: TopicSpec) -> QoSProfile:
    """Return the profile of a sensor topic: best effort unless the modality asks for more."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=topic.depth,
        reliability=ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT,
    )
