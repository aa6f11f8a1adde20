"""The operator's side of a rollout: looks at telemetry, and signs the next stage or the stop.

Keeps nothing of its own: what it knows is in the registry (the document) and in the database.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from edge_perception.core.errors import FleetError
from edge_perception.core.parameter import parameter
from edge_perception.fleet.documents import (
    ANY_DEVICE,
    DONE,
    PAUSED,
    RUNNING,
    STOPPED,
    Evidence,
    Rollout,
    RolloutsDocument,
    Stage,
)
from edge_perception.fleet.membership import Device, in_stage, position, rollout_of
from edge_perception.fleet.registry import Registry
from edge_perception.fleet.tables import Tables, models_of
from edge_perception.releases.slo import ROLL_BACK, Slo

WAIT, PASS, STOP = "wait", "pass", "stop"
_SALTS = 1000
# Events of a robot that end a release there.
_FAILED = ("rolled back", "refused", "aborted", "burnt")
_BEFORE_NS = 86_400 * 10**9  # a rollout, that is compared with


@dataclass(frozen=True, kw_only=True)
class FleetGate:
    """What a stage must hold beside the objectives of the SLO file."""

    most_failed: float = parameter(0.1, "share of robots on which it failed", low=0.0, high=1.0)
    most_silent: float = parameter(0.2, "share that says nothing", low=0.0, high=1.0)
    silent_s: float = parameter(
        6 * 3600.0, "without a word, then silent", unit="s", low=1, high=1e8
    )
    least_robots: int = parameter(1, "that serve it before a stage passes", low=1, high=10**6)
    least_views: int = parameter(100, "looked at before an objective is judged", low=1, high=10**9)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of a stage, with the figures that it rests on."""

    verdict: str
    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def make_rollout(
    registry: Registry,
    team: str,
    name: str,
    version: str,
    *,
    channel: str,
    stages: Sequence[Stage],
    known: Iterable[str],
    now: datetime,
) -> Rollout:
    """Offer a release in a channel, to its first stage only; nothing is there before `publish`.

    Args:
        registry: of the release.
        team: whose.
        name: of the release.
        version: of the release.
        channel: that offers it from now on.
        stages: the last one is usually all robots.
        known: robots of the fleet: the salt is one that gives the first stage its share of them.
        now: wall clock.
    """
    if not stages or any(b.share < a.share for a, b in pairwise(stages)):
        raise FleetError("stages: expected shares that grow, such as 1,10,25,100")
    document = registry.rollouts(team)
    before = rollout_of(document, name, version)
    if before is not None and before.state in (RUNNING, PAUSED):
        raise FleetError(f"rollout {before.id} of {name} {version} is {before.state}")
    variants = registry.promote(team, name, version, channel)
    number = sum(r.name == name for r in document.rollouts) + 1
    rollout = Rollout(
        id=f"{name}-{version}-{number}",
        name=name,
        version=version,
        salt=_salt(f"{name} {version} {number}", tuple(known), stages[0].share),
        stages=tuple(stages),
        begun_ns=_ns(now),
        since_ns=_ns(now),
        manifests=tuple(v.manifest_sha256 for v in variants),
    )
    registry.put_rollouts(team, replace(document, rollouts=(*document.rollouts, rollout)))
    return rollout


def change(
    registry: Registry, team: str, rollout: Rollout, verdict: Verdict, now: datetime
) -> Rollout:
    """Note a decision in the signed document: the next stage, the end, or the stop.

    What all robots have can be stopped too.
    """
    if rollout.state == STOPPED or (rollout.state == DONE and verdict.verdict != STOP):
        raise FleetError(f"rollout {rollout.id} is {rollout.state}")
    evidence = Evidence(
        stage=rollout.stage,
        at=now.isoformat(timespec="seconds"),
        verdict=verdict.verdict,
        text=verdict.text,
        figures=dict(verdict.figures),
    )
    changes: dict[str, Any] = {"evidence": (*rollout.evidence, evidence)}
    if verdict.verdict == STOP:
        changes |= {"state": STOPPED, "reason": verdict.text}
    elif verdict.verdict == PAUSED:
        changes |= {"state": PAUSED, "reason": verdict.text}
    elif verdict.verdict == PASS and rollout.state == PAUSED:
        changes |= {"state": RUNNING, "reason": ""}
    elif verdict.verdict == PASS:
        last = rollout.stage + 1 >= len(rollout.stages)
        changes |= {"state": DONE} if last else {"stage": rollout.stage + 1, "since_ns": _ns(now)}
    new = replace(rollout, **changes)
    document = registry.rollouts(team)
    rollouts = tuple(new if r.id == rollout.id else r for r in document.rollouts)
    registry.put_rollouts(team, RolloutsDocument(rollouts=rollouts))
    return new


def judge(
    rollout: Rollout,
    tables: Tables,
    slo: Slo,
    gate: FleetGate,
    now_ns: int,
    *,
    classes: Collection[str] = (ANY_DEVICE,),
) -> Verdict:
    """Say whether a stage holds, by what robots of it told since it began.

    Args:
        rollout: whose newest stage it is.
        tables: what robots told.
        slo: objectives.
        gate: what a stage must hold beside them.
        now_ns: wall clock.
        classes: of hardware that there is a variant for: other robots are not waited for.
    """
    stage = rollout.stages[rollout.stage]
    members = {
        device: (models, seen_ns) for device, models, seen_ns in _members(rollout, tables, classes)
    }
    on_it = {d for d, (models, _) in members.items() if _serves(models, rollout)}
    failed = _failed(rollout, tables)
    limit_ns = now_ns - round(gate.silent_s * 1e9)
    waited = rollout.since_ns < limit_ns
    silent = {d for d, (_, seen_ns) in members.items() if waited and seen_ns < limit_ns} - failed
    burns, views = _burns(rollout, tables, slo, gate)
    count = max(len(members), 1)
    figures = {
        "robots": len(members),
        "serving": len(on_it),
        "failed": len(failed),
        "silent": len(silent),
        "views": views,
    }
    touched = max(len(on_it | failed), 1)
    if len(failed) / touched > gate.most_failed:
        names = ", ".join(sorted(failed)[:5])
        return Verdict(
            verdict=STOP,
            text=f"failed on {len(failed)} of {touched} robots that took it ({names})",
            figures=figures,
        )
    if burns:
        return Verdict(verdict=STOP, text="; ".join(burns), figures=figures)
    if len(silent) / count > gate.most_silent:
        text = f"{len(silent)} of {count} robots say nothing"
        return Verdict(verdict=WAIT, text=text, figures=figures)
    if len(on_it) < gate.least_robots:
        text = f"{len(on_it)} robots serve it, {gate.least_robots} wanted"
        return Verdict(verdict=WAIT, text=text, figures=figures)
    if views < gate.least_views:
        text = f"{views} views on it, {gate.least_views} wanted"
        return Verdict(verdict=WAIT, text=text, figures=figures)
    soaked_s = (now_ns - rollout.since_ns) / 1e9
    if soaked_s < stage.soak_s:
        text = f"soaked {soaked_s:.0f} of {stage.soak_s:.0f} s"
        return Verdict(verdict=WAIT, text=text, figures=figures)
    missing = count - len(on_it) - len(silent) - len(failed)
    if missing / count > gate.most_silent:
        text = f"{missing} of {count} robots have not taken it yet"
        return Verdict(verdict=WAIT, text=text, figures=figures)
    text = f"{len(on_it)} of {count} robots serve it, {views} views within the objectives"
    return Verdict(verdict=PASS, text=text, figures=figures)


def suited(tables: Tables, classes: Collection[str]) -> list[str]:
    """Return the known robots that there is a variant for."""
    rows = tables.rows("SELECT device, device_class FROM devices")
    return [device for device, device_class in rows if _suits(device_class, classes)]


def _suits(device_class: str, classes: Collection[str]) -> bool:
    return ANY_DEVICE in classes or device_class in classes


def _members(
    rollout: Rollout, tables: Tables, classes: Collection[str]
) -> list[tuple[str, str, int]]:
    """Return the robots of the stage that are known and suited, with what serves there."""
    rows = tables.rows("SELECT device, device_class, device_groups, models, seen_ns FROM devices")
    found = []
    for device, device_class, groups, models, seen_ns in rows:
        robot = Device(id=device, device_class=device_class, groups=tuple(groups.split(",")))
        suits = _suits(device_class, classes)
        if suits and in_stage(robot, rollout.salt, rollout.stages, rollout.stage):
            found.append((device, models, int(seen_ns)))
    return found


def _serves(models: str, rollout: Rollout) -> bool:
    return any(item.get("sha256") in rollout.manifests for item in models_of(models).values())


def _failed(rollout: Rollout, tables: Tables) -> set[str]:
    """Return the robots that told of a failure of this release since the rollout began."""
    rows = tables.rows(
        "SELECT device, body FROM readings WHERE kind = 'event' AND received_ns >= ?",
        (rollout.begun_ns,),
    )
    told = [(device, json.loads(body)) for device, body in rows]
    # What follows a change tells its transaction only; its steps before told the models.
    ours = {
        (device, data["transaction"])
        for device, data in told
        if data.get("transaction") and set(data.get("models", {}).values()) & set(rollout.manifests)
    }
    failed = set()
    for device, data in told:
        if data.get("event") not in _FAILED:
            continue
        named = f"{rollout.name} {rollout.version}" in str(data.get("reason", ""))
        models = set(data.get("models", {}).values()) & set(rollout.manifests)
        if named or models or (device, data.get("transaction")) in ours:
            failed.add(device)
    return failed


def _burns(rollout: Rollout, tables: Tables, slo: Slo, gate: FleetGate) -> tuple[list[str], int]:
    """Return the objectives that do not hold on this release, and how many views were looked at."""
    bad, before = Counter[str](), Counter[str]()
    rows = tables.rows(
        "SELECT body FROM readings WHERE kind = 'slo' AND received_ns >= ?",
        (rollout.begun_ns - _BEFORE_NS,),
    )
    for (body,) in rows:
        data = json.loads(body)
        models = data.get("models", {}).values()
        on_it = any(item.get("sha256") in rollout.manifests for item in models)
        counts = bad if on_it else before
        counts["views"] += int(data.get("views", 0))
        counts.update({name: int(count) for name, count in data.get("bad", {}).items()})
    views = bad.pop("views", 0)
    views_before = before.pop("views", 0)
    burns = []
    for objective in slo.objectives:
        if objective.on_burn != ROLL_BACK or views < gate.least_views:
            continue
        share = bad[objective.name] / views
        # What burned without the release too, going back would not end.
        others = before[objective.name] / views_before if views_before else 0.0
        allowed = max(1.0 - objective.target, others)
        # Beyond what chance does: three standard deviations of what is allowed.
        if share > allowed + 3.0 * math.sqrt(max(allowed * (1 - allowed), 1e-9) / views):
            text = f"{objective.name}: good in {1 - share:.1%} of {views} views"
            burns.append(f"{text} < {objective.target:.1%}, {1 - others:.1%} without it")
    return burns, views


def _salt(seed: str, known: Sequence[str], share: float) -> str:
    """Return a salt that gives the first stage no more than its share of the robots."""
    most = math.ceil(share * len(known))
    for number in range(_SALTS):
        salt = f"{seed} {number}"
        taken = sum(position(device, salt) < share for device in known)
        if not known or min(1, most) <= taken <= most:
            return salt
    return f"{seed} 0"


def _ns(now: datetime) -> int:
    return round(now.astimezone(timezone.utc).timestamp() * 1e9)
