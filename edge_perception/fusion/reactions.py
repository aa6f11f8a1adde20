"""What the policy does about conditions: a worse mode, thresholds, slower, another variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge_perception.core.conditions import CONDITIONS, Conditions
from edge_perception.core.parameter import parameter
from edge_perception.core.types import UNKNOWN, Mode


@dataclass(frozen=True, kw_only=True)
class ConditionPolicy:
    """What one condition changes while it holds."""

    condition: str = parameter(choices=CONDITIONS)
    min_confidence: float = parameter(0.6, low=0.0, high=1.0)  # in the condition, to begin
    release_after_s: float = parameter(3.0, unit="s", low=0.0, high=600.0)
    at_best: Mode = Mode.FULL
    confidence: float = parameter(1.0, low=0.0, high=1.0)  # of a view, at most
    min_score: float = parameter(0.0, low=0.0, high=1.0)  # objects below are left out
    max_speed_mps: float = parameter(0.0, unit="m/s", low=0.0, high=100.0)  # 0: no advice
    variants: Mapping[str, str] = field(default_factory=dict)  # bundle that serves, by source


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What all conditions that hold ask for together: the strictest of each.

    Variants have no strictest: of two for one source the one that the policy names first.
    """

    at_best: Mode = Mode.FULL
    confidence: float = 1.0
    min_score: float = 0.0
    speed_advice_mps: float = UNKNOWN  # NaN: none
    reason: str = ""  # of `at_best`; empty: it costs no mode
    variants: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # and why, by source


NO_REACTION = Reaction()


class ReactionState:
    """Applies the entries of a policy over time; the time is an argument."""

    def __init__(self, entries: Sequence[ConditionPolicy]) -> None:
        self._entries = tuple(entries)
        self._seen_ns: list[int | None] = [None] * len(self._entries)  # last time it held, steady

    def step(self, conditions: Conditions, now_ns: int) -> Reaction:
        """Return the reaction to what is told now; one that is not told any more is released."""
        if not self._entries:
            return NO_REACTION
        held = dict(conditions.holding)
        active = []
        for index, entry in enumerate(self._entries):
            began = self._seen_ns[index] is not None
            # What has begun goes on for as long as its source says so, however sure it is.
            if entry.condition in held and (began or held[entry.condition] >= entry.min_confidence):
                self._seen_ns[index] = now_ns
            seen_ns = self._seen_ns[index]
            if seen_ns is not None and now_ns - seen_ns > entry.release_after_s * 1e9:
                self._seen_ns[index] = None
            if self._seen_ns[index] is not None:
                active.append(entry)
        return _strictest(active) if active else NO_REACTION


def _strictest(entries: Sequence[ConditionPolicy]) -> Reaction:
    at_best = min(entry.at_best for entry in entries)
    variants: dict[str, tuple[str, str]] = {}
    for entry in entries:  # of two that want one source, the policy's first
        for source, variant in entry.variants.items():
            variants.setdefault(source, (variant, entry.condition))
    blamed = [entry.condition for entry in entries if entry.at_best is at_best]
    speeds = [entry.max_speed_mps for entry in entries if entry.max_speed_mps > 0.0]
    return Reaction(
        at_best=at_best,
        confidence=min(entry.confidence for entry in entries),
        min_score=max(entry.min_score for entry in entries),
        speed_advice_mps=min(speeds, default=UNKNOWN),
        reason=(
            f"{', '.join(dict.fromkeys(blamed))}: at best {at_best.name} by policy"
            if at_best is not Mode.FULL
            else ""
        ),
        variants=variants,
    )
