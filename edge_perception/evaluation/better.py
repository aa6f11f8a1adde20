"""Whether a candidate is better than what serves: by how much, and how sure that is.

Both sets see the same frames. Frames of one recording resemble each other, so whole recordings (or
simulated scenes) are drawn again with replacement, for both sets alike (paired cluster bootstrap,
Efron and Tibshirani, 1993): the interval is of the difference, and counts what is independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.parameter import parameter
from edge_perception.evaluation.matching import (
    CLASSES,
    MATCH_M,
    Curve,
    Judged,
    average_precision,
)

LEAST_GROUPS = 5  # of fewer no interval says anything
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Margin:
    """What a candidate must be better by, to be called better."""

    map_points: float = parameter(0.0, "of mAP, in points (0 to 100)", low=0.0, high=100.0)
    confidence: float = parameter(0.95, "of the interval of the difference", low=0.5, high=0.999)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of it. mAP and differences in points, 0 to 100."""

    current: float
    candidate: float
    low: float  # of the difference, at the confidence
    high: float
    frames: int
    groups: int
    classes: Mapping[str, tuple[float, float]]  # AP of current and candidate
    margin: Margin

    @property
    def difference(self) -> float:
        """Candidate less current."""
        return self.candidate - self.current

    @property
    def better(self) -> bool:
        """Whether it is better by at least the margin, and not by chance."""
        return self.low >= self.margin.map_points and self.low > 0.0

    @property
    def reason(self) -> str:
        """Why it is better or not, for people."""
        found = (
            f"mAP {self.current:.1f} became {self.candidate:.1f}: {self.difference:+.1f} points, "
            f"{self.margin.confidence:.0%} interval {self.low:+.1f} to {self.high:+.1f}, of "
            f"{self.frames} frames in {self.groups} groups"
        )
        wanted = f"at least {self.margin.map_points:+.1f}"
        if self.better:
            return f"better: {found}; {wanted} was asked for"
        if self.high < max(self.margin.map_points, 0.0):
            return f"not better: {found}; {wanted} was asked for"
        return f"not shown to be better: {found}; {wanted} was asked for"


def compare(
    current: Sequence[Sequence[Judged]],
    candidate: Sequence[Sequence[Judged]],
    margin: Margin,
    *,
    draws: int = _DRAWS,
) -> Comparison:
    """Compare two sets that saw the same frames.

    Args:
        current: results by group and frame; a group is a recording or a scene.
        candidate: the same groups and frames.
        margin: that is asked for.
        draws: of groups, with replacement; the same ones every time.

    Raises:
        ConfigurationError: there are too few groups, or nothing to find.
    """
    if [len(group) for group in current] != [len(group) for group in candidate]:
        raise ConfigurationError("compare: expected the same frames for both sets")
    groups = len(current)
    if groups < LEAST_GROUPS:
        raise ConfigurationError(
            f"compare: expected at least {LEAST_GROUPS} recordings or scenes, got {groups}: their "
            "number tells how sure a difference is"
        )
    both = [_Sorted(current), _Sorted(candidate)] if any(current) else []
    if not both or not both[0].labels:
        raise ConfigurationError("compare: expected objects to be found, the labels have none")
    whole = np.ones(groups)
    now, then = (item.ap(whole) for item in both)
    rng = np.random.default_rng(0)
    found = np.array(
        [
            both[1].mean(weights) - both[0].mean(weights)
            for weights in _draws(rng, groups, draws)
            if both[0].wanted(weights)
        ]
    )
    tail = 50.0 * (1.0 - margin.confidence)
    low, high = (float(v) for v in np.percentile(found, (tail, 100.0 - tail)))
    return Comparison(
        current=_mean(now),
        candidate=_mean(then),
        low=low,
        high=high,
        frames=sum(map(len, current)),
        groups=groups,
        classes={name: (now[name], then[name]) for name in now},
        margin=margin,
    )


def _draws(rng: np.random.Generator, groups: int, draws: int) -> Iterator[NDArray[np.float64]]:
    for _ in range(draws):
        yield np.bincount(rng.integers(groups, size=groups), minlength=groups).astype(float)


def _mean(ap: Mapping[str, float]) -> float:
    return float(np.mean(list(ap.values()))) if ap else float("nan")


class _Sorted:
    """Detections of all frames by class and distance, strongest first, with their groups."""

    def __init__(self, results: Sequence[Sequence[Judged]]) -> None:
        frames = [(number, frame) for number, group in enumerate(results) for frame in group]
        joined = Judged.joined([frame for _, frame in frames])
        group = np.concatenate([np.full(len(f.label), n) for n, f in frames]).astype(int)
        owner = np.concatenate([np.full(len(f.wanted_label), n) for n, f in frames]).astype(int)
        self._wanted = {k: owner[joined.wanted_label == k] for k in range(len(CLASSES))}
        self.labels = [k for k, owners in self._wanted.items() if len(owners)]
        self._rows: dict[tuple[int, int], tuple[NDArray, NDArray]] = {}
        for label in self.labels:
            for column in range(len(MATCH_M)):
                picked = np.flatnonzero((joined.label == label) & joined.counts[:, column])
                order = picked[np.argsort(-joined.score[picked], kind="stable")]
                self._rows[label, column] = (group[order], joined.hit[order, column])

    def wanted(self, weights: NDArray[np.float64]) -> bool:
        return any(weights[self._wanted[label]].sum() for label in self.labels)

    def mean(self, weights: NDArray[np.float64]) -> float:
        return _mean(self.ap(weights))

    def ap(self, weights: NDArray[np.float64]) -> dict[str, float]:
        """Return AP in points by class, each group counted as often as it was drawn."""
        found = {}
        for label in self.labels:
            wanted = float(weights[self._wanted[label]].sum())
            if wanted:
                values = [
                    average_precision(_curve(*self._rows[label, column], weights, wanted))
                    for column in range(len(MATCH_M))
                ]
                found[CLASSES[label]] = 100.0 * float(np.mean(values))
        return found


def _curve(group: NDArray, hit: NDArray, weights: NDArray[np.float64], wanted: float) -> Curve:
    counted = weights[group]
    drawn = counted > 0
    counted, hit = counted[drawn], hit[drawn]
    correct = np.cumsum(counted * hit)
    return Curve(
        recall=np.minimum(correct / wanted, 1.0),
        precision=correct / np.maximum(np.cumsum(counted), 1e-9),
        wanted=round(wanted),
    )
