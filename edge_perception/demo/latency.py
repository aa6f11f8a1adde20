"""Where the time went: percentiles of a run by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from edge_perception.core.types import FrameLatency, PublishedView

PERCENTILES = (50, 95, 99)
STAGES = tuple(field.name for field in dataclasses.fields(FrameLatency))


def percentiles_ms(values_s: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and max in milliseconds; NaN values (not measured) are left out."""
    values = np.array([value for value in values_s if np.isfinite(value)], np.float64) * 1e3
    if not len(values):
        return {}
    found = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
    return {name: round(value, 2) for name, value in {**found, "max": values.max()}.items()}


def latency_report(entries: Sequence[PublishedView]) -> dict[str, object]:
    """Return end-to-end percentiles and those of every stage.

    End to end: oldest contributing acquisition stamp to publication. Stages of a source count
    each of its features once, fusion's stages each message.
    """
    stages: dict[str, dict[str, dict[str, float]]] = {}
    for name in sorted({status.source for entry in entries for status in entry.view.sources}):
        features = {
            status.stamp_ns: status.latency
            for entry in entries
            for status in entry.view.sources
            if status.source == name and status.contributed
        }
        stages[name] = {
            stage.removesuffix("_s"): percentiles_ms(
                getattr(latency, stage) for latency in features.values()
            )
            for stage in STAGES
        }
    stages["fusion"] = {
        "wait": percentiles_ms(entry.view.wait_s for entry in entries),
        "fuse": percentiles_ms(entry.view.fusion_s for entry in entries),
    }
    return {**percentiles_ms(entry.end_to_end_s for entry in entries), "stages": stages}
