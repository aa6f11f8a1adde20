"""What evidence of two models' decisions says against the operator's bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from edge_perception.core.parameter import parameter
from edge_perception.releases.behaviour import IMAGE, Estimate

SIGMAS = 3.0  # one-sided, 0.13 %
_LEAST_BLOCKS = 4
_LEAST_COUNT = 20.0  # objects that a bound is worked out from
_LEAST_SOUNDS = 8.0


class Verdict(Enum):
    """What the evidence says so far."""

    OPEN = "open"
    GOOD = "good"
    BAD = "bad"


def _share(default: float, text: str) -> float:
    return parameter(default, text, low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class DecisionBar:
    """How alike the decisions must be. Shares are of the objects of what serves, unless said."""

    min_found: float = _share(0.6, "have a partner within 2 m")
    min_found_band: float = _share(0.4, "of each range: 0-15, 15-25, 25-35 m and beyond")
    min_found_class: float = _share(0.4, "of each class")
    min_confirmed: float = _share(0.6, "of the candidate's objects have a partner")
    min_class: float = _share(0.8, "of the pairs are of one class")
    # One bus that is a truck for the other model may be all that is there of a class for long.
    min_class_each: float = _share(0.2, "of the pairs of each class")
    max_shift_m: float = parameter(0.5, "mean of partners, along x or y", unit="m", low=0, high=2)
    min_score: float = parameter(0.7, "score of partners, candidate to current", low=0, high=1)
    max_score: float = parameter(1.4, "the same, at most", low=1, high=100)
    min_count: float = parameter(0.6, "objects, candidate to current", low=0, high=1)
    max_count: float = parameter(1.6, "the same, at most", low=1, high=100)
    max_empty: float = _share(0.2, "frames without any object where the current set has some")
    min_heard: float = _share(0.5, "of the sounds are heard too")
    min_sounds_confirmed: float = _share(0.5, "of the candidate's sounds are heard by both")
    min_silence: float = _share(0.9, "of the windows without a sound are so for both")
    max_bearing_rad: float = parameter(
        0.6, "mean difference of where a sound comes from", unit="rad", low=0, high=3.15
    )


# An encoder alone sees less than the whole set, and retrained ones differ more: of the bundled
# camera models one finds a fifth of what its successor finds beyond 25 m.
SOURCE_BAR = DecisionBar(
    min_found=0.4,
    min_found_band=0.1,
    min_found_class=0.1,
    min_confirmed=0.3,
    min_class=0.7,
    min_class_each=0.0,
    max_shift_m=0.8,
    min_score=0.65,
    max_score=1.5,
    min_count=0.4,
    max_count=2.5,
    max_empty=0.3,
)


@dataclass(frozen=True, kw_only=True)
class BehaviourGate:
    """The bar, and how much evidence it takes."""

    min_frames: int = parameter(100, "frames compared before anything passes", low=10, high=10**6)
    max_frames: int = parameter(
        300, "after so many what is still open is judged by its mean", low=20, high=10**6
    )
    min_objects: int = parameter(
        50, "objects of the current set that were compared", low=0, high=10**6
    )
    min_paired: float = _share(0.5, "of the fused views of the current set have one to compare")
    whole: DecisionBar = field(default_factory=DecisionBar)  # fused
    source: DecisionBar = SOURCE_BAR  # one encoder


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check that lies outside the bar."""

    check: str
    text: str
    sure: bool  # its bound does, not only its mean


@dataclass(frozen=True, kw_only=True)
class BehaviourVerdict:
    """What the evidence says."""

    verdict: Verdict
    reason: str = ""  # why bad, or what it waits for
    unseen: tuple[str, ...] = ()  # what was there too seldom to be judged


def judge_behaviour(
    gate: BehaviourGate,
    bar: DecisionBar,
    estimates: Mapping[str, Estimate],
    frames: int,
    *,
    needs_objects: bool,
) -> BehaviourVerdict:
    """Judge a candidate by its decisions.

    Args:
        gate: how much evidence it takes.
        bar: of the whole set, or of a source.
        estimates: by check.
        frames: that were compared.
        needs_objects: whether nothing passes before `min_objects` were there.
    """
    findings = [item for check in estimates.items() if (item := _finding(bar, *check))]
    sure = [item.text for item in findings if item.sure]
    if sure:
        return BehaviourVerdict(verdict=Verdict.BAD, reason=_said(sure, frames))
    unseen = tuple(name for name, item in estimates.items() if not _enough(name, item))
    found = [estimates[name].count for name in ("found", f"{IMAGE}found") if name in estimates]
    objects = max(found, default=0.0)
    if needs_objects and objects < gate.min_objects:
        return _open(f"{objects:.0f} of {gate.min_objects} objects compared", unseen)
    if frames < gate.min_frames:
        return _open(f"{frames} of {gate.min_frames} frames compared", unseen)
    if frames < gate.max_frames and (findings or unseen):
        what = [item.text for item in findings] or [f"too few of: {', '.join(unseen)}"]
        return _open(f"{'; '.join(what)}, {frames} of {gate.max_frames} frames", unseen)
    if findings:
        return BehaviourVerdict(
            verdict=Verdict.BAD, reason=_said([item.text for item in findings], frames)
        )
    return BehaviourVerdict(verdict=Verdict.GOOD, unseen=unseen)


def _open(reason: str, unseen: tuple[str, ...]) -> BehaviourVerdict:
    return BehaviourVerdict(verdict=Verdict.OPEN, reason=reason, unseen=unseen)


def _said(texts: list[str], frames: int) -> str:
    shown = "; ".join(texts[:4]) + (f"; {len(texts) - 4} more" if len(texts) > 4 else "")
    return f"decides otherwise than what serves, {frames} frames: {shown}"


def _enough(check: str, estimate: Estimate) -> bool:
    check = check.removeprefix(IMAGE)
    least = _LEAST_SOUNDS if _is_sound(check) else _LEAST_COUNT
    if check in ("empty", "found", "confirmed", "count"):
        return True
    if check == "score":
        least /= 4  # a sum of scores
    return estimate.blocks >= _LEAST_BLOCKS and estimate.count >= least


def _is_sound(check: str) -> bool:
    return check.startswith(("heard", "sounds", "silence", "bearing"))


# Check: the fields of the bar that bound it from below and from above; none: not bounded there.
_LIMITS: dict[str, tuple[str | None, str | None]] = {
    "found": ("min_found", None),
    "found, range": ("min_found_band", None),
    "found, class": ("min_found_class", None),
    "confirmed": ("min_confirmed", None),
    "class": ("min_class", None),
    "class, each": ("min_class_each", None),
    "score": ("min_score", "max_score"),
    "count": ("min_count", "max_count"),
    "empty": (None, "max_empty"),
    "heard": ("min_heard", None),
    "heard, each": ("min_heard", None),
    "sounds confirmed": ("min_sounds_confirmed", None),
    "silence": ("min_silence", None),
    "bearing": (None, "max_bearing_rad"),
}


def _finding(bar: DecisionBar, check: str, estimate: Estimate) -> Finding | None:
    if not _enough(check, estimate):
        return None
    low, high = _limits(bar, check)
    if low <= estimate.mean <= high:
        return None
    limit = f"< {low:g}" if estimate.mean < low else f"> {high:g}"
    beyond = max(low - estimate.mean, estimate.mean - high)
    sure = estimate.blocks >= _LEAST_BLOCKS and beyond > SIGMAS * estimate.error
    return Finding(check=check, text=f"{check} {estimate.mean:.2f} {limit}", sure=sure)


def _limits(bar: DecisionBar, check: str) -> tuple[float, float]:
    """Return within which limits a check must lie."""
    kind = _kind(check.removeprefix(IMAGE))
    if kind == "shift":
        return -bar.max_shift_m, bar.max_shift_m
    lowest, highest = _LIMITS[kind]
    return (
        getattr(bar, lowest) if lowest else -math.inf,
        getattr(bar, highest) if highest else math.inf,
    )


def _kind(check: str) -> str:
    """Return the row of `_LIMITS` for a check, of which some are of one class, axis or range."""
    first, _, rest = check.partition(" ")
    if check in _LIMITS or first == "shift":
        return first if first == "shift" else check
    if first == "found":
        return "found, range" if rest.endswith((" m", " m+")) else "found, class"
    return f"{first}, each"
