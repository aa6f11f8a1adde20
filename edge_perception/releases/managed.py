"""The store as its one manager holds it: locked, recovered, with the keys that count."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from edge_perception.core.errors import StoreError, SwapError
from edge_perception.models.folders import find_bundle, find_digest
from edge_perception.models.manifest import Bundle, load_bundle
from edge_perception.releases.filesystem import FileLock, FileSystem
from edge_perception.releases.requests import RequestSigner, open_signer
from edge_perception.releases.store import ReleaseStore
from edge_perception.releases.verifying import check_release, signatures_required, trust_roots


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
        self._signer: RequestSigner | None = None
        self._required = False
        self._lock: FileLock | None = None
        self._trust_file = ""

    def open(
        self, root: str, trust_file: str, folders: list[Path], *, require_signed: str = "auto"
    ) -> str:
        """Open the store, and finish or undo what a dead manager left; return what that was.

        Args:
            root: folder of the store; empty: there is none.
            trust_file: trusted keys; empty: the store is only read.
            folders: of bundles that came with the software.
            require_signed: auto, true or false: whether an unsigned bundle is refused.

        Raises:
            ConfigurationError: signatures are asked for without a trust file.
            ModelError: it cannot be read, or another process is its manager.
            OSError: the disk fails.
        """
        self.folders, self._trust_file = folders, trust_file
        self._required = signatures_required(trust_file, require_signed)
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
            trust_roots(trust_file)
            self._signer = open_signer(path, time.time_ns)
        return note

    def close(self) -> None:
        """Give the store back; safe more than once."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._store = self._signer = None
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

    def token(self, service: str, request: Mapping[str, object]) -> str:
        """Sign a request to a node; nodes with trusted keys answer no other."""
        return self._signer.token(service, request) if self._signer is not None else ""

    def verify(self, bundle: Bundle, *, now_ns: int) -> tuple[str, ...]:
        """Read every file of a bundle again, check it as the nodes do, and return the signers.

        Raises:
            ModelError: what is wrong with it.
        """
        return check_release(
            load_bundle(bundle.path),
            trust_roots(self._trust_file),
            now_ns=now_ns,
            store=self._store,
            required=self._required,
        )

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
                self.verify(release.bundle, now_ns=now_ns)
                return release.bundle
        bundle = find_bundle(name, self.folders)
        if version and bundle.manifest.version != version:
            raise SwapError(f"{name}: expected version {version}, got {bundle.manifest.version}")
        if self._trust_file:
            self.verify(bundle, now_ns=now_ns)
        return bundle

    def signers(self, sha256: str) -> str:
        """Return who signed a release of the store, for display; empty: nobody."""
        return self._store.shelf.signers(sha256) if self._store is not None else ""
