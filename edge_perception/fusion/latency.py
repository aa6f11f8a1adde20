"""Where the time of fused views goes, stage by stage, as percentiles over a window."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from edge_perception.core.histogram import LatencyBoard, LatencyStatistics
from edge_perception.core.types import FrameLatency, FusedView

_STAGES = tuple(
    (field.name, field.name.removesuffix("_s")) for field in dataclasses.fields(FrameLatency)
)


class FusionLatency:
    """Collects the stages of every source and of fusion. Used by the fusion thread."""

    def __init__(self) -> None:
        self._board = LatencyBoard()
        self._counted_ns: dict[str, int] = {}  # stamp of the newest feature counted, by source

    def on_view(self, view: FusedView, *, publish_s: float, end_to_end_s: float) -> None:
        """Note a published view; the stages of a feature count once."""
        for status in view.sources:
            if not status.contributed or self._counted_ns.get(status.source) == status.stamp_ns:
                continue
            self._counted_ns[status.source] = status.stamp_ns
            for name, stage in _STAGES:
                self._board.add(f"{status.source}/{stage}", getattr(status.latency, name))
        self._board.add("wait", view.wait_s)
        self._board.add("fusion", view.fusion_s)
        self._board.add("publish", publish_s)
        self._board.add("end_to_end", end_to_end_s)

    def statistics(self, steady_ns: int) -> Mapping[str, LatencyStatistics]:
        """Return the statistics by stage; the same object until they are made anew."""
        return self._board.statistics(steady_ns)


def described(statistics: Mapping[str, LatencyStatistics]) -> dict[str, str]:
    """Return the statistics as texts for diagnostics, milliseconds."""
    return {
        f"latency_ms.{stage}": (
            f"p50 {of.p50_s * 1e3:.2f}, p90 {of.p90_s * 1e3:.2f}, p95 {of.p95_s * 1e3:.2f}, "
            f"p99 {of.p99_s * 1e3:.2f}, p99.9 {of.p999_s * 1e3:.2f}, max {of.max_s * 1e3:.2f}, "
            f"mean {of.mean_s * 1e3:.2f}, count {of.count}"
        )
        for stage, of in statistics.items()
    }
