"""The store as its one manager holds it: locked, recovered, with the keys that count."""

from __future__ import annotations

from pathlib import Path

from edge_perception.core.errors import StoreError, SwapError
from edge_perception.models.folders import find_bundle, find_digest
from edge_perception.models.manifest import Bundle
from edge_perception.releases.filesystem import FileLock, FileSystem
from edge_perception.releases.signing import Trust, read_trust
from edge_perception.releases.store import ReleaseStore


class ManagedStore:
    """Gives the store out where models may be changed, and else says why not."""

    def __init__(self, files: FileSystem | None = None) -> None:
        """Hold nothing.

        Args:
            files: what the store writes through; tests pass one that fails.
        """
        self.files = files or FileSystem()
        self.off = "the manager is not configured"  # why models cannot be changed; empty: they can
        self.folders: list[Path] = []  # of bundles that came with the software
        self._store: ReleaseStore | None = None
        self._lock: FileLock | None = None
        self._trust_file = ""

    def open(self, root: str, trust_file: str, folders: list[Path]) -> str:
        """Open the store, and finish or undo what a dead manager left; return what that was.

        Args:
            root: folder of the store; empty: there is none.
            trust_file: trusted keys; empty: the store is only read.
            folders: of bundles that came with the software.

        Raises:
            ModelError: it cannot be read, or another process is its manager.
            OSError: the disk fails.
        """
        self.folders, self._trust_file = folders, trust_file
        if not root:
            self.off = "swapping is off: set model_store and trust_file"
            return ""
        self.off = "" if trust_file else "swapping is off: no trusted keys, set trust_file"
        path = Path(root).expanduser()
        self._store = ReleaseStore(path, files=self.files)
        lock = FileLock(path / "manager.lock")
        if not lock.acquire():
            raise StoreError(f"process {lock.holder()} is the manager of {path}")
        self._lock = lock
        note = self._store.recover()
        if trust_file:
            self.trust()
        return note

    def close(self) -> None:
        """Give the store back; safe more than once."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._store = None
        self.off = "the manager is not configured"

    @property
    def store(self) -> ReleaseStore:
        """The store, to change models.

        Raises:
            SwapError: they cannot be changed; the text says why.
        """
        if self.off or self._store is None:
            raise SwapError(self.off or "the manager is not configured")
        return self._store

    @property
    def readable(self) -> ReleaseStore | None:
        """The store, to look into; None: there is none."""
        return self._store

    def trust(self) -> Trust:
        """Return the trusted keys; read anew, so that a rotation holds at once."""
        return read_trust(Path(self._trust_file).expanduser())

    def bundle(self, sha256: str) -> Bundle:
        """Return the bundle of a digest, of the store or of those that came with the software.

        Raises:
            UnknownNameError: there is none.
        """
        if self.store.shelf.has(sha256):
            return self.store.shelf.bundle(sha256)
        return find_digest(sha256, self.folders)

    def verified(self, name: str, version: str, *, now_ns: int) -> Bundle:
        """Find a release of the store or an installed bundle, every file read and checked.

        Raises:
            EdgePerceptionError: there is none, or what is wrong with it.
        """
        if self._store is not None and not self.off:
            try:
                release = self._store.find(name, version)
            except StoreError:
                release = None
            if release is not None:
                self._store.verify(release, self.trust(), now_ns=now_ns)
                return release.bundle
        bundle = find_bundle(name, self.folders)
        if version and bundle.manifest.version != version:
            raise SwapError(f"{name}: expected version {version}, got {bundle.manifest.version}")
        return bundle

    def signers(self, sha256: str) -> str:
        """Return who signed a release of the store, for display; empty: nobody."""
        return self._store.shelf.signers(sha256) if self._store is not None else ""
