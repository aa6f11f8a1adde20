"""Making room in a store: what nothing uses goes, what serves or may be gone back to stays."""

from __future__ import annotations

from edge_perception.releases.store import ReleaseStore


def collect_garbage(store: ReleaseStore, *, keep: int = 8) -> list[str]:
    """Remove old releases and blobs nobody uses; return the digests of the releases.

    Args:
        store: where.
        keep: how many of the newest releases stay, beside those of the three slots.
    """
    with store.changing():
        held = store.slots.held()
        open_ = store.journal.open_change()
        if open_ is not None:
            held |= {*open_.before.values(), *open_.after.values()}
        free = [release for release in store.releases() if release.sha256 not in held]
        free.sort(key=lambda release: release.bundle.path.stat().st_mtime_ns, reverse=True)
        removed = [release.sha256 for release in free[keep:]]
        for sha256 in removed:
            store.shelf.remove(sha256)
        store.shelf.sweep()
        return removed
