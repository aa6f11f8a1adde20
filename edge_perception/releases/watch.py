"""Do the operator's objectives hold after a change? From what is published, without a clock.

An objective burns where the share of bad views in its window is surely above what its target
leaves, and surely above that of the time before the change: what burned before, a rollback would
not end. Decisions drift with the road too: where they varied before the change, only what goes
beyond that, or lasts, is the models' doing. No view at all breaks the promise of availability.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from edge_perception.releases.past import (
    Past,
    ViewFacts,
    drift,
    is_bad,
    joined,
    share,
    summed,
)
from edge_perception.releases.slo import DRIFT, END_TO_END, MEMORY, ROLL_BACK, VALID, Objective, Slo
from edge_perception.releases.verdicts import SIGMAS

_GAP_S = 1.0  # a longer silence of views is no time that was watched
_BEYOND = 1.25  # times what varied before
SILENT_S = 5.0  # a node that ended is started anew within it


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


class Watch:
    """Judges the views after one change."""

    def __init__(self, slo: Slo, past: Past) -> None:
        self._slo, self._past = slo, past
        self._longest_s = max((item.window_s for item in slo.objectives), default=0.0)
        self._views: deque[tuple[float, ViewFacts]] = deque()
        self._last_s = math.nan
        self.watched_s = 0.0  # time with views
        self._since = Past()  # all views of the new models
        self._memory_mb = 0.0
        self._asked_s = math.nan  # when `silence` looked
        self._silent_s = 0.0

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
        self._silent_s = 0.0
        self._views.append((now_s, facts))
        self._since = joined(self._since, summed([facts], self._slo))
        while self._views[0][0] < now_s - self._longest_s:
            self._views.popleft()

    def add_memory(self, memory_mb: float) -> None:
        """Take the resident memory of the nodes; 0: not known."""
        self._memory_mb = memory_mb

    def silence(self, now_s: float, *, asked_for: bool = False) -> Burn | None:
        """Return the objective that a silence of all views breaks; called about once a second.

        Args:
            now_s: steady clock. A watcher that was held up itself has not heard a silence.
            asked_for: somebody ended the views on purpose; the silence begins anew.
        """
        step_s = now_s - self._asked_s if self._asked_s <= now_s else 0.0
        self._asked_s = now_s
        self._silent_s = 0.0 if asked_for else self._silent_s + min(step_s, 2 * _GAP_S)
        if self._silent_s < SILENT_S:
            return None
        for objective in self._slo.objectives:
            if objective.indicator == VALID and self._past.views >= objective.min_events:
                text = f"{objective.name}: no view for {self._silent_s:.0f} s"
                return Burn(objective=objective, text=text, before=False)
        return None

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
            return self._drift(objective, summed(recent, self._slo))
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
            f"{share(past.views - bad_before, past.views)}"
        )
        return Burn(objective=objective, text=text, before=before)

    def _drift(self, objective: Objective, now: Past) -> Burn | None:
        if self._past.views < objective.min_events:
            return None
        value, what = drift(self._past, now)
        if value <= objective.at_most:
            return None
        if value <= _BEYOND * self._past.varied:  # the road does so too, but not for long
            value, what = drift(self._past, self._since)
            if value <= objective.at_most or self.watched_s < self._past.seconds / 2:
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
