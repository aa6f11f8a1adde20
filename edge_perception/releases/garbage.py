"""Making room in a store: what nothing uses goes, what serves or may be gone back to stays."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from edge_perception.core.errors import ModelError, StoreError
from edge_perception.releases.shelf import Release
from edge_perception.releases.signing import Trust, verify_signatures
from edge_perception.releases.slots import SLOTS
from edge_perception.releases.store import ReleaseStore


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A release that went, or would go."""

    sha256: str
    name: str = ""  # empty: its manifest cannot be read
    version: str = ""
    why: str


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What stays beside what is in use."""

    newest: int = 4  # releases of each name, by when they were installed
    least_free_bytes: int = 0  # on the disk: older ones of these go too while less is free
    refused: bool = True  # those in quarantine, and those that cannot be read
    trust: Trust | None = None  # given: only what these keys signed; None: whoever signed it


def in_use(store: ReleaseStore) -> dict[str, str]:
    """Return why releases cannot be removed, by digest: a slot names them, or a change does."""
    uses: dict[str, str] = {}
    open_ = store.journal.open_change()
    if open_ is not None:
        for sha256 in (*open_.before.values(), *open_.after.values()):
            uses[sha256] = "a change under way"
    for slot in reversed(SLOTS):
        uses |= dict.fromkeys(store.slots.get(slot).values(), slot)
    return uses


def collect_garbage(
    store: ReleaseStore,
    keeping: Keeping,
    *,
    also_in_use: Collection[str] = (),
    free_bytes: Callable[[], int] | None = None,
    try_only: bool = False,
) -> list[Removed]:
    """Remove old releases and whatever nothing names any more; return the releases.

    Args:
        store: where.
        keeping: what stays.
        also_in_use: digests that nodes serve or keep loaded.
        free_bytes: free space of the disk; None: it is asked.
        try_only: remove nothing, only return what would be.

    Raises:
        StoreError: the store is being changed, or the disk fails.
    """
    free_bytes = free_bytes or (lambda: shutil.disk_usage(store.root).free)
    with store.changing():
        used = {*in_use(store), *also_in_use}
        unused = [sha256 for sha256 in store.shelf.digests() if sha256 not in used]
        gone, rest = _unfit(store, unused, keeping)
        old, rest = _old(rest, keeping.newest)
        gone += [_removed(release, "old") for release in old]
        if not try_only:
            for item in gone:
                _remove(store, item.sha256)
            store.shelf.sweep()
            open_ = store.journal.open_change()
            store.slots.sweep(also=(open_.before, open_.after) if open_ is not None else ())
        gone += _make_room(store, rest, keeping.least_free_bytes, free_bytes, try_only)
        return gone


def remove_release(store: ReleaseStore, sha256: str) -> None:
    """Remove one release, readable or not.

    Raises:
        StoreError: it is in use, or not there.
    """
    with store.changing():
        if sha256 not in store.shelf.digests():
            raise StoreError(f"{store.root}: no release {sha256[:12]}")
        use = in_use(store).get(sha256)
        if use:
            raise StoreError(f"release {sha256[:12]} stays: in use ({use})")
        _remove(store, sha256)
        store.shelf.sweep()


def _unfit(
    store: ReleaseStore, digests: list[str], keeping: Keeping
) -> tuple[list[Removed], list[Release]]:
    """Sort out what must not or cannot serve."""
    gone, rest = [], []
    for sha256 in digests:
        try:
            release = store.release(sha256)
        except ModelError as error:
            if keeping.refused:
                gone.append(Removed(sha256=sha256, why=f"unreadable: {error}"))
            continue
        why = f"in quarantine: {release.quarantined}" if release.quarantined else ""
        if not (why and keeping.refused):
            why = _foreign(release, keeping.trust)
        if why:
            gone.append(_removed(release, why))
        else:
            rest.append(release)
    return gone, rest


def _foreign(release: Release, trust: Trust | None) -> str:
    """Say why these keys do not vouch for a release; its age is not asked for here."""
    if trust is None:
        return ""
    try:
        verify_signatures(release.bundle, trust, now_ns=None)
    except ModelError as error:
        return f"foreign: {error}"
    return ""


def _old(releases: list[Release], newest: int) -> tuple[list[Release], list[Release]]:
    """Split into those beyond the newest of each name, and the rest, oldest first."""
    releases = sorted(releases, key=_installed_ns, reverse=True)
    seen: Counter[str] = Counter()
    old: list[Release] = []
    rest: list[Release] = []
    for release in releases:
        seen[release.manifest.name] += 1
        (old if seen[release.manifest.name] > newest else rest).append(release)
    return old, rest[::-1]


def _make_room(
    store: ReleaseStore,
    releases: list[Release],
    least_bytes: int,
    free_bytes: Callable[[], int],
    try_only: bool,
) -> list[Removed]:
    """Remove the oldest ones while the disk is too full."""
    gone: list[Removed] = []
    missing = least_bytes - free_bytes()
    for release in releases:
        if missing <= 0:
            break
        gone.append(_removed(release, f"{missing / 2**20:.0f} MB too little free"))
        if try_only:  # what the blobs that nobody shares would give
            missing -= sum(
                entry.size
                for name, entry in release.manifest.files.items()
                if (release.bundle.path / name).stat().st_nlink == 2
            )
            continue
        _remove(store, release.sha256)
        store.shelf.sweep()
        missing = least_bytes - free_bytes()
    return gone


def _remove(store: ReleaseStore, sha256: str) -> None:
    """A quarantine stays: what was refused once is refused again."""
    store.shelf.remove(sha256)
    store.notes.forget(sha256)
    for path in (store.root / "starts").glob(f"*-{sha256}"):
        store.disk.files.remove(path)


def _removed(release: Release, why: str) -> Removed:
    manifest = release.manifest
    return Removed(sha256=release.sha256, name=manifest.name, version=manifest.version, why=why)


def _installed_ns(release: Release) -> int:
    return release.bundle.path.stat().st_mtime_ns
