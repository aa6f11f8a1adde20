"""The models of a set, and the others that may stand in for each: same role, same feature space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.models.folders import stored_bundles
from edge_perception.models.manifest import Bundle


def variants_of_set(
    name: str, folders: Sequence[Path]
) -> tuple[dict[str, list[Bundle]], Mapping[str, str]]:
    """Return bundles by role, those of the set first, and the names of bundles by digest.

    Raises:
        ConfigurationError: no folder has a set of that name, or a bundle of it cannot be used.
    """
    stored = stored_bundles(folders)
    first = {entry.name: entry for entry in reversed(stored)}  # as nodes find them
    for entry in first.values():  # a plan without one of its roles would be one of another set
        if entry.bundle is None and entry.name.rpartition("/")[0] == name:
            raise ConfigurationError(f"models: {entry.name} cannot be used: {entry.error}")
    usable = [entry for entry in stored if entry.bundle is not None]
    names = {entry.bundle.sha256: entry.name for entry in usable if entry.bundle}
    served: dict[str, list[Bundle]] = {}
    for entry in usable:
        bundle = entry.bundle
        if bundle is not None and entry.name.rpartition("/")[0] == name:
            served.setdefault(bundle.manifest.role, [bundle])
    if not served:
        sets = sorted({entry.name.rpartition("/")[0] for entry in usable} - {""})
        raise ConfigurationError(f"models: expected one of {', '.join(sets)}, got '{name}'")
    for entry in usable:
        bundle = entry.bundle
        assert bundle is not None
        own = served.get(bundle.manifest.role)
        if own and _fits(own[0], bundle) and bundle.sha256 not in {b.sha256 for b in own}:
            own.append(bundle)
    return served, names


def _fits(served: Bundle, other: Bundle) -> bool:
    ours, theirs = served.manifest, other.manifest
    return (
        theirs.feature_space == ours.feature_space
        and theirs.compatible_with == ours.compatible_with
        and theirs.inputs == ours.inputs
        and theirs.labels == ours.labels
    )
