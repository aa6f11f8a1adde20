"""The store: releases by content, and which set of them serves.

```
blobs/<sha256>                 files of bundles, shared by the releases that contain them
releases/<manifest sha256>/    a bundle: manifest, signatures, and second names of its blobs
sets/<sha256>.json             which release serves which role
current, previous, factory     one line each: the name of a set; replaced by rename
journal.jsonl                  a record before each step of a change
quarantine/<manifest sha256>   why this release must not serve
counters.json                  highest release number that was accepted, by bundle name
events.jsonl                   what happened, for people
```
A change of `current` is one rename, so a set is never half changed. `recover` finishes or undoes
what a dead process left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edge_perception.core.errors import BundleError, ModelError, StoreError
from edge_perception.models.manifest import (
    MANIFEST_NAME,
    Bundle,
    Manifest,
    load_bundle,
    parse_manifest,
)
from edge_perception.releases.archive import unpack
from edge_perception.releases.filesystem import FileLock, FileSystem
from edge_perception.releases.journal import Journal, Record
from edge_perception.releases.signing import SIGNATURES_NAME, Trust, verify_signatures

_MAX_FAILED_STARTS = 2
SLOTS = ("current", "previous", "factory")
# Release digest by role: a source's name, or fusion.
ModelSet = Mapping[str, str]
_FOLDERS = ("blobs", "releases", "sets", "quarantine", "incoming", "admissions", "starts")


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


class ReleaseStore:
    """The releases of one machine. Changes need the lock of `changing`; reading needs nothing.

    Raises:
        StoreError: the folder cannot be read or written.
    """

    def __init__(self, root: Path, *, files: FileSystem | None = None) -> None:
        self.root = root
        self._files = files or FileSystem()
        try:
            for name in _FOLDERS:
                if not (root / name).is_dir():
                    self._files.make_folder(root / name)
        except OSError as error:
            raise _store_error(root, error) from error
        self.journal = Journal(root / "journal.jsonl", self._files)

    # -- reading --

    def releases(self) -> list[Release]:
        """Return all releases that can be read, without reading their model files."""
        folders = sorted((self.root / "releases").iterdir())
        found = []
        for folder in folders:
            # A damaged neighbour must not hide the others; asked for by digest it says why.
            with contextlib.suppress(ModelError):
                if not folder.name.startswith("."):
                    found.append(self.release(folder.name))
        return found

    def release(self, sha256: str) -> Release:
        """Return a release by digest.

        Raises:
            StoreError: there is none, or its manifest is damaged.
        """
        path = self.root / "releases" / Path(sha256).name
        try:
            text = (path / MANIFEST_NAME).read_bytes()
        except OSError as error:
            raise StoreError(f"{self.root}: no release {sha256[:12]}: {error}") from error
        if hashlib.sha256(text).hexdigest() != sha256:
            raise StoreError(f"release {sha256[:12]}: its manifest was changed")
        bundle = Bundle(path=path, manifest=_parsed(text), sha256=sha256)
        return Release(bundle=bundle, quarantined=self.quarantine_reason(sha256))

    def has(self, sha256: str) -> bool:
        """Whether a release is here."""
        return (self.root / "releases" / Path(sha256).name / MANIFEST_NAME).is_file()

    def find(self, name: str, version: str = "") -> Release:
        """Return the newest release of a name that is not in quarantine.

        Raises:
            StoreError: there is none; the text says what there is.
        """
        named = [r for r in self.releases() if name in (r.manifest.name, r.sha256)]
        fitting = [r for r in named if version in ("", r.manifest.version)]
        usable = [release for release in fitting if not release.quarantined]
        if usable:
            return max(usable, key=lambda r: (r.manifest.release, r.manifest.created))
        if fitting:
            raise StoreError(
                f"{name} {fitting[-1].manifest.version}: in quarantine: {fitting[-1].quarantined}"
            )
        if named:
            raise StoreError(
                f"{name}: expected version {version}, got "
                f"{', '.join(sorted(r.manifest.version for r in named))}"
            )
        known = ", ".join(sorted({r.manifest.name for r in self.releases()})) or "none"
        raise StoreError(f"unknown model '{name}' in the store {self.root}; known: {known}")

    def slot(self, slot: str) -> ModelSet:
        """Return the set of a slot; empty: it is not set.

        Raises:
            StoreError: the slot names a set that cannot be read.
        """
        path = self.root / slot
        if slot not in SLOTS:
            raise StoreError(f"slot: expected one of {', '.join(SLOTS)}, got '{slot}'")
        if not path.exists():
            return {}
        return self._read_set(path.read_text(encoding="ascii").strip())

    def signers(self, sha256: str) -> str:
        """Return the key ids in a release's signatures, for display; empty: unsigned."""
        path = self.root / "releases" / Path(sha256).name / SIGNATURES_NAME
        try:
            entries = json.loads(path.read_bytes())["signatures"]
            return ", ".join(str(entry["key_id"]) for entry in entries)
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # `verify` says what is wrong

    def quarantine_reason(self, sha256: str) -> str:
        """Return why a release is in quarantine; empty: it is not."""
        path = self.root / "quarantine" / Path(sha256).name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def counters(self) -> dict[str, int]:
        """Return the highest release accepted, by bundle name."""
        path = self.root / "counters.json"
        try:
            return {str(k): int(v) for k, v in json.loads(path.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error

    # -- changing --

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock on the store's content for a moment.

        Raises:
            StoreError: another process holds it.
        """
        lock = FileLock(self.root / "store.lock")
        if not lock.acquire():
            raise StoreError(f"{self.root}: process {lock.holder()} is changing the store")
        try:
            yield
        finally:
            lock.release()

    def install(
        self, archive: Path, trust: Trust, *, now_ns: int, max_bytes: int = 8 * 2**30
    ) -> Release:
        """Unpack, verify and keep a bundle archive.

        Raises:
            BundleError: the archive is damaged or is more than a bundle.
            SignatureError: not signed as trust demands, expired, or an older release.
            StoreError: it cannot be written, or is in quarantine.
        """
        with self.changing(), self._writing():
            work = self.root / "incoming" / f"{archive.name}.work"
            self._files.remove(work)
            self._files.make_folder(work)
            try:
                unpack(archive, work, max_bytes=max_bytes)
                return self._take_in(load_bundle(work), trust, now_ns)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def adopt(self, bundle: Bundle) -> Release:
        """Keep a bundle that came with the software: trusted by its installation, not signed."""
        if self.has(bundle.sha256):
            return self.release(bundle.sha256)
        with self.changing(), self._writing():
            work = self.root / "incoming" / f"{bundle.sha256}.work"
            self._files.remove(work)
            self._files.make_folder(work)
            try:
                for name in (MANIFEST_NAME, *bundle.manifest.files):
                    shutil.copyfile(bundle.path / name, work / name)
                return self._keep(load_bundle(work))
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def verify(self, release: Release, trust: Trust, *, now_ns: int) -> tuple[str, ...]:
        """Read every file again, check hashes and signatures, and return the signers.

        A release that came with the software has no signature and needs none while it is factory.
        """
        bundle = load_bundle(release.bundle.path)
        if release.quarantined:
            raise StoreError(f"{bundle.manifest.name}: in quarantine: {release.quarantined}")
        if bundle.sha256 in self.slot("factory").values():
            return ()
        known = 0
        if bundle.sha256 not in {*self.slot("current").values(), *self.slot("previous").values()}:
            known = self.counters().get(bundle.manifest.name, 0)
        return verify_signatures(bundle, trust, now_ns=now_ns, known_release=known, admitted=True)

    def set_slots(self, **sets: ModelSet) -> None:
        """Point slots to sets; each by one rename, in the order given."""
        with self._writing():
            for slot, models in sets.items():
                name = self._write_set(models)
                self._replace(self.root / slot, name.encode("ascii"))

    def quarantine(self, sha256: str, reason: str) -> None:
        """Keep a release from serving again."""
        with self._writing():
            self._replace(self.root / "quarantine" / Path(sha256).name, reason.encode("utf-8"))

    def starting(self, role: str) -> str:
        """Count a start of a role's current release, and return its digest; empty: there is none.

        A release that was started twice without `started` is put in quarantine, and the set before
        it is current again.
        """
        sha256 = self.decided().get(role, "")
        if not sha256:
            return ""
        path = self._starts(role, sha256)
        failed = int(path.read_text(encoding="ascii")) if path.exists() else 0
        if failed >= _MAX_FAILED_STARTS:
            before = next(
                (
                    models
                    for models in (self.slot("previous"), self.slot("factory"))
                    if models.get(role, sha256) != sha256
                ),
                None,
            )
            if before is None:  # there is nothing to go back to
                return sha256
            with self._writing():
                self.quarantine(sha256, f"{failed} failed starts as {role}")
                self.set_slots(current=before)
                self._files.remove(path)
            return self.starting(role)
        with self._writing():
            self._replace(path, str(failed + 1).encode("ascii"))
        return sha256

    def decided(self) -> ModelSet:
        """Return the set that is to serve: `current`, or what a decision is about to make of it.

        A set with a release in quarantine is none that was decided.
        """
        try:
            open_ = self.journal.open_change()
        except StoreError:
            open_ = None  # `recover` sets a damaged journal aside, and the slots stand
        decided = open_.after if open_ is not None and open_.step == "commit" else {}
        if decided and not any(map(self.quarantine_reason, decided.values())):
            return decided
        return self.slot("current")

    def started(self, role: str, sha256: str) -> None:
        """Note that a release loaded and ran."""
        with self._writing():
            self._files.remove(self._starts(role, sha256))

    def _starts(self, role: str, sha256: str) -> Path:
        return self.root / "starts" / f"{Path(role).name}-{sha256}"

    def recover(self) -> str:
        """Finish or undo the change that a dead process left; return what was done.

        The record `commit` is the decision: with it the change is finished, without it undone.
        """
        with self.changing(), self._writing():
            for leftover in (self.root / "incoming").iterdir():
                self._files.remove(leftover)
            for partial in (self.root / "releases").glob(".*"):
                self._files.remove(partial)
            note = self.journal.repair()
            open_ = self.journal.open_change()
            if open_ is None:
                return note
            if open_.step != "commit":
                self.journal.append(open_.next("aborted", reason="the manager ended in between"))
                return f"{note} undid {open_.transaction_id} at {open_.step}".strip()
            self.set_slots(previous=open_.before, current=open_.after)
            self.journal.append(open_.next("done", reason="finished at start"))
            return f"{note} finished {open_.transaction_id}".strip()

    def collect_garbage(self, *, keep: int = 8) -> list[str]:
        """Remove old releases and blobs nobody uses; return the digests of the releases.

        Args:
            keep: how many of the newest releases stay, beside those of the three slots.
        """
        with self.changing(), self._writing():
            held = {sha for slot in SLOTS for sha in self.slot(slot).values()}
            open_ = self.journal.open_change()
            if open_ is not None:
                held |= {*open_.before.values(), *open_.after.values()}
            free = [release for release in self.releases() if release.sha256 not in held]
            free.sort(key=lambda release: release.bundle.path.stat().st_mtime_ns, reverse=True)
            removed = [release.sha256 for release in free[keep:]]
            for sha256 in removed:
                self._files.remove(self.root / "releases" / sha256)
            for blob in (self.root / "blobs").iterdir():
                if blob.stat().st_nlink == 1:
                    self._files.remove(blob)
            return removed

    # -- steps --

    def _take_in(self, bundle: Bundle, trust: Trust, now_ns: int) -> Release:
        name = bundle.manifest.name
        counters = self.counters()
        reason = self.quarantine_reason(bundle.sha256)
        if reason:
            raise StoreError(f"{name} {bundle.manifest.version}: in quarantine: {reason}")
        verify_signatures(
            bundle,
            trust,
            now_ns=now_ns,
            known_release=counters.get(name, 0),
            admitted=self.has(bundle.sha256),
        )
        release = self._keep(bundle)
        if bundle.manifest.release > counters.get(name, 0):
            counters[name] = bundle.manifest.release
            text = json.dumps(counters, sort_keys=True).encode("utf-8")
            self._replace(self.root / "counters.json", text)
        return release

    def _keep(self, bundle: Bundle) -> Release:
        """Move the files to the blobs, then let the release appear by one rename."""
        target = self.root / "releases" / bundle.sha256
        if target.is_dir():
            return self.release(bundle.sha256)
        partial = target.with_name(f".{bundle.sha256}")
        self._files.remove(partial)
        self._files.make_folder(partial)
        for name, entry in bundle.manifest.files.items():
            blob = self.root / "blobs" / entry.sha256
            if not blob.exists():
                self._files.sync(bundle.path / name)
                self._files.move_in(bundle.path / name, blob)
            self._files.link(blob, partial / name)
        for name in (MANIFEST_NAME, SIGNATURES_NAME):
            if (bundle.path / name).is_file():
                self._files.write(partial / name, (bundle.path / name).read_bytes())
                self._files.sync(partial / name)
        self._files.sync_folder(self.root / "blobs")
        self._files.sync_folder(partial)
        self._files.rename(partial, target)
        self._files.sync_folder(target.parent)
        return self.release(bundle.sha256)

    def _write_set(self, models: ModelSet) -> str:
        text = json.dumps(dict(models), sort_keys=True).encode("utf-8")
        name = hashlib.sha256(text).hexdigest()
        path = self.root / "sets" / f"{name}.json"
        if not path.exists():
            self._replace(path, text)
        return name

    def _read_set(self, name: str) -> ModelSet:
        path = self.root / "sets" / f"{Path(name).name}.json"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{self.root}: set {name[:12]}: {error}") from error
        if hashlib.sha256(text).hexdigest() != name:
            raise StoreError(f"{self.root}: set {name[:12]} was changed")
        return {str(role): str(sha256) for role, sha256 in json.loads(text).items()}

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")
        self._files.write(temporary, data)
        self._files.sync(temporary)
        self._files.rename(temporary, path)
        self._files.sync_folder(path.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _store_error(self.root, error) from error

    def remember(self, key: str, data: Mapping[str, Any]) -> None:
        """Keep what was measured of a release on this machine."""
        with self._writing():
            text = json.dumps(dict(data), sort_keys=True).encode("utf-8")
            self._replace(self.root / "admissions" / f"{Path(key).name}.json", text)

    def remembered(self, key: str) -> dict[str, Any]:
        """Return what `remember` kept; empty: nothing."""
        try:
            data = json.loads((self.root / "admissions" / f"{Path(key).name}.json").read_bytes())
        except (OSError, ValueError):
            return {}  # measured anew
        return dict(data) if isinstance(data, dict) else {}

    def begin(self, transaction_id: str, before: ModelSet, after: ModelSet, name: str) -> Record:
        """Journal the start of a change."""
        record = Record(
            transaction_id=transaction_id, step="begin", before=before, after=after, reason=name
        )
        self.note(record)
        return record

    def note(self, record: Record) -> None:
        """Journal a step that is about to be done."""
        with self._writing():
            self.journal.append(record)


@lru_cache(maxsize=256)
def _parsed(text: bytes) -> Manifest:
    """Manifests never change: their digest names them."""
    return parse_manifest(text)


def bundle_by_digest(root: Path, sha256: str) -> Bundle:
    """Return a bundle of the store by digest, its files verified.

    Raises:
        ModelError: it is not there or damaged.
    """
    bundle = load_bundle(root / "releases" / Path(sha256).name)
    if bundle.sha256 != sha256:
        raise BundleError(f"release {sha256[:12]}: its manifest was changed")
    return bundle


def _store_error(root: Path, error: OSError) -> ModelError:
    names = {
        errno.ENOSPC: "the disk is full",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "no permission to write",
        errno.EIO: "the disk reports an I/O error",
    }
    what = names.get(error.errno or 0, "cannot be read or written")
    return StoreError(f"store {root}: {what}: {error}")
