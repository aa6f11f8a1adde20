"""Transforms between frames as tf2 tells them: a tree, static and moving, asked at a stamp.

Pure: whoever feeds it reads the messages. Frames are compared without a leading slash, which
drivers of ROS 1 times still write. `T_parent_child` maps coordinates in the child to the parent.
"""

from __future__ import annotations

import difflib
import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import TransformError

TF_TYPE = "tf2_msgs/msg/TFMessage"
STATIC, MOVING = "/tf_static", "/tf"  # topics of tf2
NS = 1_000_000_000
KEPT_S = 10.0  # of moving transforms, as tf2 keeps them
_MOST = 2048  # samples of one moving transform: 10 s at 200 Hz
_MOST_FRAMES = 4096  # a publisher of ever new names must not fill the memory
_UNIT = 0.01  # how far the length of a quaternion may be from one
_AT_ONE = 0.9995  # cosine of half the angle, above which turns are interpolated linearly

Quaternion = tuple[float, float, float, float]  # x, y, z, w
Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Where a child frame is in its parent at a moment."""

    parent: str
    child: str
    stamp_ns: int
    position_m: Vector
    orientation: Quaternion


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where one frame is in another."""

    T: NDArray[np.float64]  # (4, 4), T_target_source
    moving: bool  # a transform on the way moves: it holds for this stamp only
    gap_s: float = 0.0  # from the stamp to the nearest sample of a moving transform; 0: between two


@dataclass(kw_only=True)
class _Link:
    """What is known between a child and its parent."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    samples: list[tuple[Vector, Quaternion]] = field(default_factory=list)


def frame_name(text: str) -> str:
    """Return a frame id as tf2 compares it."""
    return text.lstrip("/")


class TransformTree:
    """All transforms heard. Threads may add and ask at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}  # by child
        self.version = 0  # changes with every transform that is news
        self.parents_changed: dict[str, tuple[str, str]] = {}  # child: the parent before, and now

    def add(self, transform: Transform, *, static: bool) -> None:
        """Take in a transform; a static one holds at every stamp.

        Raises:
            TransformError: a frame has no name or is its own parent, the numbers are not finite,
                or the quaternion is not of unit length.
        """
        parent, child = frame_name(transform.parent), frame_name(transform.child)
        _check(transform, parent, child)
        sample = (transform.position_m, _normalised(transform.orientation))
        with self._lock:
            link = self._links.get(child)
            if link is None and len(self._links) >= _MOST_FRAMES:
                raise TransformError(f"transforms: expected at most {_MOST_FRAMES} frames")
            if link is not None and link.parent != parent:
                self.parents_changed[child] = (link.parent, parent)
            if link is None or link.parent != parent or link.static != static:
                link = self._links[child] = _Link(parent=parent, static=static)
            if static:
                if link.samples != [sample]:
                    link.stamps, link.samples = [transform.stamp_ns], [sample]
                    self.version += 1
            elif _keep(link, transform.stamp_ns, sample):
                self.version += 1

    def lookup(
        self, target: str, source: str, stamp_ns: int, *, max_gap_s: float = math.inf
    ) -> Located:
        """Return where `source` is in `target` at a stamp.

        Moving transforms are interpolated; outside of what is known the nearest sample holds, up
        to `max_gap_s` away.

        Raises:
            TransformError: a frame is not known, the frames are not connected, parents go in a
                circle, or the nearest sample is too far away.
        """
        target, source = frame_name(target), frame_name(source)
        with self._lock:
            T, moving, gap_s = np.eye(4), False, 0.0
            if target == source:
                return Located(T=T, moving=False)
            up, down = self._chains(target, source)
            steps = [(child, True) for child in up] + [(child, False) for child in reversed(down)]
            for child, inverse in steps:
                link = self._links[child]
                step, gap = _at(link, stamp_ns)
                T = T @ (_inverse(step) if inverse else step)
                moving, gap_s = moving or not link.static, max(gap_s, gap)
                if gap > max_gap_s:
                    raise TransformError(
                        f"the transform from '{link.parent}' to '{child}' is {gap:.2f} s away from "
                        f"the stamp, more than {max_gap_s:g} s"
                    )
        return Located(T=T, moving=moving, gap_s=gap_s)

    @property
    def frames(self) -> tuple[str, ...]:
        """All frames, sorted."""
        with self._lock:
            return tuple(sorted(self._known()))

    def _known(self) -> set[str]:
        return {*self._links, *(link.parent for link in self._links.values())}

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Return the frames from each one up to the nearest common one, which is left out."""
        for name in (source, target):
            if name not in self._known():
                raise TransformError(_unknown(name, sorted(self._known())))
        above_target, above_source = self._up(target), self._up(source)
        for index, name in enumerate(above_source):
            if name in above_target:
                return above_target[: above_target.index(name)], above_source[:index]
        raise TransformError(
            f"'{source}' and '{target}' are not connected: '{source}' hangs below "
            f"'{above_source[-1]}', '{target}' below '{above_target[-1]}'"
        )

    def _up(self, name: str) -> list[str]:
        """Return a frame and all above it, to the root."""
        chain = [name]
        while (link := self._links.get(chain[-1])) is not None:
            if link.parent in chain:
                circle = [*chain[chain.index(link.parent) :], link.parent]
                raise TransformError(f"frames go in a circle: {' below '.join(circle)}")
            chain.append(link.parent)
        return chain


def _check(transform: Transform, parent: str, child: str) -> None:
    if not parent or not child:
        raise TransformError(
            f"transform: expected a parent and a child frame, got '{parent}' and '{child}'"
        )
    if parent == child:
        raise TransformError(f"transform: expected two frames, '{child}' is its own parent")
    numbers = (*transform.position_m, *transform.orientation)
    length = math.sqrt(sum(value * value for value in transform.orientation))
    if not all(map(math.isfinite, numbers)) or not abs(length - 1.0) <= _UNIT:
        raise TransformError(
            f"transform from '{parent}' to '{child}': expected a finite position and a unit "
            f"quaternion, got {transform.position_m} and {transform.orientation}"
        )


def _keep(link: _Link, stamp_ns: int, sample: tuple[Vector, Quaternion]) -> bool:
    """Sort a sample in; False: one of that stamp is there. A jump back starts anew."""
    if link.stamps and stamp_ns < link.stamps[-1] - round(KEPT_S * NS):
        link.stamps.clear()  # the clock or the recording began again
        link.samples.clear()
    index = bisect_left(link.stamps, stamp_ns)
    if index < len(link.stamps) and link.stamps[index] == stamp_ns:
        return False
    link.stamps.insert(index, stamp_ns)
    link.samples.insert(index, sample)
    oldest_ns = link.stamps[-1] - round(KEPT_S * NS)
    old = max(bisect_left(link.stamps, oldest_ns), len(link.stamps) - _MOST)
    if old > 0:
        del link.stamps[:old], link.samples[:old]
    return True


def _at(link: _Link, stamp_ns: int) -> tuple[NDArray[np.float64], float]:
    """Return T_parent_child at a stamp, and how far the nearest sample is, s."""
    if link.static:
        return matrix(*link.samples[0]), 0.0
    index = bisect_left(link.stamps, stamp_ns)
    if index == len(link.stamps) or index == 0:
        nearest = min(index, len(link.stamps) - 1)
        return matrix(*link.samples[nearest]), abs(stamp_ns - link.stamps[nearest]) / NS
    before_ns, after_ns = link.stamps[index - 1], link.stamps[index]
    share = (stamp_ns - before_ns) / (after_ns - before_ns)
    (p0, q0), (p1, q1) = link.samples[index - 1], link.samples[index]
    position = tuple(a + (b - a) * share for a, b in zip(p0, p1, strict=True))
    return matrix((position[0], position[1], position[2]), _slerp(q0, q1, share)), 0.0


def _slerp(a: Quaternion, b: Quaternion, share: float) -> Quaternion:
    """Turn from one orientation to another (Shoemake, 1985)."""
    cosine = sum(x * y for x, y in zip(a, b, strict=True))
    if cosine < 0.0:  # the same turn the short way round
        b, cosine = (-b[0], -b[1], -b[2], -b[3]), -cosine
    if cosine > _AT_ONE:
        weights = (1.0 - share, share)
    else:
        angle = math.acos(cosine)
        weights = (math.sin((1.0 - share) * angle), math.sin(share * angle))
    x, y, z, w = (weights[0] * p + weights[1] * q for p, q in zip(a, b, strict=True))
    return _normalised((x, y, z, w))


def _normalised(q: Quaternion) -> Quaternion:
    length = math.sqrt(sum(value * value for value in q))
    return (q[0] / length, q[1] / length, q[2] / length, q[3] / length)


def matrix(position_m: Vector, orientation: Quaternion) -> NDArray[np.float64]:
    """Return a position and a unit quaternion (x, y, z, w) as a (4, 4) transform."""
    x, y, z, w = orientation
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = position_m
    return T


def orientation_of(T: NDArray[np.float64]) -> Quaternion:
    """Return the rotation of a (4, 4) transform as a unit quaternion x, y, z, w.

    The eigenvector of the largest eigenvalue (Bar-Itzhack, 2000).
    """
    R = T[:3, :3]
    lower = np.zeros((4, 4))
    lower[0, 0] = R[0, 0] - R[1, 1] - R[2, 2]
    lower[1, :2] = R[0, 1] + R[1, 0], R[1, 1] - R[0, 0] - R[2, 2]
    lower[2, :3] = R[0, 2] + R[2, 0], R[1, 2] + R[2, 1], R[2, 2] - R[0, 0] - R[1, 1]
    lower[3] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], np.trace(R)
    x, y, z, w = (float(value) for value in np.linalg.eigh(lower)[1][:, -1])
    return x, y, z, w


def other_order(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transform that was meant where its quaternion was given as w, x, y, z.

    Read as x, y, z, w it still has unit length, so only what it leads to tells.
    """
    w, x, y, z = orientation_of(T)
    px, py, pz = (float(value) for value in T[:3, 3])
    return matrix((px, py, pz), (x, y, z, w))


def _inverse(T: NDArray[np.float64]) -> NDArray[np.float64]:
    back = np.eye(4)
    back[:3, :3] = T[:3, :3].T
    back[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return back


def _unknown(name: str, known: list[str]) -> str:
    if not name:
        return "the messages have no frame_id"
    if not known:
        return "no transform has been heard yet"
    near = difflib.get_close_matches(name, known, 1)
    return f"no transform names the frame '{name}'; " + (
        f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known[:12])}"
    )


def transforms_of(message: object) -> list[Transform]:
    """Return the transforms of a tf2_msgs/TFMessage; reads attributes only."""
    found: Mapping[str, object] | list = getattr(message, "transforms", [])
    return [_transform_of(item) for item in found]


def _transform_of(item: object) -> Transform:
    header, pose = item.header, item.transform  # type: ignore[attr-defined]
    p, q = pose.translation, pose.rotation
    return Transform(
        parent=str(header.frame_id),
        child=str(item.child_frame_id),  # type: ignore[attr-defined]
        stamp_ns=int(header.stamp.sec) * NS + int(header.stamp.nanosec),
        position_m=(float(p.x), float(p.y), float(p.z)),
        orientation=(float(q.x), float(q.y), float(q.z), float(q.w)),
    )
