"""Tracks against the truth: CLEAR MOT, and AMOTA and AMOTP as nuScenes has them.

CLEAR MOT after Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance"
(2008): who was matched stays matched while it is near enough, the rest is assigned by distance.
AMOTA and AMOTP after Weng et al., "A Baseline for 3D Multi-Object Tracking" (2020) and the nuScenes
tracking task: 40 recalls from 10 % on, by the mean score of a track; a recall that is not reached
counts as 0 (AMOTA) and as the reach of a match (AMOTP).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

MATCH_M = 2.0  # between centres on the ground
_RECALLS = np.linspace(0.1, 1.0, 40)
_FAR = 1e6


@dataclass(frozen=True, kw_only=True)
class Step:
    """One class at one moment."""

    stamp_ns: int
    true_ids: NDArray[np.int64]  # (M,)
    true_m: NDArray[np.float64]  # (M, 2)
    wanted: NDArray[np.bool_]  # (M,); the others need not be found, and excuse who finds them
    track_ids: NDArray[np.int64]  # (N,)
    track_m: NDArray[np.float64]  # (N, 2)
    score: NDArray[np.float64]  # (N,)


@dataclass(kw_only=True)
class Counts:
    """What happened over any number of drives."""

    wanted: int = 0
    found: int = 0
    false: int = 0
    switches: int = 0  # found by another track than the time before
    fragments: int = 0  # lost, and found again later
    distance_m: float = 0.0  # sum over all found
    scores: list[float] = field(default_factory=list)  # of the tracks of all found

    def add(self, other: Counts) -> None:
        """Take in what happened on other drives."""
        self.wanted += other.wanted
        self.found += other.found
        self.false += other.false
        self.switches += other.switches
        self.fragments += other.fragments
        self.distance_m += other.distance_m
        self.scores += other.scores

    @property
    def mota(self) -> float:
        """1 minus missed, false and switches by wanted; NaN: nothing was wanted."""
        if not self.wanted:
            return float("nan")
        missed = self.wanted - self.found
        return 1.0 - (missed + self.false + self.switches) / self.wanted

    @property
    def motar(self) -> float:
        """The same of what this recall can reach, at least 0."""
        if not self.found:
            return 0.0
        return max(0.0, 1.0 - (self.false + self.switches) / self.found)

    @property
    def motp_m(self) -> float:
        """Mean distance of the centres of what was found, m; NaN: nothing was."""
        return self.distance_m / self.found if self.found else float("nan")


@dataclass(frozen=True, kw_only=True)
class _Near:
    """A step as it is counted again and again: who is near whom."""

    stamp_ns: int
    tracks: list[int]  # ids
    wanted: list[int]  # ids of those that must be found
    pairs: list[tuple[float, int, int]]  # distance, m, track and wanted one, by index, within reach
    excused: list[bool]  # of each track: near somebody who need not be found


@dataclass(frozen=True, kw_only=True)
class Drive:
    """One class over one drive, made ready to be counted."""

    steps: list[_Near]
    means: dict[int, float]  # mean score of each track

    @staticmethod
    def of(steps: Sequence[Step]) -> Drive:
        """Return the steps of one drive, in their order."""
        return Drive(steps=[_near(step) for step in steps], means=mean_scores(steps))


def _near(step: Step) -> _Near:
    gap_m = np.linalg.norm(step.track_m[:, None] - step.true_m[None], axis=-1)  # (N, M)
    wanted = gap_m[:, step.wanted]
    rows, columns = np.nonzero(wanted < MATCH_M)
    excused = (gap_m[:, ~step.wanted] < MATCH_M).any(axis=1)
    return _Near(
        stamp_ns=step.stamp_ns,
        tracks=step.track_ids.tolist(),
        wanted=step.true_ids[step.wanted].tolist(),
        pairs=[(float(wanted[n, m]), int(n), int(m)) for n, m in zip(rows, columns, strict=True)],
        excused=excused.tolist(),
    )


def mean_scores(steps: Sequence[Step]) -> dict[int, float]:
    """Return the mean score of every track of a drive."""
    scores: dict[int, list[float]] = {}
    for step in steps:
        for name, score in zip(step.track_ids.tolist(), step.score.tolist(), strict=True):
            scores.setdefault(name, []).append(score)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def follow_drive(drive: Drive, least_score: float = 0.0) -> Counts:
    """Count one drive, with the tracks of at least a mean score."""
    counts = Counts()
    last: dict[int, int] = {}  # true id to the track that found it last
    lost: set[int] = set()  # true ids that were found, and were missed since
    kept = {name for name, score in drive.means.items() if score >= least_score}
    for step in drive.steps:
        counts.wanted += len(step.wanted)
        pairs = _pairs(step, kept, last)
        for gap_m, track, true in pairs:
            name, who = step.tracks[track], step.wanted[true]
            counts.found += 1
            counts.switches += last.get(who, name) != name
            counts.fragments += who in lost
            counts.distance_m += gap_m
            counts.scores.append(drive.means[name])
            last[who] = name
            lost.discard(who)
        if len(pairs) < len(step.wanted):
            found = {step.wanted[true] for _, _, true in pairs}
            lost.update(who for who in step.wanted if who in last and who not in found)
        matched = {track for _, track, _ in pairs}
        counts.false += sum(
            name in kept and not excused and track not in matched
            for track, (name, excused) in enumerate(zip(step.tracks, step.excused, strict=True))
        )
    return counts


def _pairs(
    step: _Near, kept: Collection[int], last: Mapping[int, int]
) -> list[tuple[float, int, int]]:
    """Return which track found which of the wanted; matches go on where they can."""
    near = [pair for pair in step.pairs if step.tracks[pair[1]] in kept]
    stay = [pair for pair in near if last.get(step.wanted[pair[2]]) == step.tracks[pair[1]]]
    tracks, trues = {track for _, track, _ in stay}, {true for _, _, true in stay}
    rest = [pair for pair in near if pair[1] not in tracks and pair[2] not in trues]
    rows = {track: row for row, track in enumerate(dict.fromkeys(pair[1] for pair in rest))}
    columns = {true: column for column, true in enumerate(dict.fromkeys(p[2] for p in rest))}
    if len(rest) == len(rows) == len(columns):  # nobody has a choice
        return stay + rest
    cost = np.full((len(rows), len(columns)), _FAR)
    known = {}
    for pair in rest:
        place = rows[pair[1]], columns[pair[2]]
        cost[place], known[place] = pair[0], pair
    found = zip(*map(np.ndarray.tolist, linear_sum_assignment(cost)), strict=True)
    return stay + [known[place] for place in found if place in known]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time in which a road user was not found, between two moments at which it was."""

    seconds: float
    kept: bool  # the track after it is the one before


def gaps_of(drive: Drive) -> list[Gap]:
    """Return when road users were lost, or hidden, and whether their tracks outlived it."""
    last: dict[int, int] = {}
    seen_ns: dict[int, int] = {}
    found = []
    for step in drive.steps:
        for _, track, true in _pairs(step, drive.means, last):
            who, name = step.wanted[true], step.tracks[track]
            if who in last:
                seconds = (step.stamp_ns - seen_ns[who]) / 1e9
                found.append(Gap(seconds=seconds, kept=last[who] == name))
            last[who], seen_ns[who] = name, step.stamp_ns
    return found


def all_drives(drives: Sequence[Drive], least_score: float = 0.0) -> Counts:
    """Count several drives of one class."""
    counts = Counts()
    for drive in drives:
        counts.add(follow_drive(drive, least_score))
    return counts


def averages(drives: Sequence[Drive]) -> tuple[float, float]:
    """Return AMOTA and AMOTP (m) of one class; NaN where nothing is wanted."""
    everything = all_drives(drives)
    if not everything.wanted:
        return float("nan"), float("nan")
    scores = np.sort(everything.scores)[::-1]
    recalls = np.arange(1, len(scores) + 1) / everything.wanted
    accuracy, precision_m = np.zeros(len(_RECALLS)), np.full(len(_RECALLS), MATCH_M)
    known: dict[float, Counts] = {}
    for index, recall in enumerate(_RECALLS):
        if not len(scores) or recall > recalls[-1] + 1e-9:
            break
        least = float(np.interp(recall, recalls, scores))
        if least not in known:
            known[least] = all_drives(drives, least)
        accuracy[index] = known[least].motar
        precision_m[index] = known[least].motp_m
    return float(accuracy.mean()), float(np.nan_to_num(precision_m, nan=MATCH_M).mean())
