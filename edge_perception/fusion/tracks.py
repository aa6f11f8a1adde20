"""Tracks: which objects of successive views are one, how each moves, and how sure that is.

One piece gives ids, ages, velocities and covariances. Objects are assigned to tracks (linear sum
assignment over the innovations of `track_filter`, inside a group of classes); odometry takes the
vehicle's own motion out. A track that is not found in a view coasts: it waits where it should be
and is no object of the view. After a second it is given up. Ids are counted up and never used
again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.classes import group_of
from edge_perception.fusion.config import NS
from edge_perception.fusion.track_filter import mahalanobis
from edge_perception.fusion.track_kinds import assumed, place_noise
from edge_perception.fusion.track_rows import TrackRows, largest, turned

_LATE_NS = NS // 2  # evidence so much older than that of the view before is late; more: a jump
MOST_NEW_M = 3.5  # parked cars stand five metres apart
_MOST_ERROR_MPS = 1.0  # standard deviation above which no velocity is told
_MOST_SURPRISE = 16.0  # squared Mahalanobis distance of what may be the same: four deviations
_OTHER_CLASS = 2.0  # cost of another class of the same group
_FAR = 1e6  # cost of what cannot be the same object
_UPPER = np.triu_indices(4)


@dataclass(frozen=True, kw_only=True)
class EgoPose:
    """Where the base is at the stamp of a view."""

    epoch: int  # counts how often the odometry began anew: poses of two epochs do not compare
    T: NDArray[np.float64]  # T_odom_base, (4, 4)


@dataclass(frozen=True, kw_only=True)
class TrackPlace:
    """Where a track is at the stamp of a view, base frame; also of one that is not seen in it."""

    track_id: int
    group: str
    index: int  # of its object in the view; -1: it coasts
    center_m: tuple[float, float]
    spread_m: float  # standard deviation of the centre, larger axis
    speed_mps: float  # over ground; NaN: not told


class TrackPlaces(Sequence[TrackPlace]):
    """Where all tracks are at the stamp of a view; made one by one only once somebody looks.

    Hearing keeps those of every view and looks at them when a siren sounds.
    """

    def __init__(self, groups: Sequence[str], *columns: NDArray[Any]) -> None:
        """Hold what is known of every track.

        Args:
            groups: of each.
            columns: ids, indices, x, y, spreads and speeds, as of `TrackPlace`, (N,) each.
        """
        self._groups, self._columns = groups, columns

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, index: int) -> TrackPlace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TrackPlace]: ...
    def __getitem__(self, index: int | slice) -> TrackPlace | Sequence[TrackPlace]:
        return self._places[index]

    @cached_property
    def _places(self) -> tuple[TrackPlace, ...]:
        lists = zip(*(column.tolist() for column in self._columns), strict=True)
        return tuple(
            TrackPlace(
                track_id=name, group=group, index=index, center_m=(x, y), spread_m=spread,
                speed_mps=speed,
            )
            for group, (name, index, x, y, spread, speed) in zip(self._groups, lists, strict=True)
        )  # fmt: skip


class Tracker:
    """Gives the objects of successive views their tracks. One thread uses it."""

    def __init__(self) -> None:
        self._rows = TrackRows()
        self._epoch: int | None = None  # of the frame that tracks are in; None: the base frame
        self._measured_ns = 0  # of the newest evidence
        self._index = np.zeros(0, np.intp)  # of the object of each row in the newest view; -1: none
        self._T = np.eye(4)  # of the base in the frame of the tracks

    def forget(self) -> None:
        """Let go of all tracks; ids go on."""
        self._rows.keep(np.zeros(len(self._rows), bool))
        self._index = self._index[:0]

    def track(
        self,
        objects: Sequence[DetectedObject],
        *,
        stamp_ns: int,
        measured_ns: int,
        pose: EgoPose | None,
        cameras: Collection[str] = (),
    ) -> tuple[DetectedObject, ...]:
        """Return the objects of a view with id, age, covariance, and velocity where it is known.

        Velocities are m/s over ground, axes of the base frame; one that a model gave stands. An
        object whose front was at the other end in most views of late, or that moved that way, is
        turned by half a turn. A view of evidence that is not newer than that of the view before,
        as load control makes them and as a late source does, is given what is known and teaches
        nothing.

        Args:
            objects: of the view, base frame of its stamp.
            stamp_ns: of the view.
            measured_ns: of the evidence that places its objects.
            pose: of the base at that stamp; None: not known, and no velocity is told.
            cameras: sources that know directions better than ranges.
        """
        if measured_ns < self._measured_ns - _LATE_NS:  # the clock jumped back
            self.forget()
            self._measured_ns = 0
        self._enter(pose)
        late = measured_ns <= self._measured_ns
        self._measured_ns = max(measured_ns, self._measured_ns)
        if not late:
            self._rows.let_go(self._measured_ns)
        groups = [group_of(item.class_name) for item in objects]
        kinds = self._rows.kinds_of(groups)
        places = self._placed(objects)
        noise = turned(place_noise(objects, kinds, cameras), self._T[:2, :2])
        rows = self._assign(objects, groups, places, noise, measured_ns)
        learning = rows < 0 if late else np.ones(len(rows), bool)
        fresh = np.flatnonzero(rows < 0)
        rows[fresh] = self._rows.begin([groups[k] for k in fresh], stamp_ns, self._measured_ns)
        taught = np.flatnonzero(learning)
        self._rows.learn(
            rows[taught],
            [objects[k] for k in taught.tolist()],
            places[:, taught],
            noise[:, taught],
            velocities=self._in_frame(objects)[:, taught],
            at_ns=self._measured_ns,
        )
        self._index = np.full(len(self._rows), -1)
        self._index[rows] = np.arange(len(objects))
        return self._told(objects, rows, stamp_ns, learning)

    def places(self, stamp_ns: int) -> TrackPlaces:
        """Return where all tracks are at a stamp, those that coast too."""
        rows = self._rows
        state, P = rows.at(stamp_ns)
        away, turn = state[:2] - self._T[:2, 3, None], self._T[:2, :2]
        x = turn[0, 0] * away[0] + turn[1, 0] * away[1]
        y = turn[0, 1] * away[0] + turn[1, 1] * away[1]
        spread = np.sqrt(largest(P[0, 0], P[0, 1], P[1, 1]))
        speed = np.where(self._tells(), np.hypot(state[2], state[3]), np.nan)
        return TrackPlaces(rows.groups, rows.ids.copy(), self._index, x, y, spread, speed)

    def _enter(self, pose: EgoPose | None) -> None:
        """Go on in the frame of a pose; of tracks of another frame only the last place is kept."""
        epoch = None if pose is None else pose.epoch
        self._T = np.eye(4) if pose is None else pose.T
        if epoch != self._epoch:
            self._epoch = epoch
            self._rows.move(self._T)

    def _placed(self, objects: Sequence[DetectedObject]) -> NDArray[np.float64]:
        """Return the centres in the frame of the tracks, (2, N)."""
        x, y, z = np.array([item.center_m for item in objects]).reshape(-1, 3).T
        T = self._T
        # Written out: a product of matrices may round otherwise for another number of objects.
        return np.stack([T[k, 0] * x + T[k, 1] * y + T[k, 2] * z + T[k, 3] for k in (0, 1)])

    def _in_frame(self, objects: Sequence[DetectedObject]) -> NDArray[np.float64]:
        """Return velocities that a model told, in the frame of the tracks, (2, N); NaN: none."""
        x, y, _ = np.array([item.velocity_mps for item in objects]).reshape(-1, 3).T
        if self._epoch is None:  # they are over ground, the tracks are not
            x = np.full(len(x), np.nan)
        return np.stack([self._T[k, 0] * x + self._T[k, 1] * y for k in (0, 1)])

    def _tells(self) -> NDArray[np.bool_]:
        """Whether each track tells its velocity over ground."""
        P = self._rows.covariance
        sure = largest(P[2, 2], P[2, 3], P[3, 3]) < _MOST_ERROR_MPS**2
        return sure & self._rows.long_enough & (self._epoch is not None)

    def _assign(
        self,
        objects: Sequence[DetectedObject],
        groups: Sequence[str],
        places: NDArray[np.float64],
        noise: NDArray[np.float64],
        at_ns: int,
    ) -> NDArray[np.intp]:
        """Return the track of each object, -1: none."""
        rows = self._rows
        found = np.full(len(objects), -1)
        if not len(objects) or not len(rows):
            return found
        state, P = rows.at(at_ns)
        dx, dy = (places[axis][:, None] - state[axis] for axis in (0, 1))
        # Centres jump when an object is cut off or its other side is seen: a reach that is four
        # deviations is added to what is known of the noise.
        jump = (assumed("known_m", rows.kinds) / math.sqrt(_MOST_SURPRISE)) ** 2
        xx, xy, yy = noise[:, :, None] * rows.scale
        surprise, size = mahalanobis(P[0, 0] + xx + jump, P[0, 1] + xy, P[1, 1] + yy + jump, dx, dy)
        wide = np.sqrt(largest(*noise))[:, None]
        reach = self._reaches(at_ns, np.sqrt(largest(P[0, 0], P[0, 1], P[1, 1]))) + 2.0 * wide
        may = (
            rows.is_of_group(groups)
            & (surprise < _MOST_SURPRISE)
            & (dx * dx + dy * dy < reach * reach)
        )
        other = rows.is_other_class([item.class_name for item in objects])
        cost = np.where(may, surprise + np.log(size) + _OTHER_CLASS * other, _FAR)
        taken, tracks = linear_sum_assignment(cost)
        real = cost[taken, tracks] < _FAR
        found[taken[real]] = tracks[real]
        return found

    def _reaches(self, at_ns: int, spread_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far from its expected place each track may be found, m."""
        rows = self._rows
        unseen_s = np.abs(at_ns - rows.seen_ns) / NS
        new = assumed("new_m", rows.kinds) + assumed("fastest_mps", rows.kinds) * unseen_s
        known = assumed("known_m", rows.kinds) * (1.0 + unseen_s) + 2.0 * spread_m
        return np.where(rows.long_enough, known, np.minimum(new, MOST_NEW_M))

    def _told(
        self,
        objects: Sequence[DetectedObject],
        index: NDArray[np.intp],
        stamp_ns: int,
        learning: NDArray[np.bool_],
    ) -> tuple[DetectedObject, ...]:
        if not len(objects):
            return ()
        rows, back = self._rows, self._T[:2, :2].T
        modelled = np.array([not math.isnan(item.velocity_mps[0]) for item in objects], bool)
        tells = self._tells()[index] & ~modelled  # a model's velocity is not ours to vouch for
        velocities = rows.state[2:, index]
        vx, vy = velocities
        speeds = np.stack([back[k, 0] * vx + back[k, 1] * vy for k in (0, 1)], axis=1)
        yaws = np.array([item.yaw_rad for item in objects])
        c, s = np.cos(yaws), np.sin(yaws)
        headings = np.stack([back[0, k] * c + back[1, k] * s for k in (0, 1)])
        turn_round = rows.face(index, headings, np.where(tells, velocities, np.nan), learning, back)
        turn = np.zeros((4, 4))
        turn[:2, :2] = turn[2:, 2:] = back
        C = turn @ rows.told_covariance(index) @ turn.T
        C[~tells, 2:, :] = np.nan
        C[~tells, :, 2:] = np.nan
        columns = (speeds, tells, turn_round, rows.ids[index], rows.born_ns[index])
        upper = np.round(C[:, _UPPER[0], _UPPER[1]], 6).tolist()
        return tuple(
            replace(
                item,
                yaw_rad=_other_way(item.yaw_rad) if turns else item.yaw_rad,
                velocity_mps=(*speed, 0.0) if tell else item.velocity_mps,
                track_id=name,
                age_s=max(stamp_ns - born_ns, 0) / NS,
                covariance=tuple(values),
            )
            for item, speed, tell, turns, name, born_ns, values in zip(
                objects, *(column.tolist() for column in columns), upper, strict=True
            )
        )


def _other_way(yaw_rad: float) -> float:
    """Return the heading of the other end of a box."""
    return yaw_rad - math.copysign(math.pi, yaw_rad)
