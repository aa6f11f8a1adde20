"""Trials on streams of decisions: the real gate, frame by frame, as a manager asks it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_perception.core.types import DetectedObject
from edge_perception.releases.behaviour import BehaviourComparison, Decisions
from edge_perception.releases.slo import Slo
from edge_perception.releases.verdicts import DecisionBar, Verdict, judge_behaviour

Objects = Sequence[DetectedObject]
_POLL_FRAMES = 5  # a manager asks twice as often: it finds out at most so much later


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How one trial ended."""

    passed: bool
    frames: int
    reason: str


def decide(
    candidate: Iterable[Objects],
    current: Iterable[Objects],
    *,
    slo: Slo,
    bar: DecisionBar | None = None,
) -> TrialResult:
    """Compare frame by frame until the gate decides.

    Args:
        candidate: what it made of the frames.
        current: what serves made of them.
        slo: the operator's.
        bar: of what is compared; None: of a whole set.

    Raises:
        ValueError: undecided after all frames.
    """
    gate, comparison = slo.trial.behaviour, BehaviourComparison()
    waits = "nothing"
    frames = 0
    for frames, (ours, theirs) in enumerate(zip(candidate, current, strict=True), 1):
        comparison.add(Decisions(objects=ours), Decisions(objects=theirs))
        if frames % _POLL_FRAMES:
            continue
        found = judge_behaviour(
            gate, bar or gate.whole, comparison.estimates(), frames, needs_objects=True
        )
        if found.verdict is not Verdict.OPEN:
            passed = found.verdict is Verdict.GOOD
            return TrialResult(passed=passed, frames=frames, reason=found.reason)
        waits = found.reason
    raise ValueError(f"undecided after {frames} frames: {waits}")
