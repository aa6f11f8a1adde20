"""What a machine knows of releases: which must not serve, how old one may be, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_perception.core.errors import StoreError
from edge_perception.releases.disk import StoreDisk

FOLDERS = ("quarantine", "admissions", "downgrades")


class Notes:
    """One small file each; a digest of a release names it."""

    def __init__(self, disk: StoreDisk) -> None:
        self._disk, self._root = disk, disk.root

    # -- quarantine --

    def quarantine(self, sha256: str, reason: str) -> None:
        """Keep a release from serving again, also after it was removed and comes back."""
        with self._disk.writing():
            self._disk.replace(self._quarantine(sha256), reason.encode("utf-8"))

    def quarantined(self, sha256: str) -> str:
        """Return why a release must not serve; empty: it may."""
        path = self._quarantine(sha256)
        if not path.exists():
            return ""
        return path.read_text(encoding="utf-8", errors="replace") or "why was not kept"

    # -- release floor --

    def floors(self) -> dict[str, int]:
        """Return the highest release number that was accepted, by bundle name."""
        path = self._root / "counters.json"
        try:
            return {str(k): int(v) for k, v in json.loads(path.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error

    def raise_floor(self, name: str, release: int) -> None:
        """Accept no release of a name below this one any more."""
        floors = self.floors()
        if release > floors.get(name, 0):
            floors[name] = release
            text = json.dumps(floors, sort_keys=True).encode("utf-8")
            with self._disk.writing():
                self._disk.replace(self._root / "counters.json", text)

    def lower_floor(self, name: str, release: int, digest: str, statement: bytes) -> None:
        """Accept older releases of a name again, as a statement says; it is kept under its digest.

        The floor goes first: a crash in between lets the same statement lower it again.
        """
        floors = {**self.floors(), name: release}
        with self._disk.writing():
            text = json.dumps(floors, sort_keys=True).encode("utf-8")
            self._disk.replace(self._root / "counters.json", text)
            self._disk.replace(self._root / "downgrades" / digest, statement)

    def downgraded(self, digest: str) -> bool:
        """Whether a statement was used here."""
        return (self._root / "downgrades" / digest).exists()

    # -- measurements --

    def remember(self, sha256: str, data: Mapping[str, Any]) -> None:
        """Keep what was measured of a release on this machine."""
        with self._disk.writing():
            text = json.dumps(dict(data), sort_keys=True).encode("utf-8")
            self._disk.replace(self._measured(sha256), text)

    def remembered(self, sha256: str) -> dict[str, Any]:
        """Return what `remember` kept; empty: nothing."""
        try:
            data = json.loads(self._measured(sha256).read_bytes())
        except (OSError, ValueError):
            return {}  # measured anew
        return dict(data) if isinstance(data, dict) else {}

    def forget(self, sha256: str) -> None:
        """Drop what was measured; a quarantine stays."""
        self._disk.files.remove(self._measured(sha256))

    def _quarantine(self, sha256: str) -> Path:
        return self._root / "quarantine" / Path(sha256).name

    def _measured(self, sha256: str) -> Path:
        return self._root / "admissions" / f"{Path(sha256).name}.json"
