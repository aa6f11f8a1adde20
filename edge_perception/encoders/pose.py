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
_FIXED = ("map", "odom", "world", "earth")  # of REP 105, and as simulators call the first
_SAME = 0.01  # m, and of a rotation's numbers: what a transform may be off and move nothing


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A pose for one frame of a sensor."""

    T_base_sensor: NDArray[np.float64]  # (4, 4)
    source: str  # as Geometry.pose_source
    doubt: str = ""  # why it is not to be trusted; empty: it is
    note: str = ""  # what the messages say otherwise; said once


class SensorPose:
    """The pose of one source, asked frame by frame. Used by one inference thread.

    Args:
        options: parameters of the source; its pose comes first.
        tree: transforms heard; None: there are none, for the reason in `why_no_tree`.
        needed: whether results are wrong without a pose.
        check: says what is odd about a pose, empty where nothing is.
        remark: says what may be odd about it and may be meant.
        why_no_tree: for people.
    """

    def __init__(
        self,
        options: SourceOptions,
        *,
        tree: TransformTree | None = None,
        needed: bool = True,
        check: Callable[[NDArray[np.float64]], str] | None = None,
        remark: Callable[[NDArray[np.float64]], str] | None = None,
        why_no_tree: str = NO_TREE,
    ) -> None:
        self._base_frame, self._max_gap_s = options.base_frame, options.tf_max_gap_s
        self._tree, self._needed, self._why_no_tree = tree, needed, why_no_tree
        self._check, self._remark = check, remark
        self._known: tuple[tuple[str, int], Placed] | None = None
        self._last: Placed | None = None  # found in tf before
        given = options.geometry()
        self._given: Placed | None = None
        self._given_in: dict[str, Placed] = {}  # where frames contradict the parameter, by frame
        if given.pose_source:
            self._given = self._looked_at(given.T_base_sensor, given.pose_source, "T_base_sensor")
            self._given_in = self._contradicting(self._given)

    @property
    def asks_tf(self) -> bool:
        """Whether transforms are wanted: no parameter says where the sensor sits."""
        return self._given is None and self._needed

    def at(self, frame_id: str, stamp_ns: int) -> Placed:
        """Return where the sensor sat when a frame was taken."""
        if self._given is not None:
            return self._given_in.get(frame_name(frame_id), self._given)
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
            last = self._last = self._looked_at(found.T, TF, what)
        if found.gap_s > self._max_gap_s:
            gap = f"{what} is {found.gap_s:.2f} s away from the frame > {self._max_gap_s:g} s"
            return replace(last, doubt="; ".join(filter(None, (last.doubt, gap))))
        return last

    def _nowhere(self, reason: str) -> Placed:
        if self._last is not None:  # better than the default, which is wrong for sure
            return replace(self._last, doubt=f"the pose is the last that tf gave; now {reason}")
        doubt = f"{UNPLACED} of the sensor: T_base_sensor is not set, and {reason}"
        return Placed(T_base_sensor=np.eye(4), source="", doubt=doubt if self._needed else "")

    def _contradicting(self, given: Placed) -> dict[str, Placed]:
        """Return what is noted of frames in which no sensor sits as the parameter says."""
        base, found = frame_name(self._base_frame), {}
        for name in _FIXED:
            text = (
                f"the messages say frame '{name}', which stays where it is while the vehicle moves "
                "(REP 105), and T_base_sensor says that it moves along: if they are in it, leave "
                "T_base_sensor empty, and tf tells where it is"
            )
            found[name] = replace(given, note="; ".join(filter(None, (given.note, text))))
        found.pop(base, None)
        if not np.allclose(given.T_base_sensor, np.eye(4), atol=_SAME):
            text = (
                f"the messages say frame '{base}', which is the base frame, and T_base_sensor "
                "moves them once more: if they are in it, set T_base_sensor: "
                "[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]"
            )
            found[base] = replace(given, note="; ".join(filter(None, (given.note, text))))
        return found

    def _looked_at(self, T: NDArray[np.float64], source: str, what: str) -> Placed:
        odd = self._check(T) if self._check is not None else ""
        noted = self._remark(T) if self._remark is not None else ""
        return Placed(
            T_base_sensor=T,
            source=source,
            doubt=f"{what}: {odd}" if odd else "",
            note=f"{what}: {noted}" if noted else "",
        )


def located(geometry: Geometry, placed: Placed) -> Geometry:
    """Return a geometry at a pose; the same object where nothing changes, which encoders notice."""
    same = geometry.pose_source == placed.source and np.array_equal(
        geometry.T_base_sensor, placed.T_base_sensor
    )
    if same and (not placed.note or placed.note in geometry.notes):
        return geometry
    notes = (*geometry.notes, placed.note) if placed.note else geometry.notes
    return replace(
        geometry, T_base_sensor=placed.T_base_sensor, pose_source=placed.source, notes=notes
    )


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
        remark=spec.remark_pose,
        why_no_tree=why_no_tree,
    )
