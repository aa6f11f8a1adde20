"""Whether this robot is in a rollout: decided by the robot, from the signed document alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from edge_perception.fleet.documents import (
    ANY_DEVICE,
    DONE,
    PAUSED,
    RUNNING,
    STOPPED,
    Rollout,
    RolloutsDocument,
    Stage,
)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Who this robot is to its fleet."""

    id: str
    device_class: str = ANY_DEVICE
    groups: tuple[str, ...] = ()


def position(device_id: str, salt: str) -> float:
    """Return where a robot stands in the order of a rollout: evenly in [0, 1)."""
    digest = hashlib.sha256(f"{salt}:{device_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def in_stage(device: Device, salt: str, stages: Sequence[Stage], number: int) -> bool:
    """Whether a robot is in a stage, or in one before it."""
    return any(
        position(device.id, salt) < stage.share or set(device.groups) & set(stage.groups)
        for stage in stages[: number + 1]
    )


def rollout_of(document: RolloutsDocument, name: str, version: str) -> Rollout | None:
    """Return the newest rollout of a release; None: none, its channel is enough."""
    found = [r for r in document.rollouts if (r.name, r.version) == (name, version)]
    return found[-1] if found else None


def may_take(rollout: Rollout | None, device: Device) -> str:
    """Return why a robot must wait for a release; empty: it may take it."""
    if rollout is None or rollout.state == DONE:
        return ""
    if rollout.state == STOPPED:
        return f"rollout {rollout.id} was stopped: {rollout.reason}"
    if rollout.state == PAUSED:
        return f"rollout {rollout.id} is paused: {rollout.reason}"
    assert rollout.state == RUNNING
    if in_stage(device, rollout.salt, rollout.stages, rollout.stage):
        return ""
    return f"rollout {rollout.id}: not in stage {rollout.stage + 1} of {len(rollout.stages)}"
