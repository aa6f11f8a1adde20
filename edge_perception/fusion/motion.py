"""Motion of the vehicle between stamps, from odometry, and features moved along with it.

What a sensor saw at one stamp is expressed in the base frame of that moment. To fuse it with what
another one saw later it is moved into the base frame of the later stamp. The vehicle's own motion
is taken away; other road users move on only where a model gave their velocity.
"""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.native import library
from edge_perception.core.types import DetectedObject, Feature
from edge_perception.fusion.config import NS
from edge_perception.fusion.decision import OBSTACLE_POINTS
from edge_perception.fusion.odometry_watch import OdometryState, OdometryWatch, Pose
from edge_perception.fusion.tracks import EgoPose

KEPT = 1024  # poses; five seconds at 200 Hz
AHEAD_NS = NS // 5  # the newest pose may be extrapolated by so much
MAX_GAP_S = 2.0  # what lies between poses further apart is not known
STILL_M, STILL_RAD = 0.005, 0.0005  # less than this is no motion


class EgoMotion:
    """The newest poses, interpolated."""

    def __init__(self) -> None:
        # A pose that jumps begins another history. The one before it stays for stamps of before:
        # a frame of then may still be waited for, or be in work, when the jump arrives.
        self._histories: deque[_History] = deque([_History(0)], maxlen=2)
        self._watch = OdometryWatch()

    def add(self, pose: Pose) -> None:
        """Take in a pose; one that goes back, jumps or comes late starts the history anew."""
        if self._newest.stamps:
            step_s = (pose.stamp_ns - self._newest.stamps[-1]) / NS
            if step_s == 0.0:
                return
            if not 0.0 < step_s <= MAX_GAP_S:
                self.clear()
        if self._watch.jumps(pose):
            self._newest.until_ns = pose.stamp_ns
            self._histories.append(_History(self._newest.epoch + 1))
        self._newest.add(pose)

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        epoch = self._newest.epoch + 1
        self._histories.clear()
        self._histories.append(_History(epoch))
        self._watch.clear()

    @property
    def state(self) -> OdometryState:
        """What is known of the odometry."""
        return self._watch.state

    def reaches(self, stamp_ns: int) -> bool:
        """Whether the pose at a stamp is known, and can be believed."""
        return self._of(stamp_ns) is not None

    def between(self, from_ns: int, to_ns: int) -> NDArray[np.float64] | None:
        """Return T_to_from, (4, 4): the base frame of one stamp in that of another.

        None: odometry does not reach both stamps, jumped between them, or the base hardly moved.
        """
        history = self._of(from_ns)
        if from_ns == to_ns or history is None or history is not self._of(to_ns):
            return None
        start, end = history.pose_at(from_ns), history.pose_at(to_ns)
        turn = end[:3, :3].T
        T = np.eye(4)
        T[:3, :3] = turn @ start[:3, :3]
        T[:3, 3] = turn @ (start[:3, 3] - end[:3, 3])
        turned = np.abs(T[:3, :3] - np.eye(3)).max()
        return None if np.abs(T[:3, 3]).max() < STILL_M and turned < STILL_RAD else T

    def moves(
        self, stamps_ns: Mapping[str, int], to_ns: int
    ) -> dict[str, tuple[NDArray[np.float64], float]]:
        """Return T_to_from and the elapsed s from each stamp to another one, where it matters."""
        between = {name: (self.between(ns, to_ns), to_ns - ns) for name, ns in stamps_ns.items()}
        return {name: (T, ns / NS) for name, (T, ns) in between.items() if T is not None}

    def pose_at(self, stamp_ns: int) -> EgoPose | None:
        """Return where the base is at a stamp; None: odometry does not say."""
        history = self._of(stamp_ns)
        if history is None:
            return None
        return EgoPose(epoch=history.epoch, T=history.pose_at(stamp_ns))

    @property
    def _newest(self) -> _History:
        return self._histories[-1]

    def _of(self, stamp_ns: int) -> _History | None:
        if self._watch.state.fault:
            return None
        return next((h for h in reversed(self._histories) if h.reaches(stamp_ns)), None)


class _History:
    """Poses that compare: no jump lies between them."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch  # counts the histories: poses of two do not compare
        self.until_ns = 1 << 63  # stamp of the pose that jumped away from it
        self.stamps: list[int] = []
        self._poses: list[Pose] = []

    def add(self, pose: Pose) -> None:
        self.stamps.append(pose.stamp_ns)
        self._poses.append(pose)
        if len(self._poses) > KEPT:
            del self.stamps[: KEPT // 2], self._poses[: KEPT // 2]

    def reaches(self, stamp_ns: int) -> bool:
        stamps = self.stamps
        known = len(stamps) > 1 and stamps[0] <= stamp_ns <= stamps[-1] + AHEAD_NS
        return known and stamp_ns < self.until_ns

    def pose_at(self, stamp_ns: int) -> NDArray[np.float64]:
        """Return the pose at a stamp between two known ones, or a little after the newest."""
        index = min(max(bisect_left(self.stamps, stamp_ns), 1), len(self.stamps) - 1)
        before, after = self._poses[index - 1], self._poses[index]
        share = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        T = np.eye(4)
        T[:3, 3] = [
            a + share * (b - a) for a, b in zip(before.position_m, after.position_m, strict=True)
        ]
        T[:3, :3] = _rotation(_between(before.orientation, after.orientation, share))
        return T


def _between(
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
    share: float,
) -> tuple[float, float, float, float]:
    """Interpolate two orientations that are close together: a line, made a unit again."""
    sign = 1.0 if sum(a * b for a, b in zip(first, second, strict=True)) >= 0.0 else -1.0
    mixed = [a + share * (sign * b - a) for a, b in zip(first, second, strict=True)]
    length = math.sqrt(sum(value * value for value in mixed))
    x, y, z, w = (value / length for value in mixed)
    return x, y, z, w


def _rotation(q: tuple[float, float, float, float]) -> NDArray[np.float64]:
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def moved(feature: Feature, T: NDArray[np.float64], elapsed_s: float) -> Feature:
    """Return a feature in the base frame of another moment.

    Boxes, obstacle points and the pose of the sensor are moved here; grids by the fusion model,
    which knows their cells, along `displacement`.

    Args:
        feature: as its encoder gave it.
        T: T_to_from, (4, 4), see `EgoMotion.between`.
        elapsed_s: from the feature's stamp to the other one; moves what has a velocity.
    """
    geometry, tensors = feature.geometry, dict(feature.tensors)
    points = tensors.get(OBSTACLE_POINTS)
    if points is not None:
        tensors[OBSTACLE_POINTS] = (points @ T[:3, :3].T + T[:3, 3]).astype(points.dtype)
    return replace(
        feature,
        geometry=replace(geometry, T_base_sensor=T @ geometry.T_base_sensor),
        tensors=tensors,
        objects=tuple(_moved_box(box, T, elapsed_s) for box in feature.objects),
        displacement=T,
    )


def _moved_box(box: DetectedObject, T: NDArray[np.float64], elapsed_s: float) -> DetectedObject:
    velocity = np.array(box.velocity_mps)
    center = np.array(box.center_m) + np.nan_to_num(velocity) * elapsed_s
    yaw = math.atan2(T[1, 0], T[0, 0]) + box.yaw_rad
    x, y, z = (T[:3, :3] @ center + T[:3, 3]).tolist()
    vx, vy, vz = (T[:3, :3] @ velocity).tolist()
    return replace(
        box,
        center_m=(x, y, z),
        yaw_rad=math.atan2(math.sin(yaw), math.cos(yaw)),
        velocity_mps=(vx, vy, vz),
    )


@dataclass(frozen=True, kw_only=True)
class GroundGrid:
    """Cells of a bird's-eye tensor, (…, H, W): rows along +x, columns along +y, base frame."""

    x_min_m: float
    y_min_m: float
    cell_m: float

    def moved(self, tensor: NDArray, T: NDArray[np.float64]) -> NDArray:
        """Return a tensor (…, H, W) resampled in the base frame of another moment, bilinear.

        Args:
            tensor: at its own stamp.
            T: T_to_from, (4, 4). Cells that were outside of the grid become zero.
        """
        rows, columns = tensor.shape[-2:]
        x = self.x_min_m + (np.arange(rows) + 0.5)[:, None] * self.cell_m
        y = self.y_min_m + (np.arange(columns) + 0.5)[None, :] * self.cell_m
        # Where each cell of the result was: the inverse of the motion in the plane.
        dx, dy = x - T[0, 3], y - T[1, 3]
        row = (T[0, 0] * dx + T[1, 0] * dy - self.x_min_m) / self.cell_m - 0.5
        column = (T[0, 1] * dx + T[1, 1] * dy - self.y_min_m) / self.cell_m - 0.5
        r0, c0 = np.floor(row).astype(np.intp), np.floor(column).astype(np.intp)
        share_r, share_c = row - r0, column - c0
        index = np.empty((4, rows * columns), np.int32)
        weight = np.empty((4, rows * columns), tensor.dtype)
        for part, (down, right) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            r = np.clip(r0 + down, -1, rows) + 1
            c = np.clip(c0 + right, -1, columns) + 1
            index[part] = (r * (columns + 2) + c).ravel()
            of_row, of_column = (
                share_r if down else 1 - share_r,
                share_c if right else 1 - share_c,
            )
            weight[part] = (of_row * of_column).ravel()
        padded = np.zeros((*tensor.shape[:-2], rows + 2, columns + 2), tensor.dtype)
        padded[..., 1:-1, 1:-1] = tensor
        planes = padded.reshape(-1, (rows + 2) * (columns + 2))
        return blended(planes, index, weight).reshape(tensor.shape)


def blended(planes: NDArray, index: NDArray[np.int32], weight: NDArray) -> NDArray:
    """Return planes whose cells are four of the old ones each, times their weights.

    Args:
        planes: (C, old cells), contiguous.
        index: (4, cells), contiguous, of old cells.
        weight: (4, cells), contiguous, of the planes' dtype.
    """
    compiled = library()
    if compiled is None or planes.dtype != np.float32:
        return blended_numpy(planes, index, weight)
    made = np.empty((len(planes), index.shape[1]), np.float32)
    compiled.released.ep_blend(
        planes.ctypes, ctypes.c_int64(len(planes)), ctypes.c_int64(planes.shape[1]),
        index.ctypes, weight.ctypes, ctypes.c_int64(index.shape[1]), made.ctypes,
    )  # fmt: skip
    return made


def blended_numpy(planes: NDArray, index: NDArray[np.int32], weight: NDArray) -> NDArray:
    """Return the same, by NumPy alone."""
    made = np.zeros((len(planes), index.shape[1]), planes.dtype)
    for cells, share in zip(index, weight, strict=True):
        part = np.take(planes, cells, axis=-1)
        part *= share
        made += part
    return made


def displaced(
    features: Mapping[str, Feature], motion: Mapping[str, tuple[NDArray[np.float64], float]]
) -> dict[str, Feature]:
    """Return features by source, those that `motion` names moved: (T_to_from, elapsed s)."""
    return {
        name: moved(feature, *motion[name]) if name in motion else feature
        for name, feature in features.items()
    }
