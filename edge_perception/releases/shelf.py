"""The bundles of a store by the digest of their manifest; a file they share is there once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edge_perception.core.errors import BundleError, StoreError
from edge_perception.models.manifest import (
    MANIFEST_NAME,
    Bundle,
    Manifest,
    file_entry,
    load_bundle,
    parse_manifest,
)
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.signing import SIGNATURES_NAME

FOLDERS = ("blobs", "releases")


@dataclass(frozen=True, kw_only=True)
class Release:
    """One bundle of the store, its files not read again."""

    bundle: Bundle
    quarantined: str = ""  # why it must not serve; empty: it may

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""
        return self.bundle.manifest

    @property
    def sha256(self) -> str:
        """Digest of its manifest."""
        return self.bundle.sha256


class Shelf:
    """Reads, keeps and removes bundles. Changes need the lock of the store."""

    def __init__(self, disk: StoreDisk) -> None:
        self._disk, self._files = disk, disk.files
        self._releases, self._blobs = disk.root / "releases", disk.root / "blobs"

    def digests(self) -> list[str]:
        """Return the digests of all bundles that are here, readable or not."""
        return sorted(p.name for p in self._releases.iterdir() if not p.name.startswith("."))

    def has(self, sha256: str) -> bool:
        """Whether a bundle is here."""
        return (self.path(sha256) / MANIFEST_NAME).is_file()

    def path(self, sha256: str) -> Path:
        """Return where a bundle is, or would be."""
        return self._releases / Path(sha256).name

    def bundle(self, sha256: str) -> Bundle:
        """Return a bundle, without reading its model files.

        Raises:
            StoreError: there is none, or its manifest is damaged.
        """
        path = self.path(sha256)
        try:
            text = (path / MANIFEST_NAME).read_bytes()
        except OSError as error:
            raise StoreError(f"{self._disk.root}: no release {sha256[:12]}: {error}") from error
        if hashlib.sha256(text).hexdigest() != sha256:
            raise StoreError(f"release {sha256[:12]}: its manifest was changed")
        return Bundle(path=path, manifest=parsed_manifest(text), sha256=sha256)

    def signers(self, sha256: str) -> str:
        """Return the key ids in a bundle's signatures, for display; empty: unsigned."""
        try:
            entries = json.loads((self.path(sha256) / SIGNATURES_NAME).read_bytes())["signatures"]
            return ", ".join(str(entry["key_id"]) for entry in entries)
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # `verify` says what is wrong

    def keep(self, bundle: Bundle) -> None:
        """Move a bundle's files to the blobs, then let it appear by one rename."""
        target = self.path(bundle.sha256)
        if target.is_dir():
            return
        partial = target.with_name(f".{bundle.sha256}")
        self._files.remove(partial)
        self._files.make_folder(partial)
        for name, entry in bundle.manifest.files.items():
            path = bundle.path / name
            # What is sealed is not what others share under the hash of its content.
            sealed = path.stat().st_size != entry.size
            blob = self._blobs / (file_entry(path).sha256 if sealed else entry.sha256)
            if not blob.exists():
                self._files.sync(path)
                self._files.move_in(path, blob)
            self._files.link(blob, partial / name)
        for name in (MANIFEST_NAME, SIGNATURES_NAME):
            if (bundle.path / name).is_file():
                self._files.write(partial / name, (bundle.path / name).read_bytes())
                self._files.sync(partial / name)
        self._files.sync_folder(self._blobs)
        self._files.sync_folder(partial)
        self._files.rename(partial, target)
        self._files.sync_folder(target.parent)

    def remove(self, sha256: str) -> None:
        """Let a bundle disappear by one rename, then remove its files."""
        partial = self._releases / f".{Path(sha256).name}"
        self._files.remove(partial)
        self._files.rename(self.path(sha256), partial)
        self._files.sync_folder(self._releases)
        self._files.remove(partial)

    def drop_partials(self) -> None:
        """Remove what a dead process left half done."""
        for partial in self._releases.glob(".*"):
            self._files.remove(partial)

    def sweep(self) -> None:
        """Remove the files that no bundle has."""
        self.drop_partials()
        for blob in self._blobs.iterdir():
            if blob.stat().st_nlink == 1:
                self._files.remove(blob)


@lru_cache(maxsize=256)
def parsed_manifest(text: bytes) -> Manifest:
    """Parse a manifest once a process: it never changes, its digest names it."""
    return parse_manifest(text)


def bundle_by_digest(root: Path, sha256: str) -> Bundle:
    """Return a bundle of the store at `root` by digest, its files verified.

    Raises:
        ModelError: it is not there or damaged.
    """
    bundle = load_bundle(root / "releases" / Path(sha256).name)
    if bundle.sha256 != sha256:
        raise BundleError(f"release {sha256[:12]}: its manifest was changed")
    return bundle
