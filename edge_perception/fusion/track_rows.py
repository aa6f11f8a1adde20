"""The tracks themselves: a row each, their places of the last second and what the filter says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import DetectedObject
from edge_perception.fusion.config import NS
from edge_perception.fusion.track_filter import Window, estimate, predicted
from edge_perception.fusion.track_kinds import assumed, kind_of

WINDOW_S = 1.0  # of places that count; of a gap among them no more than _MOST_GAP_S counts
COAST_S = 1.2  # a track that is not seen for longer is given up: occlusions of a second pass
MOST_TRACKS = 1000  # those unseen for longest go first
_COAST_NEW_S = 0.45  # the same of one seen once or twice: most of those are false
_SETTLED = 3  # times seen
_PLACES = 24  # kept of one track: a window at 20 Hz
_MOST_GAP_S = 0.25
_LEAST_PLACES, _LEAST_SPAN_S = 4, 0.25  # that a velocity is told from
_MODEL_VARIANCE = 4.0  # (m/s)², of a velocity that a model told
FRONT_S = 2.5  # of headings that say which end of a box is its front
_VIEWS = 25  # kept of them
_SHOWN = 5.0  # views that one counts for in which it moved as only a front does
_BACKWARDS_MPS = 2.0  # faster than one reverses
_MOST_NAMES = 4096  # of classes; a sender of ever new ones makes all tracks begin anew

# Rows are wide: `take`, `put` and `compress` move them in a fifth of the time that indexing takes.

_ROW = np.dtype(
    [
        ("id", np.int64), ("born_ns", np.int64), ("seen_ns", np.int64), ("hits", np.int64),
        ("group", np.int64), ("class_name", np.int64), ("kind", np.int64), ("count", np.int64),
        ("base_m", np.float64, (2,)),
        ("places_m", np.float64, (_PLACES, 2)), ("noise_m2", np.float64, (_PLACES, 3)),
        ("told_mps", np.float64, (_PLACES, 2)), ("stamps_ns", np.int64, (_PLACES,)),
        ("clocks_s", np.float64, (_PLACES,)),
        ("headings", np.float64, (_VIEWS, 2)), ("headed_ns", np.int64, (_VIEWS,)),
        ("base_heading", np.float64, (2,)),
        ("state", np.float64, (4,)), ("P", np.float64, (4, 4)), ("scale", np.float64),
        ("moved", np.bool_),  # since its newest place, by a way that nobody knows
    ]
)  # fmt: skip


class TrackRows:
    """All tracks, in the order of their birth; arrays of what each one is have the tracks last."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, _ROW)
        self._last_id = 0
        self._names: dict[str, int] = {}  # of groups and classes

    def __len__(self) -> int:
        return len(self._rows)

    # -- what they are --

    @property
    def ids(self) -> NDArray[np.int64]:
        """Number of each."""
        return self._column("id")

    @property
    def born_ns(self) -> NDArray[np.int64]:
        """Stamp of the first view of each."""
        return self._column("born_ns")

    @property
    def seen_ns(self) -> NDArray[np.int64]:
        """Stamp of the newest place of each."""
        return self._column("seen_ns")

    @property
    def kinds(self) -> NDArray[np.int64]:
        """What is assumed of each."""
        return self._column("kind")

    @property
    def groups(self) -> list[str]:
        """Group of classes of each."""
        names = list(self._names)
        return [names[number] for number in self._rows["group"].tolist()]

    @property
    def state(self) -> NDArray[np.float64]:
        """x, y, vx, vy at the newest place, (4, N)."""
        return self._column("state").T

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Of the state, (4, 4, N)."""
        return self._column("P").transpose(1, 2, 0)

    @property
    def scale(self) -> NDArray[np.float64]:
        """How much larger than assumed the variance of the places of each is, from 1."""
        return np.maximum(self._column("scale"), 1.0)

    @property
    def long_enough(self) -> NDArray[np.bool_]:
        """Whether the places of each are enough to tell a velocity."""
        rows = self._rows
        oldest_ns = rows["stamps_ns"][np.arange(len(rows)), rows["count"] - 1]
        span_s = (rows["seen_ns"] - oldest_ns) / NS
        return (rows["count"] >= _LEAST_PLACES) & (span_s >= _LEAST_SPAN_S)

    def _column(self, name: str) -> NDArray[Any]:
        return np.asarray(self._rows[name])

    def kinds_of(self, groups: Sequence[str]) -> NDArray[np.int64]:
        """Return what is assumed of groups."""
        return np.array([kind_of(group) for group in groups], np.int64)

    def _numbers(self, names: Sequence[str]) -> NDArray[np.int64]:
        if len(self._names) > _MOST_NAMES:
            self._names.clear()
            self._rows = self._rows[:0]
        numbers = [self._names.setdefault(name, len(self._names)) for name in names]
        return np.array(numbers, np.int64)

    def is_of_group(self, groups: Sequence[str]) -> NDArray[np.bool_]:
        """Whether objects, (M,), and tracks are of one group, (M, N)."""
        return np.asarray(self._known(groups)[:, None] == self._rows["group"])

    def is_other_class(self, classes: Sequence[str]) -> NDArray[np.bool_]:
        """Whether objects, (M,), were called otherwise than tracks when last seen, (M, N)."""
        return np.asarray(self._known(classes)[:, None] != self._rows["class_name"])

    def _known(self, names: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self._names.get(name, -1) for name in names], np.int64)

    # -- where they are --

    def at(self, stamp_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return states, (4, N), and covariances, (4, 4, N), at a stamp."""
        dt = (stamp_ns - self._rows["seen_ns"]) / NS
        return predicted(self.state, self.covariance, dt, assumed("acceleration", self.kinds))

    def told_covariance(self, index: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the covariance of the place as it was measured and the velocity, (M, 4, 4)."""
        part = self._rows.take(index)
        C: NDArray[np.float64] = part["P"].copy()
        xx, xy, yy = part["noise_m2"][:, 0].T * self.scale[index]
        C[:, 0, 0], C[:, 0, 1], C[:, 1, 0], C[:, 1, 1] = xx, xy, xy, yy
        return C

    # -- how they change --

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Let go of the others."""
        self._rows = self._rows.compress(kept)

    def let_go(self, at_ns: int) -> None:
        """Let go of what has not been seen for too long."""
        rows = self._rows
        patience_s = np.where(rows["hits"] >= _SETTLED, COAST_S, _COAST_NEW_S)
        seen = (at_ns - rows["seen_ns"]) / NS <= patience_s
        if not seen.all():
            self.keep(seen)
        if len(self._rows) > MOST_TRACKS:
            newest = np.argsort(-self._rows["seen_ns"], kind="stable")[:MOST_TRACKS]
            self._rows = self._rows[np.sort(newest)]

    def move(self, T: NDArray[np.float64]) -> None:
        """Go on in another frame with the newest place of each, known in the base frame.

        It finds the track again, and says nothing of its velocity: how the vehicle moved since is
        not known.
        """
        rows = self._rows
        x, y = rows["base_m"].T
        rows["places_m"][:, 0] = np.stack(
            [T[k, 0] * x + T[k, 1] * y + T[k, 3] for k in (0, 1)], axis=1
        )
        x, y = rows["base_heading"].T
        rows["headings"] = 0.0
        rows["headings"][:, 0] = np.stack([T[k, 0] * x + T[k, 1] * y for k in (0, 1)], axis=1)
        rows["told_mps"] = np.nan
        rows["count"] = np.minimum(rows["count"], 1)
        rows["moved"] = True
        self._filter(np.arange(len(rows)))

    def begin(self, groups: Sequence[str], stamp_ns: int, seen_ns: int) -> NDArray[np.intp]:
        """Begin tracks; return their rows. They know nothing until they learn."""
        first = len(self._rows)
        if not groups:
            return np.zeros(0, np.intp)
        born = np.zeros(len(groups), _ROW)
        born["id"] = self._last_id + 1 + np.arange(len(groups))
        born["born_ns"], born["seen_ns"] = stamp_ns, seen_ns
        born["group"], born["kind"] = self._numbers(groups), self.kinds_of(groups)
        self._last_id += len(groups)
        self._rows = np.concatenate([self._rows, born])
        return first + np.arange(len(groups))

    def learn(
        self,
        index: NDArray[np.intp],
        objects: Sequence[DetectedObject],
        places: NDArray[np.float64],
        noise: NDArray[np.float64],
        *,
        velocities: NDArray[np.float64],
        at_ns: int,
    ) -> None:
        """Take in new places, and run the filter.

        Args:
            index: rows.
            objects: of each.
            places: (2, M), frame of the tracks.
            noise: (3, M), of each place.
            velocities: (2, M), that a model told; NaN: none.
            at_ns: of the evidence.
        """
        if not len(index):
            return
        part = self._rows.take(index)
        part["clocks_s"] -= np.minimum((at_ns - part["seen_ns"]) / NS, _MOST_GAP_S)[:, None]
        for name in ("places_m", "noise_m2", "told_mps", "stamps_ns", "clocks_s"):
            part[name][:, 1:] = part[name][:, :-1].copy()
        part["places_m"][:, 0], part["noise_m2"][:, 0] = places.T, noise.T
        part["told_mps"][:, 0] = velocities.T
        part["stamps_ns"][:, 0], part["clocks_s"][:, 0] = at_ns, 0.0
        part["base_m"] = [item.center_m[:2] for item in objects]
        part["class_name"] = self._numbers([item.class_name for item in objects])
        part["count"][part["moved"]], part["moved"] = 0, False
        there = np.arange(_PLACES) < np.minimum(part["count"] + 1, _PLACES)[:, None]
        part["count"] = (there & (part["clocks_s"] >= -WINDOW_S - 1e-6)).sum(axis=1)
        part["hits"] += 1
        part["seen_ns"] = at_ns
        self._rows.put(index, part)
        self._filter(index)

    def face(
        self,
        index: NDArray[np.intp],
        headings: NDArray[np.float64],
        velocities: NDArray[np.float64],
        learning: NDArray[np.bool_],
        turn: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return which boxes have their front at the other end, by what was seen of them lately.

        The axis of a box is seen well; which end is the front is a guess in a single view of what
        stands. Views vote, and motion decides: a car that has stopped keeps the front it drove by.

        Args:
            index: rows, the newest places of which are those of the view.
            headings: (2, M), of the boxes of the view, frame of the tracks.
            velocities: (2, M), where the tracks tell them; NaN: they do not.
            learning: which are new.
            turn: (2, 2), from that frame to the base frame.
        """
        part = self._rows.take(index)
        fresh = part["seen_ns"][:, None] - part["headed_ns"] <= FRONT_S * NS
        before = np.where(fresh[:, :, None], part["headings"], 0.0)
        chain = np.concatenate([headings.T[:, None], before], axis=1)
        # Which way round each view saw it, against the newest: an axis turns little between two.
        steps = np.sign((chain[:, 1:] * chain[:, :-1]).sum(axis=2))
        views = np.cumprod(steps, axis=1) * np.hypot(before[..., 0], before[..., 1])
        votes = 1.0 + views.sum(axis=1)
        told = np.where(votes < 0.0, -headings, headings)
        speed = (told * velocities).sum(axis=0)
        moves = np.abs(np.nan_to_num(speed)) > _BACKWARDS_MPS
        told = np.where(moves & (speed < 0.0), -told, told)
        new = np.flatnonzero(learning)
        kept = part[new]
        for name in ("headings", "headed_ns"):
            kept[name][:, 1:] = kept[name][:, :-1].copy()
        kept["headings"][:, 0] = np.where(moves, _SHOWN * told, headings).T[new]
        kept["headed_ns"][:, 0] = kept["seen_ns"]
        facing = (told * np.minimum(np.abs(votes), _SHOWN)).T[new]
        kept["base_heading"] = np.stack(
            [facing[:, 0] * r[0] + facing[:, 1] * r[1] for r in turn], axis=1
        )
        self._rows.put(index[new], kept)
        return np.asarray((told * headings).sum(axis=0) < 0.0)

    def _filter(self, index: NDArray[np.intp]) -> None:
        """Run the filter over the windows of some tracks."""
        if not len(index):
            return
        part = self._rows.take(index)
        told = part["told_mps"][np.arange(len(part)), part["count"] - 1].T
        known = ~np.isnan(told[0])
        found = estimate(
            Window(
                places_m=np.ascontiguousarray(part["places_m"].transpose(1, 2, 0)),
                noise_m2=np.ascontiguousarray(part["noise_m2"].transpose(1, 2, 0)),
                times_s=((part["stamps_ns"] - part["seen_ns"][:, None]) / NS).T.copy(),
                counts=part["count"],
            ),
            start_mps=np.where(known, told, 0.0),
            start_variance=np.where(
                known, _MODEL_VARIANCE, assumed("speed_mps", part["kind"]) ** 2
            ),
            acceleration=assumed("acceleration", part["kind"]),
        )
        self._rows["state"][index] = found.state.T
        self._rows["P"][index] = found.covariance.transpose(2, 0, 1)
        self._rows["scale"][index] = found.scale


def largest(
    xx: NDArray[np.float64], xy: NDArray[np.float64], yy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the larger eigenvalues of symmetric matrices of two rows."""
    return np.asarray(0.5 * (xx + yy) + np.sqrt(0.25 * (xx - yy) ** 2 + xy * xy))


def turned(noise: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return covariances, (3, N): xx, xy, yy, in axes turned by a matrix, (2, 2)."""
    xx, xy, yy = noise
    (a, b), (c, d) = turn.tolist()
    return np.stack([
        a * a * xx + 2.0 * a * b * xy + b * b * yy,
        a * c * xx + (a * d + b * c) * xy + b * d * yy,
        c * c * xx + 2.0 * c * d * xy + d * d * yy,
    ])  # fmt: skip
