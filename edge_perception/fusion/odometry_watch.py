"""Whether odometry can be believed: jumps of its pose, and a pose that its twist contradicts.

Odometry is continuous (REP-105): what jumps was localised anew, and what lies before does not
compare. A twist is believed once it was not zero: many drivers leave it empty.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

MAX_SPEED_MPS = 100.0  # faster than any vehicle
_JUMP_M, _JUMP_RAD = 0.5, 0.15  # beside what its speed explains
_ACCELERATION_MPS2 = 20.0  # more than tyres hold
_TURN_RADPS = 4.0  # a robot that turns on the spot
_OVER_NS = 1_000_000_000
_LEAST_S = 0.5
_USUAL_S = 0.1  # from pose to pose, as long as nobody knows
_APART_M, _APART_SHARE = 1.0, 0.5  # of the way: twist and pose say another one
_NS = 1e9


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the base is in a frame that does not move, such as `odom` (REP-105)."""

    stamp_ns: int
    position_m: tuple[float, float, float]
    orientation: tuple[float, float, float, float]  # unit quaternion x, y, z, w
    speed_mps: float = math.nan  # of its twist; NaN: there is none


@dataclass(frozen=True, kw_only=True)
class OdometryState:
    """What is known of the odometry."""

    newest_ns: int = 0  # stamp of the newest pose; 0: there is none
    fault: str = ""  # why its poses are not used; empty: they are
    jumps: int = 0
    jump: str = ""  # the newest one, in words
    jumped_ns: int = 0  # stamp of the pose after it


class OdometryWatch:
    """Looks at poses in the order of their stamps."""

    def __init__(self) -> None:
        self._last: Pose | None = None
        self._changed_ns = 0  # some repeat a pose until they have another one
        self._twist_counts = False
        self._stamps: deque[int] = deque()  # of the last second, ns
        self._way_m = 0.0  # without jumps
        self._ways: deque[tuple[int, float]] = deque()  # of that second since a jump: ns, m
        self._steps: deque[tuple[Pose, float]] = deque()  # of it, with the way that twists tell, m
        self._told_m = 0.0
        self.state = OdometryState()

    def clear(self) -> None:
        """Forget the poses, as after a jump of the clock; jumps stay counted."""
        self._last = None
        self._stamps.clear()
        self._ways.clear()
        self._steps.clear()
        self.state = OdometryState(
            jumps=self.state.jumps, jump=self.state.jump, jumped_ns=self.state.jumped_ns
        )

    def jumps(self, pose: Pose) -> bool:
        """Take in a pose; returns whether it is not where the one before could have moved to."""
        last, self._last = self._last, pose
        self._twist_counts |= pose.speed_mps > 0.0
        text, step_s = "", 0.0
        if last is not None:
            step_s = (pose.stamp_ns - last.stamp_ns) / _NS
            text = self._jump(last, pose, step_s)
        if text:
            self._ways.clear()
            self._steps.clear()
        elif last is not None:
            self._way_m += math.dist(pose.position_m, last.position_m)
        self._remember(pose.stamp_ns)
        if last is None or pose.position_m != last.position_m:
            self._changed_ns = pose.stamp_ns
        state = self.state
        self.state = OdometryState(
            newest_ns=pose.stamp_ns,
            fault=self._contradiction(pose, step_s if last is not None else 0.0),
            jumps=state.jumps + bool(text),
            jump=text or state.jump,
            jumped_ns=pose.stamp_ns if text else state.jumped_ns,
        )
        return bool(text)

    def _remember(self, stamp_ns: int) -> None:
        self._stamps.append(stamp_ns)
        while stamp_ns - self._stamps[0] > _OVER_NS:
            self._stamps.popleft()
        self._ways.append((stamp_ns, self._way_m))
        while stamp_ns - self._ways[0][0] > _OVER_NS:
            self._ways.popleft()

    def _jump(self, last: Pose, pose: Pose, step_s: float) -> str:
        if step_s <= 0.0:
            return ""
        moved_m = math.dist(pose.position_m, last.position_m)
        dot = abs(sum(a * b for a, b in zip(pose.orientation, last.orientation, strict=True)))
        turned = 2.0 * math.acos(min(dot, 1.0))
        within = f"within {step_s:.2f} s: its tracks begin anew"
        if moved_m > self._reach_m(last, pose, step_s):
            return f"the position jumped by {moved_m:.2f} m {within}"
        held_s = max(step_s, (pose.stamp_ns - self._changed_ns) / _NS)
        if turned > _JUMP_RAD + _TURN_RADPS * held_s:
            return f"the heading jumped by {math.degrees(turned):.0f} degrees {within}"
        return ""

    def _reach_m(self, last: Pose, pose: Pose, step_s: float) -> float:
        """Return how far the base can have come in a step.

        Drivers that stamp at arrival stamp several poses within a moment: no step counts as
        shorter than they are on average.
        """
        over_s = (self._stamps[-1] - self._stamps[0]) / _NS
        usual_s = over_s / (len(self._stamps) - 1) if over_s >= _LEAST_S else _USUAL_S
        most_m = MAX_SPEED_MPS * max(step_s, usual_s)
        if self._twist_counts and not math.isnan(last.speed_mps + pose.speed_mps):
            speed_mps = max(last.speed_mps, pose.speed_mps)
        else:
            speed_mps = self._speed_by_poses()
        held_s = max(step_s, usual_s, (pose.stamp_ns - self._changed_ns) / _NS)
        gained_m = _ACCELERATION_MPS2 * held_s**2 / 2.0
        return min(most_m, _JUMP_M + 2.0 * speed_mps * held_s + gained_m)

    def _speed_by_poses(self) -> float:
        """Return the speed over the last second, m/s; infinite: it began too short a time ago.

        Of the whole way, as who goes to and fro does not stand.
        """
        (first_ns, before_m), (newest_ns, way_m) = self._ways[0], self._ways[-1]
        over_s = (newest_ns - first_ns) / _NS
        return (way_m - before_m) / over_s if over_s >= _LEAST_S else math.inf

    def _contradiction(self, pose: Pose, step_s: float) -> str:
        """Say that twist and pose tell another way over the last second; empty: they do not."""
        steps = self._steps
        if math.isnan(pose.speed_mps) or not 0.0 <= step_s <= 1.0:
            steps.clear()
            step_s = 0.0
        self._told_m = self._told_m + pose.speed_mps * step_s if steps else 0.0
        steps.append((pose, self._told_m))
        while pose.stamp_ns - steps[0][0].stamp_ns > _OVER_NS:
            steps.popleft()
        first, before_m = steps[0]
        over_s = (pose.stamp_ns - first.stamp_ns) / _NS
        if not self._twist_counts or over_s < _LEAST_S:
            return ""
        moved_m = math.dist(pose.position_m, first.position_m)
        told_m = self._told_m - before_m
        if abs(moved_m - told_m) <= max(_APART_M, _APART_SHARE * max(moved_m, told_m)):
            return ""
        return (
            f"its pose moves {moved_m / over_s:.1f} m/s, its twist says {told_m / over_s:.1f} m/s"
        )
