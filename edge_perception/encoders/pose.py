"""Where a sensor sits: as the parameter says, else as tf says, else nobody knows and it is said.

The same for nodes and replay: they differ in who fills the tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import TransformError
from edge_perception.core.transforms import Located, TransformTree, frame_name
from edge_perception.core.types import UNPLACED, Geometry
from edge_perception.encoders import EncoderSpec
from edge_perception.encoders.options import TF, SourceOptions

NO_TREE = "nothing listens to tf"


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A pose for one frame of a sensor."""

    T_base_sensor: NDArray[np.float64]  # (4, 4)
    source: str  # as Geometry.pose_source
    doubt: str = ""  # why it is not to be trusted; empty: it is


class SensorPose:
    """The pose of one source, asked frame by frame. Used by one inference thread.

    Args:
        options: parameters of the source; its pose comes first.
        tree: transforms heard; None: there are none, for the reason in `why_no_tree`.
        needed: whether results are wrong without a pose.
        check: says what is odd about a pose, empty where nothing is.
        why_no_tree: for people.
    """

    def __init__(
        self,
        options: SourceOptions,
        *,
        tree: TransformTree | None = None,
        needed: bool = True,
        check: Callable[[NDArray[np.float64]], str] | None = None,
        why_no_tree: str = NO_TREE,
    ) -> None:
        self._base_frame, self._max_gap_s = options.base_frame, options.tf_max_gap_s
        self._tree, self._needed, self._why_no_tree = tree, needed, why_no_tree
        self._check = check
        self._known: tuple[tuple[str, int], Placed] | None = None
        self._last: Placed | None = None  # found in tf before
        given = options.geometry()
        self._given = None
        if given.pose_source:
            self._given = Placed(
                T_base_sensor=given.T_base_sensor,
                source=given.pose_source,
                doubt=self._odd(given.T_base_sensor, "T_base_sensor"),
            )

    @property
    def asks_tf(self) -> bool:
        """Whether transforms are wanted: no parameter says where the sensor sits."""
        return self._given is None and self._needed

    def at(self, frame_id: str, stamp_ns: int) -> Placed:
        """Return where the sensor sat when a frame was taken."""
        if self._given is not None:
            return self._given
        version = self._tree.version if self._tree is not None else 0
        key = (frame_id, version)
        if self._known is not None and self._known[0] == key:
            return self._known[1]
        placed, moving = self._look_up(frame_id, stamp_ns)
        self._known = None if moving else (key, placed)
        return placed

    def _look_up(self, frame_id: str, stamp_ns: int) -> tuple[Placed, bool]:
        if self._tree is None:
            return self._nowhere(self._why_no_tree), False
        try:
            found = self._tree.lookup(self._base_frame, frame_id, stamp_ns)
        except TransformError as error:
            return self._nowhere(f"tf does not give one: {error}"), False
        return self._placed(found, frame_id), found.moving

    def _placed(self, found: Located, frame_id: str) -> Placed:
        last = self._last
        what = f"tf from '{self._base_frame}' to '{frame_name(frame_id)}'"
        if last is None or not np.array_equal(last.T_base_sensor, found.T):
            last = Placed(T_base_sensor=found.T, source=TF, doubt=self._odd(found.T, what))
            self._last = last
        if found.gap_s > self._max_gap_s:
            gap = f"{what} is {found.gap_s:.2f} s away from the frame > {self._max_gap_s:g} s"
            return replace(last, doubt="; ".join(filter(None, (last.doubt, gap))))
        return last

    def _nowhere(self, reason: str) -> Placed:
        if self._last is not None:  # better than the default, which is wrong for sure
            return replace(self._last, doubt=f"the pose is the last that tf gave; now {reason}")
        doubt = f"{UNPLACED} of the sensor: T_base_sensor is not set, and {reason}"
        return Placed(T_base_sensor=np.eye(4), source="", doubt=doubt if self._needed else "")

    def _odd(self, T: NDArray[np.float64], what: str) -> str:
        found = self._check(T) if self._check is not None else ""
        return f"{what}: {found}" if found else ""


def located(geometry: Geometry, placed: Placed) -> Geometry:
    """Return a geometry at a pose; the same object where nothing changes, which encoders notice."""
    same = geometry.pose_source == placed.source and np.array_equal(
        geometry.T_base_sensor, placed.T_base_sensor
    )
    if same:
        return geometry
    return replace(geometry, T_base_sensor=placed.T_base_sensor, pose_source=placed.source)


def pose_of(
    spec: EncoderSpec,
    options: SourceOptions,
    *,
    tree: TransformTree | None = None,
    why_no_tree: str = NO_TREE,
) -> SensorPose:
    """Return the pose of a source of a modality.

    Raises:
        ConfigurationError: the options have a pose that is none.
    """
    bearings = options.geometry().microphones_m is not None
    return SensorPose(
        options,
        tree=tree,
        needed=spec.needs_pose or bearings,
        check=spec.check_pose,
        why_no_tree=why_no_tree,
    )
