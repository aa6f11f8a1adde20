"""Causes that lie in where sensors are said to sit: what encoders doubt, as views pass it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_perception.encoders.camera.pose_check import SKY, TURNED
from edge_perception.encoders.lidar.road_below import NOT_BELOW
from edge_perception.observe.doctor.observation import Cause, Observation

_SHARE = 0.5  # of the views: a pose that is wrong stays so
_ODD = (SKY, TURNED, NOT_BELOW)


def _poses(seen: Observation) -> Iterator[Cause]:
    for name in sorted({source.name for view in seen.views for source in view.sources}):
        warnings = [s.warning for view in seen.views for s in view.sources if s.name == name]
        odd = [text for text in warnings if any(words in text for words in _ODD)]
        if not odd or len(odd) < _SHARE * len(warnings):
            continue
        encoder = f"{seen.namespace}/{name}_encoder"
        yield Cause(
            code="odd_pose",
            text=odd[-1],
            fix=f"T_base_sensor: [x, y, z, qx, qy, qz, qw]   (parameter of {encoder}, in m, of the "
            "sensor in the base frame), or what publishes its frame on /tf_static",
            about=name,
        )


POSE_RULES: tuple[Callable[[Observation], Iterator[Cause]], ...] = (_poses,)
