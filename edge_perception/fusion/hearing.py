"""Hearing and seeing together: which tracked object a siren comes from.

Every direction of a siren is held against where each track was at that moment. Over a few seconds
one candidate explains them best, or none does: then the siren is heard and not seen. All candidates
keep a probability, and what is believed is a function of those seconds alone. Tracks of one thing
are one candidate: what a track that is gone was heard as belongs to the one that goes on with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_perception.core.sound_names import is_siren, is_voice
from edge_perception.core.types import DetectedObject, SoundEvent
from edge_perception.fusion.bearings import (
    MOST_DIRECTIONS,
    Directions,
    Moment,
    Unseen,
    follow,
    log_likelihood,
    wrapped,
)
from edge_perception.fusion.classes import PERSON, VEHICLE
from edge_perception.fusion.config import NS
from edge_perception.fusion.shared_ground import SharedGround
from edge_perception.fusion.tracks import TrackPlace

REMEMBERED_S = 4.0  # of directions that count together
SILENT_S = 1.5  # a siren not heard for longer is over: those with pauses go on for as long
SURE, LEAST_HEARD = 0.5, 3  # probability and directions that make an emergency vehicle
_LATE_S = 0.25  # a direction is that of the newest half second of a window: of its middle
_KEPT_S = 1.5  # of where tracks were
_CENTER_RAD = math.radians(1.0)  # a siren is not in the middle of its vehicle
_NEAREST_M = 2.0
_UNSEEN = 0.15  # chance beforehand that a siren comes from nobody who is tracked
_MASKED = 0.45  # chance that the one direction of several sounds is never that of the siren
_MOVING_MPS, _MOVING = 1.5, 3.0  # who drives is so many times likelier to sound a siren
_SHARES = {VEHICLE: 1.0, PERSON: 0.05}  # police on two wheels are called cyclists
_OTHER_SHARE = 0.3
_MOST_CANDIDATES, _LEAST_SHARE = 5, 0.02  # that are told


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """A moment of a siren, and where tracks were then: bearing, noise."""

    at_ns: int
    moment: Moment
    tracks: Mapping[int, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class _Belief:
    """Where a siren comes from."""

    unseen: Unseen
    shares: Mapping[int, float]  # by track, the likeliest first; of tracks of one thing one
    same: Mapping[int, int]  # the others of them, and the one that speaks for them
    heard: int  # directions that count
    span_s: float

    @property
    def is_sure(self) -> bool:
        """Whether the likeliest track is told to be the one."""
        return self.heard >= LEAST_HEARD and next(iter(self.shares.values()), 0.0) >= SURE

    def share(self, track_id: int) -> float:
        """Return the probability of a track, or of what it is of."""
        return self.shares.get(self.same.get(track_id, track_id), 0.0)


@dataclass(kw_only=True)
class _Siren:
    """What one source hears of one kind of siren."""

    last_ns: int = 0  # heard, with or without a direction
    heard: deque[_Heard] = field(default_factory=deque)


class Hearing:
    """Attaches sirens to tracks. One thread uses it."""

    def __init__(self) -> None:
        self._where: deque[tuple[int, Sequence[TrackPlace]]] = deque()
        self._sirens: dict[str, _Siren] = {}
        self._others: deque[tuple[int, float]] = deque()  # when and where other sounds were alone
        self._ground = SharedGround()  # while a siren sounds

    def forget(self) -> None:
        """Begin anew."""
        self._where.clear()
        self._sirens.clear()
        self._ground.forget()
        self._others.clear()

    def attach(
        self,
        objects: Sequence[DetectedObject],
        events: Sequence[SoundEvent],
        places: Sequence[TrackPlace],
        stamp_ns: int,
    ) -> tuple[tuple[DetectedObject, ...], tuple[SoundEvent, ...]]:
        """Return objects and sound events that say where sirens come from.

        Args:
            objects: of the view.
            events: that were not told before.
            places: of all tracks at the stamp of the view, those that coast too.
            stamp_ns: of the view.
        """
        if places:
            self._note(places, stamp_ns)
        told = tuple(
            replace(event, bearing_std_rad=math.nan, track_id=0, candidates=(), origin="")
            for event in events
        )
        for event in told:
            if is_siren(event.class_name):
                rivals = [
                    item.class_name for item in told
                    if (item.source, item.window_end_ns) == (event.source, event.window_end_ns)
                    and not is_siren(item.class_name)
                ]  # fmt: skip
                self._hear(event, alone=all(map(is_voice, rivals)))
            elif math.isfinite(event.bearing_rad):
                self._others.append((event.window_end_ns, event.bearing_rad))
        while self._others and abs(stamp_ns - self._others[0][0]) > REMEMBERED_S * NS:
            self._others.popleft()
        others = [bearing for _, bearing in self._others]
        self._sirens = {
            name: siren for name, siren in self._sirens.items()
            if abs(stamp_ns - siren.last_ns) <= SILENT_S * NS
        }  # fmt: skip
        if self._sirens:
            self._ground.note(objects, places, stamp_ns, stamp_ns - round(REMEMBERED_S * NS))
        else:
            self._ground.forget()
        beliefs = {
            name: _believe(siren, places, others, self._ground)
            for name, siren in self._sirens.items()
            if siren.heard
        }
        indices = {place.track_id: place.index for place in places} if beliefs else {}
        told = tuple(
            _with_origin(event, beliefs.get(event.source), indices)
            if is_siren(event.class_name)
            else event
            for event in told
        )
        return self._marked(objects, beliefs, stamp_ns), told

    def _note(self, places: Sequence[TrackPlace], stamp_ns: int) -> None:
        """Remember where each track is."""
        if self._where and stamp_ns <= self._where[-1][0]:
            if self._where[-1][0] - stamp_ns > NS:  # the clock jumped back
                self.forget()
            else:
                return
        self._where.append((stamp_ns, places))
        while stamp_ns - self._where[0][0] > _KEPT_S * NS:
            self._where.popleft()

    def _hear(self, event: SoundEvent, *, alone: bool) -> None:
        siren = self._sirens.setdefault(event.source, _Siren())
        siren.last_ns = max(siren.last_ns, event.window_end_ns)
        told = (event.bearing_rad, *event.other_bearings_rad)
        bearings = tuple(value for value in told if math.isfinite(value))[:MOST_DIRECTIONS]
        if not bearings:
            return
        at_ns = event.window_end_ns - round(_LATE_S * NS)
        if siren.heard and at_ns <= siren.heard[-1].at_ns:
            return
        siren.heard.append(
            _Heard(
                at_ns=at_ns,
                moment=Moment(
                    bearings_rad=bearings,
                    alone=alone,
                    told_apart=math.isfinite(event.bearing_rad),
                ),
                tracks=self._tracks_at(at_ns),
            )
        )
        while at_ns - siren.heard[0].at_ns > REMEMBERED_S * NS:
            siren.heard.popleft()

    def _tracks_at(self, at_ns: int) -> dict[int, tuple[float, float]]:
        """Return in which direction each track was at a moment, between two views."""
        after = next((item for item in self._where if item[0] >= at_ns), None)
        before = next((item for item in reversed(self._where) if item[0] <= at_ns), None)
        if before is None or after is None or before[0] == after[0]:
            return _directions((before or after or (0, ()))[1])
        share = (at_ns - before[0]) / (after[0] - before[0])
        earlier, found = _directions(before[1]), {}
        for name, (bearing, noise) in _directions(after[1]).items():
            if name in earlier:
                step = float(wrapped(bearing - earlier[name][0]))
                found[name] = (bearing - (1.0 - share) * step, noise)
            else:
                found[name] = (bearing, noise)
        return found

    def _marked(
        self, objects: Sequence[DetectedObject], beliefs: Mapping[str, _Belief], stamp_ns: int
    ) -> tuple[DetectedObject, ...]:
        """Return objects that say how likely each is to be an emergency vehicle."""
        if not beliefs:
            return tuple(objects)
        found = []
        for item in objects:
            source, belief = max(beliefs.items(), key=lambda b: b[1].shares.get(item.track_id, 0.0))
            share = belief.shares.get(item.track_id, 0.0)
            best = next(iter(belief.shares), None) == item.track_id
            evidence = ""
            if best and belief.is_sure:
                ago_s = max(stamp_ns - self._sirens[source].last_ns, 0) / NS
                evidence = _evidence(source, item, belief, ago_s)
            found.append(replace(item, emergency=round(share, 4), emergency_evidence=evidence))
        return tuple(found)


def _directions(places: Sequence[TrackPlace]) -> dict[int, tuple[float, float]]:
    """Return in which direction each track is, and how sure that is: bearing, noise."""
    where = {}
    for place in places:
        x, y = place.center_m
        noise = math.hypot(
            math.atan2(place.spread_m, max(math.hypot(x, y), _NEAREST_M)), _CENTER_RAD
        )
        where[place.track_id] = (math.atan2(y, x), noise)
    return where


def _believe(
    siren: _Siren,
    places: Sequence[TrackPlace],
    others_rad: Sequence[float],
    ground: SharedGround,
) -> _Belief:
    """Weigh all tracks, and nobody of them, by the directions of the last seconds.

    Where something else sounds and only one direction is found, all of these moments may be of that
    other sound, however steady it is: then they tell nothing.
    """
    everything = list(siren.heard)
    belief = _weigh(everything, places, others_rad, ground)
    clear = [item for item in everything if item.moment.is_clear]
    if len(clear) == len(everything):
        return belief
    rest = _weigh(clear, places, others_rad, ground) if clear else None
    everybody = sum(_prior(place) for place in places)
    nothing = {p.track_id: (1.0 - _UNSEEN) * _prior(p) / everybody for p in places}
    shares = {
        name: (1.0 - _MASKED) * share
        + _MASKED * (rest.share(name) if rest else nothing.get(name, 0.0))
        for name, share in belief.shares.items()
    }
    ranked = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    return replace(belief, shares=dict(ranked))


def _weigh(
    heard: Sequence[_Heard],
    places: Sequence[TrackPlace],
    others_rad: Sequence[float],
    ground: SharedGround,
) -> _Belief:
    """Weigh all tracks by some moments, at least one."""
    directions = Directions.of([item.moment for item in heard], others_rad)
    times_s = [(item.at_ns - heard[-1].at_ns) / NS for item in heard]
    unseen = follow(times_s, directions, directions.noise_rad)
    prior = {place.track_id: _prior(place) for place in places}
    # Who was there and is not tracked any more is nobody's rival, and may still be the source.
    gone = {name for item in heard for name in item.tracks} - prior.keys()
    prior |= dict.fromkeys(gone, 1.0)
    things = ground.together(prior)
    fit = _fits(heard, things, directions, unseen)
    # Any of the tracks of one thing may have been the right one all along.
    likely = [float(np.logaddexp.reduce([fit[n] for n in t])) - math.log(len(t)) for t in things]
    chances = np.array([max(prior[name] for name in thing) for thing in things])
    logs = np.log((1.0 - _UNSEEN) * chances / chances.sum()) + likely
    nobody = math.log(_UNSEEN) + float(unseen.log_likelihood.sum())
    weights = np.exp(logs - np.logaddexp.reduce([nobody, *logs]))
    seen = {place.track_id for place in places if place.index >= 0}
    speakers = [_speaker(thing, fit, seen, gone) for thing in things]
    ranked = sorted(
        (-weight, name) for weight, name in zip(weights.tolist(), speakers, strict=True) if name
    )
    return _Belief(
        unseen=unseen,
        shares={name: -share for share, name in ranked},
        same={
            name: speaker
            for thing, speaker in zip(things, speakers, strict=True)
            for name in thing
            if name != speaker
        },
        heard=len(heard),
        span_s=-times_s[0],
    )


def _fits(
    heard: Sequence[_Heard],
    things: Sequence[Sequence[int]],
    directions: Directions,
    unseen: Unseen,
) -> dict[int, float]:
    """Return how well each track explains some moments, as a logarithm."""
    names = [name for thing in things for name in thing]
    rows = [
        [_direction(item.tracks, n, thing) for item in heard] for thing in things for n in thing
    ]
    where = np.array(rows).reshape(len(names), len(heard), 2)
    bearings_rad, wide = where[..., 0], np.hypot(where[..., 1], directions.noise_rad)
    own = log_likelihood(directions.bearings_rad, directions.chances, bearings_rad, wide)
    # Before a track was there its direction is as likely as that of somebody unseen.
    fits = np.where(np.isnan(bearings_rad), unseen.log_likelihood, own).sum(axis=1)
    return dict(zip(names, fits.tolist(), strict=True))


def _direction(
    tracks: Mapping[int, tuple[float, float]], name: int, thing: Sequence[int]
) -> tuple[float, float]:
    """Return where a track was at a moment, or what is of the same thing: bearing, noise."""
    known = next((other for other in (name, *thing) if other in tracks), 0)
    return tracks.get(known, (math.nan, 0.0))


def _speaker(
    thing: Sequence[int], fit: Mapping[int, float], seen: Collection[int], gone: Collection[int]
) -> int:
    """Return the track that speaks for a thing: of those seen the best; 0: all are gone."""
    tracked = [name for name in thing if name not in gone]
    return max(tracked, key=lambda name: (name in seen, fit[name], -name), default=0)


def _prior(place: TrackPlace) -> float:
    share = _SHARES.get(place.group, _OTHER_SHARE)
    return share * (_MOVING if place.speed_mps > _MOVING_MPS else 1.0)  # NaN: not known


def _with_origin(
    event: SoundEvent, belief: _Belief | None, indices: Mapping[int, int]
) -> SoundEvent:
    """Return a siren that says where it comes from."""
    if belief is None:
        return replace(event, origin="heard, not seen: direction not known")
    told = [
        (name, round(share, 4)) for name, share in belief.shares.items() if share >= _LEAST_SHARE
    ][:_MOST_CANDIDATES]
    bearing = math.degrees(belief.unseen.bearing_rad)
    std = math.degrees(belief.unseen.std_rad)
    where = f"bearing {bearing:.0f} deg +- {std:.0f} deg"
    event = replace(event, bearing_std_rad=round(belief.unseen.std_rad, 4), candidates=tuple(told))
    if not belief.is_sure:
        several = f"; {len(told)} candidates" if told else ""
        return replace(event, origin=f"heard, not seen: {where}{several}")
    name, share = told[0]
    if indices.get(name, -1) < 0:
        text = f"heard, hidden at present: track {name} at {share:.0%}, {where}"
        return replace(event, origin=text)
    return replace(event, origin=f"track {name} at {share:.0%}, {where}", track_id=name)


def _evidence(source: str, item: DetectedObject, belief: _Belief, ago_s: float) -> str:
    own = math.degrees(math.atan2(item.center_m[1], item.center_m[0]))
    others = [f"{value:.0%}" for name, value in belief.shares.items() if name != item.track_id]
    return (
        f"siren heard by {source} from {math.degrees(belief.unseen.bearing_rad):.0f} deg, "
        f"object at {own:.0f} deg: {belief.heard} directions in {belief.span_s:.1f} s, last heard "
        f"{ago_s:.1f} s ago; next candidate {others[0] if others else 'none'}"
    )
