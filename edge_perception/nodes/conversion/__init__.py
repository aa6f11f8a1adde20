"""Dataclasses to messages and back, both directions once.

Lossless within the bounds of a message: scores and seconds become float32, counters end at the
top of their range, and what no message may hold is refused with its name.
"""

from edge_perception.nodes.conversion.feature import (
    FEATURE_TYPE,
    feature_bytes,
    feature_from_msg,
    feature_msg,
)
from edge_perception.nodes.conversion.fused import (
    fused_msg,
    latency_statistics_msgs,
    published_from_msg,
    source_status_from_msg,
    source_status_msg,
    view_from_msg,
)
from edge_perception.nodes.conversion.late import late_evidence_from_msg, late_evidence_msg
from edge_perception.nodes.conversion.parts import (
    header_msg,
    latency_from_msg,
    model_from_msg,
    model_msg,
    object_from_msg,
    object_msg,
    sound_event_from_msg,
    stamp_ns,
    time_msg,
)
from edge_perception.nodes.conversion.tensors import tensor_from_msg, tensor_msg

__all__ = [
    "FEATURE_TYPE",
    "feature_bytes",
    "feature_from_msg",
    "feature_msg",
    "fused_msg",
    "header_msg",
    "late_evidence_from_msg",
    "late_evidence_msg",
    "latency_from_msg",
    "latency_statistics_msgs",
    "model_from_msg",
    "model_msg",
    "object_from_msg",
    "object_msg",
    "published_from_msg",
    "sound_event_from_msg",
    "source_status_from_msg",
    "source_status_msg",
    "stamp_ns",
    "tensor_from_msg",
    "tensor_msg",
    "time_msg",
    "view_from_msg",
]
