"""Late evidence and LateEvidence messages."""

from __future__ import annotations

from edge_perception import msg
from edge_perception.core.bounds import clipped
from edge_perception.core.types import UNKNOWN, LateEvidence
from edge_perception.nodes.conversion.parts import (
    checked_stamp_ns,
    image_object_from_msg,
    image_object_msg,
    model_from_msg,
    model_msg,
    object_from_msg,
    object_msgs,
    sound_event_from_msg,
    sound_event_msg,
    time_msg,
)


def late_evidence_msg(late: LateEvidence, at_ns: int = 0) -> msg.LateEvidence:
    """Return evidence as a message; `at_ns`: of the message that holds it, node clock, 0: none."""
    return msg.LateEvidence(
        source=late.source,
        modality=late.modality,
        tier=late.tier,
        stamp=time_msg(late.stamp_ns),
        asked_stamp=time_msg(late.asked_stamp_ns),
        age_s=(at_ns - late.stamp_ns) / 1e9 if at_ns else UNKNOWN,
        round_trip_s=late.round_trip_s,
        doubt_bits=late.doubt_bits,
        answer_doubt_bits=late.answer_doubt_bits,
        model=model_msg(late.model),
        hidden=late.hidden,
        objects=object_msgs(late.objects),
        image_objects=[image_object_msg(item) for item in late.image_objects],
        sound_events=[sound_event_msg(event) for event in late.sound_events],
        crops=late.crops,
    )


def late_evidence_from_msg(message: msg.LateEvidence) -> LateEvidence:
    """Return evidence.

    Raises:
        InvalidFrameError: a stamp is broken.
    """
    return LateEvidence(
        source=message.source,
        modality=message.modality,
        tier=clipped(message.tier),
        stamp_ns=checked_stamp_ns(message.stamp, "stamp"),
        asked_stamp_ns=checked_stamp_ns(message.asked_stamp, "asked_stamp"),
        round_trip_s=message.round_trip_s,
        doubt_bits=message.doubt_bits,
        answer_doubt_bits=message.answer_doubt_bits,
        model=model_from_msg(message.model),
        hidden=message.hidden,
        objects=tuple(object_from_msg(item) for item in message.objects),
        image_objects=tuple(image_object_from_msg(item) for item in message.image_objects),
        sound_events=tuple(sound_event_from_msg(event) for event in message.sound_events),
        crops=message.crops,
    )
