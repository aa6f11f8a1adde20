"""What a candidate loses, what other frames would make of that, and what a gate lets pass.

A loss is in points: of mAP (100 is everything), or of decisions without a partner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_perception.evaluation.matching import Judged, mean_ap

POINTS = 100.0
_DRAWS = 40
_INTERVAL = 1.96  # standard errors on both sides: 95 %
_SURE = 2.0  # standard errors from which the loss of a slice is one


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was lost."""

    loss: float  # points, the most of what the gate looks at (`gated_loss`)
    base: float  # points of the model before: mAP fused, or 100 of agreement
    score: float  # the same of the candidate
    slices: Mapping[str, float] = field(default_factory=dict)  # loss by slice, points
    error: float = 0.0  # standard error of the loss, points: what other frames would make of it
    errors: Mapping[str, float] = field(default_factory=dict)  # the same of slices that are gated
    failure: str = ""  # it does not run, or gives NaN

    @property
    def interval(self) -> tuple[float, float]:
        """Where the loss lies with 95 %, points."""
        return self.loss - _INTERVAL * self.error, self.loss + _INTERVAL * self.error

    def interval_of(self, name: str) -> tuple[float, float]:
        """Where the loss of a slice that is gated lies with 95 %, points."""
        reach = _INTERVAL * self.errors[name]
        return self.slices[name] - reach, self.slices[name] + reach

    @property
    def most(self) -> float:
        """What may have been lost, points: the upmost end of the intervals of what is gated."""
        return max([self.interval[1], *(self.interval_of(name)[1] for name in self.errors)])


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What may be lost."""

    points: float
    sure: bool = False  # what is not shown is refused: the upmost end of the intervals counts

    def __str__(self) -> str:
        return f"{'surely (95 %) ' if self.sure else ''}within {self.points:g} points"

    def lost(self, verdict: Verdict) -> float:
        """Return what the gate looks at, points."""
        return verdict.most if self.sure else verdict.loss

    def holds(self, verdict: Verdict) -> bool:
        """Whether a candidate may take the place of the model before."""
        return not verdict.failure and self.lost(verdict) <= self.points

    def untold(self, verdict: Verdict) -> list[str]:
        """Return the gated slices that lose more than is allowed, on too few frames to count."""
        beyond = [n for n in verdict.errors if verdict.slices[n] > self.points]
        return [] if self.sure or not self.holds(verdict) else beyond


def gated_loss(
    losses: Mapping[str, float], errors: Mapping[str, float], whole: Collection[str]
) -> tuple[float, float]:
    """Return the loss that the gate looks at, and its standard error, points.

    The largest of the whole and of the slices; a slice of few objects goes up and down by points
    between models that hardly differ, so its loss counts where it is no chance. Without that rule
    the largest of many slices would refuse what loses nothing; with it fewer frames are kinder to
    a slice, so `Gate.untold` names what was let pass, and `Gate.sure` has no such rule.

    Args:
        losses: by slice.
        errors: standard errors of the whole and of the slices that may count.
        whole: slices that are everything.
    """
    counted = [n for n in errors if n in whole or losses[n] > _SURE * errors[n]]
    worst = max(counted, key=lambda name: losses[name])
    return losses[worst], errors[worst]


def drawn(frames: Sequence[Judged]) -> NDArray[np.float64]:
    """Return mAP in points of the frames drawn again (bootstrap), the same draws for all models."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(frames), size=len(frames)) for _ in range(_DRAWS))
    return np.array([POINTS * mean_ap(Judged.joined([frames[i] for i in d])) for d in draws])


def paired_error(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the standard error of a loss, points, of what both models make of the same draws."""
    return float(np.nan_to_num(np.nanstd(before - after)))


def failed(error: Exception) -> Verdict:
    """Return the verdict on what does not run."""
    return Verdict(loss=POINTS, base=POINTS, score=0.0, failure=str(error).splitlines()[0][:300])


def share_error(frames: Sequence[tuple[float, float]]) -> float:
    """Return the standard error of a share of decisions, points, as other frames would have it.

    Decisions of one frame are right or wrong together, so frames count and not decisions; and no
    number of frames shows less than what one decision is worth.

    Args:
        frames: decisions with a partner, and all, of each frame.
    """
    paired, total = np.asarray(frames, np.float64).T
    whole = max(float(total.sum()), 1.0)
    apart = paired - total * (paired.sum() / whole)
    return float(POINTS * max(np.sqrt(np.square(apart).sum()), 1.0) / whole)
