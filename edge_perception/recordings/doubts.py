"""Doubts in successive fused messages that are worth a look by people. Imports no ROS.

Each `look` returns a text when a doubt begins, and nothing while it goes on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_perception.core.doubt import mean_entropy_bits
from edge_perception.core.parameter import parameter

_CORRIDOR_M = 1.5  # half the width of the way ahead
_CLOSING_S, _LEAST_SPAN_S = 0.6, 0.25  # over which a closing speed is measured
_JUMP_M = 3.0  # from view to view: it is another object


@dataclass(frozen=True, kw_only=True)
class DoubtLimits:
    """From where on a view is doubtful."""

    entropy_bits: float = parameter(0.85, "mean over the objects", unit="bit", low=0.0, high=1.0)
    entropy_objects: int = parameter(3, "fewer say nothing", low=1, high=1000)
    margin: float = parameter(
        0.05, "of a score to the threshold that decides about it", low=0.0, high=0.5
    )
    decides: float = parameter(0.5, "that threshold", low=0.0, high=1.0)
    doubt_score: float = parameter(
        0.6, "a single near object with less is a doubt", low=0.0, high=1.0
    )
    near_m: float = parameter(25.0, unit="m", low=0.0, high=200.0)
    lasting: int = parameter(5, "views in a row, for margin and doubt", low=1, high=1000)
    near_miss_s: float = parameter(
        1.5, "time to the nearest object ahead at the speed it comes", unit="s", low=0.1, high=10.0
    )
    condition: float = parameter(0.6, "confidence from which a condition holds", low=0.0, high=1.0)


class Doubts:
    """What is doubtful about views, by kind."""

    def __init__(self, limits: DoubtLimits) -> None:
        self._limits = limits
        self._entropic = False
        self._lasted = {"margin": 0, "doubt": 0}
        self._nearest: deque[tuple[float, float]] = deque()  # s, m
        self._missing = False
        self._holding: frozenset[str] | None = None

    def look(self, message: Any) -> dict[str, str]:
        """Return what begins with a view, by kind; kinds without anything are left out."""
        objects = message.objects
        near = [item for item in objects if _range_m(item) <= self._limits.near_m]
        found = {
            "entropy": self._entropy(objects),
            "margin": self._margin(near),
            "doubt": self._doubt(near),
            "nearmiss": self._near_miss(message),
            "condition": self._condition(message),
        }
        return {kind: text for kind, text in found.items() if text}

    def _entropy(self, objects: Sequence[Any]) -> str:
        limits = self._limits
        mean = mean_entropy_bits(objects) if len(objects) >= limits.entropy_objects else 0.0
        before, self._entropic = self._entropic, mean >= limits.entropy_bits
        if before or not self._entropic:
            return ""
        return f"entropy: {mean:.2f} bit over {len(objects)} objects >= {limits.entropy_bits:g}"

    def _margin(self, near: Sequence[Any]) -> str:
        limits = self._limits
        at = next((o for o in near if abs(o.score - limits.decides) <= limits.margin), None)
        if not self._lasts("margin", at is not None) or at is None:
            return ""
        return (
            f"margin: {at.class_name} at {_range_m(at):.0f} m scores {at.score:.2f}, "
            f"{limits.decides:g} decides"
        )

    def _doubt(self, near: Sequence[Any]) -> str:
        limits = self._limits
        doubtful = len(near) == 1 and near[0].score < limits.doubt_score
        if not self._lasts("doubt", doubtful):
            return ""
        return (
            f"doubt: {near[0].class_name} at {_range_m(near[0]):.0f} m alone, "
            f"{near[0].score:.2f} < {limits.doubt_score:g}"
        )

    def _lasts(self, kind: str, holds: bool) -> bool:
        """Whether something holds for exactly so many views in a row."""
        self._lasted[kind] = self._lasted[kind] + 1 if holds else 0
        return self._lasted[kind] == self._limits.lasting

    def _near_miss(self, message: Any) -> str:
        """Time to the nearest object ahead; by places, as many models know no velocities."""
        stamp = message.header.stamp
        now_s = stamp.sec + stamp.nanosec * 1e-9
        ahead = [
            item.center.x - item.size.x / 2.0
            for item in message.objects
            if item.center.x > 0.0 and abs(item.center.y) <= _CORRIDOR_M
        ]
        track = self._nearest
        if not ahead or (
            track and (abs(min(ahead) - track[-1][1]) > _JUMP_M or now_s <= track[-1][0])
        ):
            track.clear()
            self._missing = False
        if not ahead:
            return ""
        track.append((now_s, min(ahead)))
        while track[-1][0] - track[0][0] > _CLOSING_S:
            track.popleft()
        span_s = track[-1][0] - track[0][0]
        if span_s < _LEAST_SPAN_S:
            return ""
        closing_mps = (track[0][1] - track[-1][1]) / span_s
        left_s = max(track[-1][1], 0.0) / closing_mps if closing_mps > 0.5 else math.inf
        before, self._missing = self._missing, left_s <= self._limits.near_miss_s
        if before or not self._missing:
            return ""
        return (
            f"nearmiss: {track[-1][1]:.1f} m ahead, {closing_mps:.1f} m/s nearer: {left_s:.1f} s "
            f"<= {self._limits.near_miss_s:g} s"
        )

    def _condition(self, message: Any) -> str:
        limit = self._limits.condition
        now = frozenset(c.name for c in message.conditions if c.confidence >= limit)
        before, self._holding = self._holding, now
        if before is None or now == before:
            return ""
        came = [*(f"{name} came" for name in sorted(now - before)),
                *(f"{name} went" for name in sorted(before - now))]  # fmt: skip
        return f"condition: {', '.join(came)}"


class Disagreements:
    """Whether the model of a trial sees otherwise than what is published."""

    def __init__(
        self, *, least_score: float = 0.5, apart_m: float = 2.0, near_m: float = 40.0
    ) -> None:
        self._least_score, self._apart_m, self._near_m = least_score, apart_m, near_m
        self._disagrees: dict[str, bool] = {}

    def look(self, source: str, tried: Sequence[Any], view: Any) -> str:
        """Return a text when a disagreement begins.

        Args:
            source: of both.
            tried: objects of the model under trial, base frame.
            view: fused message with the same frame of the source.
        """
        sure: Callable[[Any], bool] = lambda o: (  # noqa: E731
            o.score >= self._least_score and _range_m(o) <= self._near_m
        )
        theirs = [item for item in tried if sure(item)]
        ours = [item for item in view.objects if source in item.sources and sure(item)]
        only_new = [o for o in theirs if not self._has(o, view.objects)]
        only_old = [o for o in ours if not self._has(o, tried)]
        before = self._disagrees.get(source, False)
        now = self._disagrees[source] = bool(only_new or only_old)
        if before or not now:
            return ""
        return (
            f"trial: {source}: only the new model: {_names(only_new)}; "
            f"only the old: {_names(only_old)}"
        )

    def _has(self, item: Any, others: Sequence[Any]) -> bool:
        return any(
            math.hypot(item.center.x - other.center.x, item.center.y - other.center.y)
            <= self._apart_m
            for other in others
        )


def _names(items: Sequence[Any]) -> str:
    return ", ".join(f"{o.class_name} at {_range_m(o):.0f} m" for o in items[:4]) or "nothing"


def _range_m(item: Any) -> float:
    return math.hypot(item.center.x, item.center.y)
