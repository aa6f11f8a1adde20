"""From scores of single frames to conditions: smoothed, with hysteresis in time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edge_perception.core.conditions import CONDITIONS, LIGHTS, NOT_KNOWN, Conditions

SMOOTH_S = 1.0
ON, OFF = 0.6, 0.4  # smoothed score from which on it holds, and from which on it does not
ON_AFTER_S, OFF_AFTER_S = 1.0, 3.0
LIGHT_MARGIN = 0.2  # by which another light must lead, for as long as `OFF_AFTER_S`
GAP_S = 10.0  # without frames for longer, nothing is known any more


@dataclass(kw_only=True)
class _Flag:
    smooth: float
    holds: bool = False
    since_ns: int | None = None  # the other state is asked for


class ConditionState:
    """Follows the conditions that one source tells. Times are stamps of frames."""

    def __init__(self) -> None:
        self.now: Conditions = NOT_KNOWN
        self._flags: dict[str, _Flag] = {}
        self._light = ""
        self._challenger, self._challenged_ns = "", 0
        self._last_ns = 0

    def step(self, scores: Mapping[str, float], stamp_ns: int) -> Conditions:
        """Take the scores of a frame, 0 to 1; NaN: this frame does not tell."""
        passed_s = (stamp_ns - self._last_ns) / 1e9
        if not 0.0 <= passed_s <= GAP_S:
            self._flags, self._light, self._challenger = {}, "", ""
        self._last_ns = stamp_ns
        share = 1.0 - math.exp(-max(passed_s, 0.0) / SMOOTH_S)
        for name, score in scores.items():
            if score != score:
                continue
            flag = self._flags.setdefault(name, _Flag(smooth=score))
            flag.smooth += share * (score - flag.smooth)
            if name not in LIGHTS:
                _settle(flag, stamp_ns)
        self._choose_light(stamp_ns)
        self.now = Conditions(
            holding=tuple((name, flag.smooth) for name, flag in self._held()),
            known=tuple(name for name in CONDITIONS if name in self._flags),
        )
        return self.now

    def _held(self) -> list[tuple[str, _Flag]]:
        return [
            (name, self._flags[name])
            for name in CONDITIONS
            if name in self._flags and (name == self._light or self._flags[name].holds)
        ]

    def _choose_light(self, stamp_ns: int) -> None:
        scores = {name: self._flags[name].smooth for name in LIGHTS if name in self._flags}
        if not scores:
            return
        best = max(scores, key=scores.__getitem__)
        if not self._light:
            self._light = best
        elif best == self._light or scores[best] - scores[self._light] < LIGHT_MARGIN:
            self._challenger = ""
        elif best != self._challenger:
            self._challenger, self._challenged_ns = best, stamp_ns
        elif (stamp_ns - self._challenged_ns) / 1e9 >= OFF_AFTER_S:
            self._light, self._challenger = best, ""


def _settle(flag: _Flag, stamp_ns: int) -> None:
    wanted = flag.smooth >= OFF if flag.holds else flag.smooth > ON
    if wanted == flag.holds:
        flag.since_ns = None
        return
    if flag.since_ns is None:
        flag.since_ns = stamp_ns
    if (stamp_ns - flag.since_ns) / 1e9 >= (OFF_AFTER_S if flag.holds else ON_AFTER_S):
        flag.holds, flag.since_ns = wanted, None
