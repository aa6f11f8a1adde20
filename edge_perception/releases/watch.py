"""Do the operator's objectives hold after a change? From what is published, without a clock.

An objective burns where the share of bad views in its window is surely above what its target
leaves, and surely above that of the time before the change: what burned before, a rollback would
not end.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge_perception.releases.slo import (
    DEADLINE,
    DRIFT,
    END_TO_END,
    ERRORS,
    MEMORY,
    ROLL_BACK,
    VALID,
    Objective,
    Slo,
)
from edge_perception.releases.verdicts import SIGMAS

_GAP_S = 1.0  # a longer silence of views is no time that was watched
_SCORE_SPAN, _COUNT_SPAN = 0.5, 8.0  # differences that are a drift of 1


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


@dataclass(frozen=True, kw_only=True)
class Burn:
    """An objective that does not hold."""

    objective: Objective
    text: str  # value and limit
    before: bool  # it burned before the change too

    @property
    def rolls_back(self) -> bool:
        """Whether the change is to be undone."""
        return self.objective.on_burn == ROLL_BACK and not self.before


def past_of(facts: Iterable[ViewFacts], slo: Slo, *, memory_mb: float = 0.0) -> Past:
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
        memory_mb=memory_mb,
    )


class Watch:
    """Judges the views after one change."""

    def __init__(self, slo: Slo, past: Past) -> None:
        self._slo, self._past = slo, past
        self._longest_s = max((item.window_s for item in slo.objectives), default=0.0)
        self._views: deque[tuple[float, ViewFacts]] = deque()
        self._last_s = math.nan
        self.watched_s = 0.0  # time with views
        self._memory_mb = 0.0

    @property
    def over(self) -> bool:
        """Whether the soak time is over."""
        return self.watched_s >= self._slo.watch.soak_s

    def add(self, facts: ViewFacts, now_s: float) -> None:
        """Take a view of the new models, and when it came; steady clock."""
        gap_s = now_s - self._last_s
        if gap_s <= _GAP_S:
            self.watched_s += gap_s
        self._last_s = now_s
        self._views.append((now_s, facts))
        while self._views[0][0] < now_s - self._longest_s:
            self._views.popleft()

    def add_memory(self, memory_mb: float) -> None:
        """Take the resident memory of the nodes; 0: not known."""
        self._memory_mb = memory_mb

    def burns(self) -> list[Burn]:
        """Return the objectives that do not hold now, those that roll back first."""
        found = [burn for item in self._slo.objectives if (burn := self._burn(item))]
        return sorted(found, key=lambda burn: not burn.rolls_back)

    def _burn(self, objective: Objective) -> Burn | None:
        if objective.indicator == MEMORY:
            return self._memory(objective)
        since_s = self._last_s - objective.window_s
        recent = [facts for at_s, facts in self._views if at_s >= since_s]
        if len(recent) < objective.min_events:
            return None
        if objective.indicator == DRIFT:
            return self._drift(objective, past_of(recent, self._slo))
        bad, count = sum(is_bad(objective, item) for item in recent), len(recent)
        if _lowest(bad, count) <= 1.0 - objective.target:
            return None
        past = self._past
        bad_before = past.bad.get(objective.name, 0)
        before = past.views >= objective.min_events and not _surely_more(
            bad, count, bad_before, past.views
        )
        good = 1.0 - bad / count
        limit = f" <= {objective.at_most:g} ms" if objective.indicator == END_TO_END else ""
        text = (
            f"{objective.name}: {objective.indicator}{limit} in {good:.1%} of {count} views < "
            f"{objective.target:.1%}, before the change in "
            f"{_share(past.views - bad_before, past.views)}"
        )
        return Burn(objective=objective, text=text, before=before)

    def _drift(self, objective: Objective, now: Past) -> Burn | None:
        if self._past.views < objective.min_events:
            return None
        value, what = drift(self._past, now)
        if value <= objective.at_most:
            return None
        text = f"{objective.name}: {value:.2f} > {objective.at_most:g}: {what}"
        return Burn(objective=objective, text=text, before=False)

    def _memory(self, objective: Objective) -> Burn | None:
        before_mb, now_mb = self._past.memory_mb, self._memory_mb
        if not before_mb or now_mb <= objective.at_most * before_mb:
            return None
        text = (
            f"{objective.name}: {now_mb:.0f} MB > {objective.at_most:g} x {before_mb:.0f} MB "
            "before the change"
        )
        return Burn(objective=objective, text=text, before=False)


def drift(before: Past, now: Past) -> tuple[float, str]:
    """Return how far decisions went from those before, 0 to 1 or more, and in what."""
    found = [
        (
            abs(_part(now.empty, now.views) - _part(before.empty, before.views)),
            f"views without an object {_share(before.empty, before.views)} -> "
            f"{_share(now.empty, now.views)}",
        )
    ]
    if before.objects and now.objects:
        counts = [item.objects / item.views for item in (before, now)]
        scores = [item.score_sum / item.objects for item in (before, now)]
        names = sorted({*before.classes, *now.classes})
        apart = sum(
            abs(before.classes.get(n, 0) / before.objects - now.classes.get(n, 0) / now.objects)
            for n in names
        )
        found += [
            (
                abs(math.log(counts[1] / counts[0])) / math.log(_COUNT_SPAN),
                f"objects a view {counts[0]:.1f} -> {counts[1]:.1f}",
            ),
            (abs(scores[1] - scores[0]) / _SCORE_SPAN, f"score {scores[0]:.2f} -> {scores[1]:.2f}"),
            (apart / 2, f"classes: {apart / 2:.0%} of the objects are of another one"),
        ]
    return max(found)


def is_bad(objective: Objective, facts: ViewFacts) -> bool:
    """Whether a view is a bad event of an objective; false for those that are no events."""
    if objective.indicator == END_TO_END:
        return facts.end_to_end_ms > objective.at_most
    if objective.indicator == DEADLINE:
        return facts.deadline_missed
    if objective.indicator == VALID:
        return not facts.valid
    return objective.indicator == ERRORS and facts.error


def _lowest(bad: int, count: int) -> float:
    """Return the lower bound of a share (Wilson, 1927)."""
    share, z2 = bad / count, SIGMAS**2
    spread = SIGMAS * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return (share + z2 / (2 * count) - spread) / (1 + z2 / count)


def _surely_more(bad: int, count: int, bad_before: int, count_before: int) -> bool:
    """Whether the share is above the one before by more than chance."""
    both = (bad + bad_before) / (count + count_before)
    error = math.sqrt(max(both * (1 - both), 1e-9) * (1 / count + 1 / count_before))
    return bad / count - bad_before / count_before > SIGMAS * error


def _part(number: int, total: int) -> float:
    return number / total if total else 0.0


def _share(number: int, total: int) -> str:
    return f"{number / total:.1%}" if total else "no view"
