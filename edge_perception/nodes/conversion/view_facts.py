"""What a fused view tells of the operator's objectives."""

from __future__ import annotations

from typing import Any

from edge_perception.core.types import SourceState
from edge_perception.releases.past import ViewFacts


def facts_of(view: Any, *, decisions: bool = True) -> ViewFacts:
    """Return what a message of `perception/fused` tells of the objectives.

    Args:
        view: the message.
        decisions: whether its objects are wanted too; objectives about single views need none.
    """
    objects = view.objects if decisions else ()
    invalid = any(status.state == SourceState.INVALID for status in view.sources)
    return ViewFacts(
        end_to_end_ms=view.end_to_end_s * 1e3,
        deadline_missed=view.deadline_missed,
        valid=view.valid,
        error=invalid or " failed: " in view.level_reason or "failed: " in view.reason,
        classes=tuple(item.class_name for item in objects),
        scores=tuple(item.score for item in objects),
    )
