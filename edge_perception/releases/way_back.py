"""Where to go from releases that must not serve: to a set that served before, without them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from edge_perception.core.errors import ModelError, StoreError
from edge_perception.releases.slots import ModelSet
from edge_perception.releases.store import ReleaseStore


def way_back(store: ReleaseStore, left: Collection[str]) -> ModelSet:
    """Return a set that served before and holds none of the releases that are left.

    The one before the newest change, unless that was a change of something else. Then what serves
    now, with each of those replaced by the newest of its role that served and fits as it did; then
    any set that served, the newest first, and the factory's.

    Raises:
        StoreError: there is none.
    """
    serving, known = store.slots.get("current"), _known(store)
    previous = store.slots.get("previous")
    instead = {
        role: _instead(store, role, sha256, left, known) if sha256 in left else sha256
        for role, sha256 in serving.items()
    }
    for models in (previous, instead, *known):
        if models and all(_may_serve(store, sha256, left) for sha256 in models.values()):
            return models
    raise StoreError(f"{store.root}: no set that served before is without what is to be left")


def _known(store: ReleaseStore) -> list[ModelSet]:
    """Return the sets that served, the newest first; the factory's is the last."""
    found: list[ModelSet] = [store.slots.get("previous")]
    with contextlib.suppress(StoreError):  # a damaged journal: the slots stand
        for record in reversed(store.journal.records()):
            if record.step == "done":
                found += [record.after, record.before]
    return [*found, store.slots.get("factory")]


def _instead(
    store: ReleaseStore, role: str, sha256: str, left: Collection[str], known: list[ModelSet]
) -> str:
    """Return what served in a role before and takes the place of a release; empty: nothing."""
    for models in known:
        other = models.get(role, "")
        if other and _may_serve(store, other, left) and _fits(store, other, sha256):
            return other
    return ""


def _may_serve(store: ReleaseStore, sha256: str, left: Collection[str]) -> bool:
    known = bool(sha256) and sha256 not in left and store.shelf.has(sha256)
    return known and not store.notes.quarantined(sha256)


def _fits(store: ReleaseStore, sha256: str, other: str) -> bool:
    """Whether a release may stand where another stood, with all others as they are."""
    try:
        ours, theirs = (store.release(digest).manifest for digest in (sha256, other))
    except ModelError:
        return False
    return (ours.feature_space, ours.compatible_with) == (
        theirs.feature_space,
        theirs.compatible_with,
    )
