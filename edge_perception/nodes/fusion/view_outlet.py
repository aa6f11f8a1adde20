"""Fused views: published, with the figures of those before, and told in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from std_msgs.msg import Bool

from edge_perception import msg
from edge_perception.core.histogram import LatencyStatistics
from edge_perception.core.types import FusedView, PublishedView
from edge_perception.fusion.late import LateBoard
from edge_perception.fusion.latency import FusionLatency
from edge_perception.fusion.view import published
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import fused_msg, latency_statistics_msgs
from edge_perception.nodes.fusion.detections import DetectionPublisher
from edge_perception.nodes.fusion.markers import MarkerPublisher
from edge_perception.nodes.topics import qos

_TOPIC = "perception/fused"


class ViewOutlet:
    """Where views go, from the configuration of the fusion node to its cleanup.

    Args:
        node: the fusion node.
    """

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(msg.FusedPerception, _TOPIC, qos.FUSED)
        self._safe_stop = node.create_publisher(Bool, "perception/safe_stop", qos.LATCHED)
        node.rivals.watch(_TOPIC)
        self._pictures = (MarkerPublisher(node), DetectionPublisher(node))
        self.begin(None)

    def begin(self, board: LateBoard | None) -> None:
        """Begin with new figures; before the thread whose views are sent.

        Args:
            board: holds late evidence; None: none is sent.
        """
        self._board = board
        self.missed = 0  # views behind their deadline
        self.latency: Mapping[str, LatencyStatistics] = {}  # by stage, of the newest window
        self._latency_msgs: list[msg.LatencyStatistics] = []  # the same
        self._stages = FusionLatency()

    def send(self, view: FusedView) -> PublishedView:
        """Publish a view and return it as it was sent; for the fusion thread."""
        now = self._node.clock.now()
        held = () if self._board is None else self._board.held(now.node_ns)
        if held:
            view = replace(view, late_evidence=held)
        sent = published(view, now)
        self.missed += sent.deadline_missed
        message = fused_msg(sent)
        message.deadline_missed_total = self.missed
        message.latency = self._latency_of(now.steady_ns)
        self._publisher.publish(message)
        after = self._node.clock.now()
        self._stages.on_view(
            view,
            publish_s=(after.steady_ns - now.steady_ns) / 1e9,
            end_to_end_s=sent.end_to_end_s,
        )
        self._safe_stop.publish(Bool(data=message.safe_stop))
        for picture in self._pictures:
            picture.publish(view)
        self._tell(sent)
        return sent

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_publisher(self._safe_stop)
        for picture in self._pictures:
            picture.close()

    def _latency_of(self, steady_ns: int) -> list[msg.LatencyStatistics]:
        """Return the statistics as messages, which are made anew only when they changed."""
        statistics = self._stages.statistics(steady_ns)
        if statistics is not self.latency:
            self.latency = statistics
            self._latency_msgs = latency_statistics_msgs(statistics)
        return self._latency_msgs

    def _tell(self, sent: PublishedView) -> None:
        """Tell of a view for who looks at an anomaly."""
        log, view = self._node.get_logger(), sent.view
        log.detail(
            "view {} {}: wait {:.2f}, fusion {:.2f}, end to end {:.2f} ms",
            view.stamp_ns,
            view.mode.name,
            1e3 * view.wait_s,
            1e3 * view.fusion_s,
            1e3 * sent.end_to_end_s,
        )
        if sent.deadline_missed:
            log.anomaly(
                f"deadline missed: wait {1e3 * view.wait_s:.1f} and fusion "
                f"{1e3 * view.fusion_s:.1f} ms > {1e3 * view.deadline_s:.1f} ms"
            )
