"""Starts of a node with the release that is current: one that never gets far enough goes."""

from __future__ import annotations

from pathlib import Path

from edge_perception.releases.store import ReleaseStore

_MAX_FAILED = 2


class Starts:
    """Counts the starts of each role's current release."""

    def __init__(self, store: ReleaseStore) -> None:
        self._store, self._disk = store, store.disk

    def starting(self, role: str) -> str:
        """Count a start of a role's current release, and return its digest; empty: there is none.

        A release that was started twice without `started` is put in quarantine, and the set before
        it is current again.
        """
        store = self._store
        sha256 = store.decided().get(role, "")
        if not sha256:
            return ""
        path = self._path(role, sha256)
        failed = _count(path)
        if failed >= _MAX_FAILED:
            before = next(
                (
                    models
                    for models in (store.slots.get("previous"), store.slots.get("factory"))
                    if models.get(role, sha256) != sha256
                ),
                None,
            )
            if before is None:  # there is nothing to go back to
                return sha256
            with self._disk.writing():
                store.notes.quarantine(sha256, f"{failed} failed starts as {role}")
                store.slots.point(current=before)
                self._disk.files.remove(path)
            return self.starting(role)
        with self._disk.writing():
            self._disk.replace(path, str(failed + 1).encode("ascii"))
        return sha256

    def started(self, role: str, sha256: str) -> None:
        """Note that a release loaded and ran."""
        with self._disk.writing():
            self._disk.files.remove(self._path(role, sha256))

    def _path(self, role: str, sha256: str) -> Path:
        return self._disk.root / "starts" / f"{Path(role).name}-{sha256}"


def _count(path: Path) -> int:
    """Return the starts that a file counts; one that is damaged counts none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
