"""Which models must change together: those whose features a fusion model was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_perception.core.errors import SwapError
from edge_perception.models.manifest import Manifest
from edge_perception.releases.shelf import Release

FUSION = "fusion"


def plan_change(
    *,
    running: Mapping[str, Manifest],
    candidate: Release,
    role: str,
    stored: Sequence[Release],
) -> dict[str, Release]:
    """Return the releases to change to, by role.

    A candidate of the running feature space comes alone. Otherwise every running model that shares
    the space it leaves must have a successor in the store: an encoder of the new space, a fusion
    model that takes it.

    Args:
        running: manifests that serve now, by role (a source's name, or fusion).
        candidate: what was asked for.
        role: which it is for; empty: as its manifest says.
        stored: all releases.

    Raises:
        SwapError: nobody serves the role, or a model of the set has no successor.
    """
    manifest = candidate.manifest
    roles = _roles(running, manifest, role)
    plan = dict.fromkeys(roles, candidate)
    old, new = _spaces(running, roles, manifest)
    if old == new:
        return plan
    fusion = running.get(FUSION)
    bound = fusion is not None and (not old or old in fusion.compatible_with)
    for other, serving in running.items():
        if other in plan:
            continue
        if other == FUSION:
            if bound and new not in serving.compatible_with:
                plan[other] = _successor(stored, other, serving, new)
        elif serving.feature_space == old and (bound or FUSION in plan):
            plan[other] = _successor(stored, other, serving, new)
    return plan


def _roles(running: Mapping[str, Manifest], manifest: Manifest, role: str) -> list[str]:
    fitting = [name for name, serving in running.items() if serving.role == manifest.role]
    served = ", ".join(sorted(running)) or "none"
    if role:
        if role not in running:
            raise SwapError(f"no node serves role '{role}'; served: {served}")
        if role not in fitting:
            raise SwapError(
                f"{manifest.name}: expected a model of role {running[role].role}, "
                f"got {manifest.role}"
            )
        return [role]
    if not fitting:
        raise SwapError(f"no node serves a model of role '{manifest.role}'; served: {served}")
    return fitting


def _spaces(
    running: Mapping[str, Manifest], roles: Sequence[str], manifest: Manifest
) -> tuple[str, str]:
    """Return the feature space that is left and the one that is entered."""
    serving = running[roles[0]]
    if manifest.role != FUSION:
        return serving.feature_space, manifest.feature_space
    used = {other.feature_space for name, other in running.items() if name != FUSION}
    used &= set(serving.compatible_with)
    if used <= set(manifest.compatible_with):
        return "", ""
    if len(manifest.compatible_with) != 1 or len(used) != 1:
        raise SwapError(
            f"{manifest.name} {manifest.version}: takes features of "
            f"{', '.join(manifest.compatible_with) or 'none'}, running are {', '.join(used)}; name "
            "an encoder of the set instead"
        )
    return used.pop(), manifest.compatible_with[0]


def _successor(stored: Sequence[Release], role: str, serving: Manifest, space: str) -> Release:
    fitting = [
        release
        for release in stored
        if not release.quarantined
        and release.manifest.role == serving.role
        and (
            space in release.manifest.compatible_with
            if role == FUSION
            else release.manifest.feature_space == space
        )
    ]
    if not fitting:
        what = "fusion model that takes" if role == FUSION else f"{serving.role} model of"
        raise SwapError(
            f"feature space '{space}': expected a {what} it in the store for role '{role}', got "
            f"none; {serving.name} {serving.version} belongs to another set"
        )
    return max(fitting, key=lambda release: release.manifest.newness)
