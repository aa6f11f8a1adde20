"""Joules an inference, by model: the machine's watts, shared out by processor time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_perception.monitoring.resources.reading import Missing, Reading


@dataclass(frozen=True, kw_only=True)
class Inferring:
    """One node that runs a model, as its diagnostics say."""

    node: str
    model: str
    rate_hz: float  # inferences a second
    where: str  # provider and device


def joules(
    inferring: Iterable[Inferring],
    processes: Mapping[str, int],
    cores: Mapping[int, float],
    *,
    busy_cores: float | None,
    total_w: float,
) -> tuple[list[Reading], list[Missing]]:
    """Return joules of the whole machine for one inference of each model.

    The watts of the machine, those of its idle parts included, belong to its processes in the
    proportion of the processor time that each uses. What runs elsewhere than on the processor, or
    shares its process with another model, is not told: there the proportion says nothing.

    Args:
        inferring: nodes with their models.
        processes: ids by node.
        cores: that each process keeps busy, by id.
        busy_cores: of the machine; None: not known.
        total_w: of the machine; NaN: not known.
    """
    readings: list[Reading] = []
    missing: list[Missing] = []
    items = list(inferring)
    for item in items:
        pid = processes.get(item.node)
        others = [
            other.model
            for other in items
            if other.node != item.node and pid is not None and processes.get(other.node) == pid
        ]
        why = ""
        if not math.isfinite(total_w):
            why = "the watts of the whole machine are not known"
        elif "cpu" not in item.where.lower():
            why = f"it runs on {item.where}, and only the processor's time can be shared out"
        elif pid is None or pid not in cores or not busy_cores:
            why = f"the processor time of {item.node} is not known"
        elif others:
            why = f"{' and '.join(sorted(others))} run in the same process"
        elif not item.rate_hz > 0.0:
            why = "it makes no inferences"
        if why or pid is None or not busy_cores:
            missing.append(Missing(what=f"joules an inference of {item.model}", why=why))
            continue
        share = min(cores[pid] / busy_cores, 1.0)
        value = total_w * share / item.rate_hz
        readings.append(Reading(kind="joules_per_inference", name=item.model, value=value))
        if value > 0.0:
            per_joule = Reading(kind="inferences_per_joule", name=item.model, value=1.0 / value)
            readings.append(per_joule)
    return readings, missing
