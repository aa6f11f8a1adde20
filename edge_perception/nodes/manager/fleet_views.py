"""What a fleet is told of fused views: how many met each objective, and figures of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from edge_perception.core.types import Mode, SourceState
from edge_perception.fleet.figures import Figures
from edge_perception.nodes.conversion.fused_reading import read_outline
from edge_perception.nodes.conversion.view_facts import facts_of
from edge_perception.releases.past import is_bad
from edge_perception.releases.slo import DRIFT, MEMORY, Slo

_VIEW_PERIOD_S = 0.2  # views are sampled: what a fleet judges are shares


class FleetViews:
    """Looks at some views.

    Args:
        slo: the objectives.
        drifts: whether a source drifts now.
    """

    def __init__(self, slo: Callable[[], Slo], drifts: Callable[[], bool]) -> None:
        self._slo, self._drifts = slo, drifts
        self._counts: Counter[str] = Counter()
        self._figures = Figures()
        self._sampled_s = 0.0

    def on_view(self, data: bytes, now_s: float) -> None:
        """Take a serialised view; steady clock. It shares its process with inference."""
        if now_s < self._sampled_s + _VIEW_PERIOD_S:
            return
        self._sampled_s = now_s
        view = read_outline(data)  # a tenth of the time of reading all of it
        facts = facts_of(view, decisions=False)
        self._counts["views"] += 1
        for objective in self._slo().objectives:
            if objective.indicator == DRIFT:
                self._counts[objective.name] += self._drifts()
            elif objective.indicator != MEMORY:
                self._counts[objective.name] += is_bad(objective, facts)
        self._figures.view(
            end_to_end_ms=facts.end_to_end_ms,
            mode=Mode(view.mode).name,
            valid=facts.valid,
            missed=facts.deadline_missed,
            not_ok=[s.source for s in view.sources if s.state != SourceState.OK],
        )

    def take(self) -> dict[str, dict[str, Any]]:
        """Return what was seen since the last time, by kind of reading; empty: no view."""
        counts, self._counts = self._counts, Counter()
        found: dict[str, dict[str, Any]] = {}
        if counts["views"]:
            views = counts.pop("views")
            found["slo"] = {"views": views, "bad": dict(counts)}
        if (figures := self._figures.take()) is not None:
            found["metric"] = figures
        return found
