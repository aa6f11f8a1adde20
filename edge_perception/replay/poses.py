"""Poses of a recording's sensors at a moment, for who looks at single frames of it."""

from __future__ import annotations

import contextlib

from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.transforms import KEPT_S, NS, TransformTree, transforms_of
from edge_perception.core.types import Geometry
from edge_perception.encoders.pose import located, pose_of
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.reader import Recording
from edge_perception.replay.binding import Binding
from edge_perception.running.vehicle_plan import SourcePlan


def transforms_at(
    bag: Recording, binding: Binding, decoder: MessageDecoder, at_ns: int
) -> TransformTree:
    """Return the transforms that hold around a moment of a recording; broken ones are left out.

    Args:
        bag: the recording.
        binding: what its topics mean.
        decoder: for its messages.
        at_ns: arrival time; of moving transforms the last seconds before it count.
    """
    tree = TransformTree()
    for topic, static in binding.transforms.items():
        start_ns = None if static else at_ns - round(KEPT_S * NS)
        for message in bag.messages([topic], start_ns=start_ns, end_ns=at_ns + NS):
            with contextlib.suppress(EdgePerceptionError):
                for transform in transforms_of(decoder.decode(message.data, message.type)):
                    with contextlib.suppress(EdgePerceptionError):
                        tree.add(transform, static=static)
    return tree


def placed_geometry(
    source: SourcePlan,
    tree: TransformTree,
    frame_id: str,
    stamp_ns: int,
    calibrated: Geometry | None = None,
) -> Geometry:
    """Return where a source sits at a stamp, by the rule of the encoder nodes."""
    placed = pose_of(source.spec, source.options, tree=tree).at(frame_id, stamp_ns)
    return located(source.options.geometry() if calibrated is None else calibrated, placed)
