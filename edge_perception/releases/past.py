"""What fused views tell of the objectives, summed up over a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from edge_perception.releases.slo import DEADLINE, DRIFT, END_TO_END, ERRORS, VALID, Objective, Slo

_SCORE_SPAN, _COUNT_SPAN = 0.5, 8.0  # differences that are a drift of 1
_FEW = 0.25  # objects a view below which their number says little
_LEAST_WINDOW = 20  # views of a window, to tell how decisions vary
_LEAST_OBJECTS = 20  # whose scores and classes are compared


@dataclass(frozen=True, kw_only=True)
class ViewFacts:
    """What one published view tells."""

    end_to_end_ms: float  # NaN: none contributes
    deadline_missed: bool
    valid: bool
    error: bool  # a source INVALID, or the fusion model failed
    classes: tuple[str, ...] = ()  # of its objects
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Past:
    """The time before a change."""

    views: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)  # views by name of the objective
    empty: int = 0  # views without an object
    objects: int = 0
    score_sum: float = 0.0
    classes: Mapping[str, int] = field(default_factory=dict)
    memory_mb: float = 0.0  # of the nodes; 0: not known
    seconds: float = 0.0  # from the first to the last view
    varied: float = 0.0  # largest drift of a window of it from the whole


def past_of(views: Iterable[tuple[float, ViewFacts]], slo: Slo, *, memory_mb: float = 0.0) -> Past:
    """Sum up views, each with its time, s."""
    timed = list(views)
    whole = summed((facts for _, facts in timed), slo)
    window_s = next((item.window_s for item in slo.objectives if item.indicator == DRIFT), 0.0)
    varied = max((drift(whole, part)[0] for part in _windows(timed, window_s, slo)), default=0.0)
    seconds = timed[-1][0] - timed[0][0] if timed else 0.0
    return replace(whole, memory_mb=memory_mb, seconds=seconds, varied=varied)


def _windows(timed: list[tuple[float, ViewFacts]], window_s: float, slo: Slo) -> Iterator[Past]:
    """Yield the sums of pieces of a time, one after another."""
    pieces: dict[int, list[ViewFacts]] = {}
    for at_s, facts in timed if window_s else ():
        pieces.setdefault(int((at_s - timed[0][0]) / window_s), []).append(facts)
    return (summed(piece, slo) for piece in pieces.values() if len(piece) >= _LEAST_WINDOW)


def summed(facts: Iterable[ViewFacts], slo: Slo) -> Past:
    """Sum up views."""
    bad: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    views = empty = objects = 0
    score_sum = 0.0
    for item in facts:
        views += 1
        empty += not item.classes
        objects += len(item.classes)
        score_sum += sum(item.scores)
        classes.update(item.classes)
        for objective in slo.objectives:
            bad[objective.name] += is_bad(objective, item)
    return Past(
        views=views,
        bad=dict(bad),
        empty=empty,
        objects=objects,
        score_sum=score_sum,
        classes=dict(classes),
    )


def joined(one: Past, other: Past) -> Past:
    """Return the sums of two times, as far as drift is worked out from them."""
    return Past(
        views=one.views + other.views,
        empty=one.empty + other.empty,
        objects=one.objects + other.objects,
        score_sum=one.score_sum + other.score_sum,
        classes=dict(Counter(one.classes) + Counter(other.classes)),
    )


def drift(before: Past, now: Past) -> tuple[float, str]:
    """Return how far decisions went from those before, 0 to 1 or more, and in what."""
    found = [
        (
            abs(_part(now.empty, now.views) - _part(before.empty, before.views)),
            f"views without an object {share(before.empty, before.views)} -> "
            f"{share(now.empty, now.views)}",
        )
    ]
    counts = [_part(item.objects, item.views) for item in (before, now)]
    apart = abs(math.log((counts[1] + _FEW) / (counts[0] + _FEW))) / math.log(_COUNT_SPAN)
    found.append((min(apart, 1.0), f"objects a view {counts[0]:.1f} -> {counts[1]:.1f}"))
    if min(before.objects, now.objects) >= _LEAST_OBJECTS:
        scores = [item.score_sum / item.objects for item in (before, now)]
        names = sorted({*before.classes, *now.classes})
        apart = sum(
            abs(before.classes.get(n, 0) / before.objects - now.classes.get(n, 0) / now.objects)
            for n in names
        )
        found += [
            (abs(scores[1] - scores[0]) / _SCORE_SPAN, f"score {scores[0]:.2f} -> {scores[1]:.2f}"),
            (apart / 2, f"classes: {apart / 2:.0%} of the objects are of another one"),
        ]
    return max(found)


def is_bad(objective: Objective, facts: ViewFacts) -> bool:
    """Whether a view is a bad event of an objective; never where it has no events."""
    if objective.indicator == END_TO_END:
        return facts.end_to_end_ms > objective.at_most
    if objective.indicator == DEADLINE:
        return facts.deadline_missed
    if objective.indicator == VALID:
        return not facts.valid
    return objective.indicator == ERRORS and facts.error


def _part(number: int, total: int) -> float:
    return number / total if total else 0.0


def share(number: int, total: int) -> str:
    """Return a share for people."""
    return f"{number / total:.1%}" if total else "no view"
