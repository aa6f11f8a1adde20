"""What the fusion node adds to the health of its views: of odometry, calibration, age, runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edge_perception.core.health import NOT_AS_ASKED, Health, Level, worst
from edge_perception.core.histogram import LatencyStatistics
from edge_perception.fusion.latency import described
from edge_perception.fusion.odometry_watch import OdometryState
from edge_perception.models.loading import LoadedModel
from edge_perception.releases.slo import Objective

ODOMETRY_MAX_AGE_S = 0.5
ODOMETRY_MAX_AHEAD_S = 0.2
JUMP_TOLD_S = 5.0  # after it
NO_ODOMETRY = OdometryState()


def with_odometry(
    health: Health, topic: str, age_s: float, state: OdometryState = NO_ODOMETRY
) -> Health:
    """Return the health with the state of the odometry that features are moved by.

    Args:
        health: without it.
        topic: of the odometry.
        age_s: of the newest pose; infinite: there is none.
        state: what its poses say.
    """
    values = {"odometry_age_s": f"{age_s:.3f}", "odometry_jumps": str(state.jumps)}
    health = replace(health, values={**health.values, **values})
    if -ODOMETRY_MAX_AHEAD_S <= age_s <= ODOMETRY_MAX_AGE_S:
        doubt = ""
        if state.newest_ns - state.jumped_ns < JUMP_TOLD_S * 1e9 and state.jump:
            doubt = f"{topic}: {state.jump} (jump {state.jumps})"
        if state.fault:
            doubt = f"features are not moved: {topic} contradicts itself: {state.fault}"
        if not doubt:
            return health
        return replace(health, **_said(worst(health, Health(level=Level.WARN, message=doubt))))
    text = f"features are not moved: {topic} is {age_s:.2f} s old > {ODOMETRY_MAX_AGE_S:.2f} s"
    if math.isinf(age_s):
        text = f"features are not moved: no odometry that can be used came on {topic}"
    if age_s < 0.0:
        text = f"{topic}: stamps {-age_s:.2f} s ahead of the clock > {ODOMETRY_MAX_AHEAD_S:.2f} s"
    late = Health(level=Level.WARN, message=text)
    return replace(health, **_said(worst(health, late)))


def with_calibration(
    health: Health, offsets_deg: Mapping[str, tuple[float, int]], limit_deg: float
) -> Health:
    """Return the health with what the directions of objects say of the cameras' calibration."""
    values = {f"{name}.calibration_deg": f"{deg:.2f}" for name, (deg, _) in offsets_deg.items()}
    health = replace(health, values={**health.values, **values})
    for name, (deg, pairs) in offsets_deg.items():
        if abs(deg) > limit_deg:
            side = "left" if deg > 0 else "right"
            text = (
                f"{name}: calibration? its objects lie {abs(deg):.1f} deg {side} of the LiDAR's "
                f"> {limit_deg:.1f} deg (median of {pairs})"
            )
            finding = Health(level=Level.WARN, message=text)
            health = replace(health, **_said(worst(health, finding)))
    return health


def with_latency(
    health: Health, latency: Mapping[str, LatencyStatistics], objectives: Sequence[Objective]
) -> Health:
    """Add where the time goes, and the operator's objectives of the whole that do not hold."""
    health = replace(health, values={**health.values, **described(latency)})
    known = latency.get("end_to_end")
    for objective in objectives:
        if known is None or known.count < objective.min_events:
            continue
        percents = {0.5: known.p50_s, 0.9: known.p90_s, 0.95: known.p95_s, 0.99: known.p99_s}
        share = max((p for p in percents if p <= objective.target + 1e-9), default=0.5)
        age_ms = percents[share] * 1e3
        if age_ms > objective.at_most:
            text = (
                f"objective {objective.name}: end to end p{share * 100:g} {age_ms:.0f} ms > "
                f"{objective.at_most:g} ms"
            )
            health = replace(health, **_said(worst(health, Health(level=Level.WARN, message=text))))
    return health


def with_broken_slo(health: Health, problem: str) -> Health:
    """Add why the operator's objectives are not judged; empty: they are.

    As a value too, so that it is said beside what is worse.
    """
    if not problem:
        return health
    finding = Health(level=Level.WARN, message=problem)
    values = {**health.values, "slo": problem}
    return replace(health, **_said(worst(health, finding)), values=values)


def with_runtime(health: Health, loaded: LoadedModel) -> Health:
    """Add what really runs the fusion model, and what was asked for and is not so."""
    info = loaded.backend.describe()
    values = {
        **health.values,
        "runtime": f"{info.runtime} {info.runtime_version}",
        "provider": info.where,
        "precision": info.precision or "as in the graph",
    }
    notes = (*loaded.notes, *info.notes)
    if loaded.preprocess == "gpu":
        notes = (*notes, "preprocess gpu is not used: features are aligned on the CPU")
    if notes:
        values[NOT_AS_ASKED] = "; ".join(notes)
    health = replace(health, values=values)
    for note in notes:
        finding = Health(level=Level.WARN, message=f"fusion model: {note}")
        health = replace(health, **_said(worst(health, finding)))
    return health


def _said(health: Health) -> dict[str, Any]:
    return {"level": health.level, "message": health.message}
