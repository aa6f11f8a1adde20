"""Whether the object that a siren comes from is named, and if not, why not."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_perception.core.sound_names import is_siren
from edge_perception.core.types import FusedView
from edge_perception.evaluation.drive_truth import TrueObject
from edge_perception.fusion.classes import group_of
from edge_perception.fusion.hearing import LEAST_HEARD, REMEMBERED_S, SILENT_S

NEAR_M = 4.0  # between the centre of an object and that of the road user that it is
RIGHT, WRONG = "right", "wrong"
# Why nobody is named although the vehicle can be seen, the first that holds.
NOT_HEARD, NO_DIRECTION, NO_OBJECT = "siren not heard", "no direction", "no object of it"
UNDECIDED = "undecided"
REASONS = (NOT_HEARD, NO_DIRECTION, NO_OBJECT, UNDECIDED)
_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class SirenMoment:
    """One view of a drive."""

    sounding: bool  # an emergency vehicle is on its way
    visible: bool  # and a sensor sees it
    known: bool  # it is among the objects, and was heard from enough directions
    outcome: str  # RIGHT, WRONG, or one of REASONS
    unseen: bool  # the newest siren event says "heard, not seen" or that it is hidden


class SirenWatch:
    """Looks at the views of one drive in their order."""

    def __init__(self) -> None:
        self._heard_ns = 0  # end of the newest window with a siren
        self._bearings_ns: deque[int] = deque()
        self._origin = ""

    def look(self, view: FusedView, truth: Sequence[TrueObject]) -> SirenMoment:
        """Judge a view."""
        for event in view.sound_events:
            if is_siren(event.class_name):
                self._heard_ns = max(self._heard_ns, event.window_end_ns)
                self._origin = event.origin
                if not math.isnan(event.bearing_rad) or event.other_bearings_rad:
                    self._bearings_ns.append(event.window_end_ns)
        while self._bearings_ns and view.stamp_ns - self._bearings_ns[0] > REMEMBERED_S * _NS:
            self._bearings_ns.popleft()
        is_heard = view.stamp_ns - self._heard_ns <= SILENT_S * _NS
        source = next((item for item in truth if item.emergency), None)
        owners = [_owner(item.center_m, item.class_name, truth) for item in view.objects]
        named = [
            owner for owner, item in zip(owners, view.objects, strict=True)
            if item.emergency_evidence
        ]  # fmt: skip
        present = source is not None and source.actor_id in owners
        directed = is_heard and len(self._bearings_ns) >= LEAST_HEARD
        return SirenMoment(
            sounding=source is not None,
            visible=source is not None and source.wanted,
            known=present and directed,
            outcome=_outcome(named, source, is_heard, directed, present),
            unseen=is_heard and self._origin.startswith("heard, "),
        )


def _outcome(
    named: Sequence[int],
    source: TrueObject | None,
    is_heard: bool,
    directed: bool,
    present: bool,
) -> str:
    if named:
        return RIGHT if source is not None and set(named) == {source.actor_id} else WRONG
    if not is_heard:
        return NOT_HEARD
    if not directed:
        return NO_DIRECTION
    return UNDECIDED if present else NO_OBJECT


def _owner(center_m: Sequence[float], class_name: str, truth: Sequence[TrueObject]) -> int:
    """Return which road user of its group an object is; -1: none."""
    group = group_of(class_name)
    near = [
        (math.dist(center_m[:2], item.center_m), item.actor_id)
        for item in truth
        if group_of(item.class_name) == group
    ]
    gap_m, owner = min(near, default=(math.inf, -1))
    return owner if gap_m < NEAR_M else -1


def siren_table(moments: Sequence[SirenMoment]) -> dict[str, Any]:
    """Return the shares of some drives; NaN where there is no view."""
    visible = [item for item in moments if item.visible]
    known = [item for item in visible if item.known]
    hidden = [item for item in moments if item.sounding and not item.visible]
    quiet = [item for item in moments if not item.sounding]
    named = [item for item in moments if item.outcome in (RIGHT, WRONG)]
    return {
        "visible": {
            "views": len(visible),
            "right": share(visible, RIGHT),
            "wrong": share(visible, WRONG),
            "nobody": {name: share(visible, name) for name in REASONS},
        },
        "visible_and_known": {
            "views": len(known), "right": share(known, RIGHT), "wrong": share(known, WRONG),
        },
        "named_right": _mean([item.outcome == RIGHT for item in named]),
        "not_visible": {
            "views": len(hidden),
            "somebody_else_named": share(hidden, WRONG),
            "vehicle_named": share(hidden, RIGHT),
            "said_heard_not_seen": _mean([item.unseen for item in hidden]),
        },
        "no_siren": {"views": len(quiet), "somebody_named": share(quiet, WRONG)},
    }  # fmt: skip


def share(moments: Sequence[SirenMoment], outcome: str) -> float:
    """Return the share of an outcome, NaN of nothing."""
    return _mean([item.outcome == outcome for item in moments])


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else math.nan
