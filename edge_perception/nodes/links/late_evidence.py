"""What servers say of doubtful frames: from an encoder to fusion, on a topic of its own.

It comes when it comes; features and cycles do not know of it.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import LateEvidence
from edge_perception.fusion.late import LateBoard
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import late_evidence_from_msg, late_evidence_msg
from edge_perception.nodes.topics import qos, raw
from edge_perception.nodes.topics.receiver import Receiver
from edge_perception.nodes.topics.taking import Taken

_TYPE = "edge_perception/msg/LateEvidence"
_MOST_BYTES = 250_000


def late_topic(source: str) -> str:
    """Return where the evidence of a source is published."""
    return f"late_evidence/{source}"


class LatePublisher:
    """Publishes the evidence of one source."""

    def __init__(self, node: PerceptionNode, source: str) -> None:
        self._node = node
        self._publisher = node.create_publisher(msg.LateEvidence, late_topic(source), qos.FEATURES)

    def publish(self, late: LateEvidence) -> None:
        """Publish; from any thread."""
        self._publisher.publish(late_evidence_msg(late))

    @property
    def heard(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._publisher.get_subscription_count())

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)


class LateInlet:
    """Takes the evidence of all sources for fusion.

    Args:
        node: the fusion node.
        board: holds it.
        sources: of the fusion.
        on_error: takes what is no evidence.
    """

    def __init__(
        self,
        node: PerceptionNode,
        board: LateBoard,
        sources: tuple[str, ...],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node, self._board, self._sources = node, board, sources
        self._on_error = on_error

    def subscribe(self, receiver: Receiver) -> None:
        """Subscribe; before the receiver starts."""
        for source in self._sources:
            receiver.subscribe_bounded(
                msg.LateEvidence,
                late_topic(source),
                self._on_message,
                qos.FEATURES,
                most_bytes=lambda: _MOST_BYTES,
            )

    def _on_message(self, taken: Taken) -> None:
        if taken.data is None:
            self._board.refused["too much"] += 1
            return
        try:
            late = late_evidence_from_msg(raw.read(_TYPE, taken.data))
        except EdgePerceptionError as error:
            self._board.refused["no evidence"] += 1
            self._on_error(error)
            return
        self._board.put(late, self._node.clock.now().node_ns)
