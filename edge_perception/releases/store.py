"""The store: releases by content, and which set of them serves.

```
blobs/<sha256>                 files of bundles, shared by the releases that contain them
releases/<manifest sha256>/    a bundle: manifest, signatures, and second names of its blobs
sets/<sha256>.json             which release serves which role
current, previous, factory     one line each: the name of a set; replaced by rename
journal.jsonl                  a record before each step of a change
quarantine/<manifest sha256>   why this release must not serve
admissions/<manifest sha256>   what was measured of it on this machine
starts/<role>-<sha256>         starts that were not finished
counters.json                  highest release number that served, by bundle name
downgrades/<sha256>            signed statements that lowered it
manager.key, manager.pub       signs what the manager asks of nodes
watched.json                   the change whose soak time is not over
breaker.json                   rollbacks of the manager's own, and whether they opened the breaker
events.jsonl                   what happened, for people
```
A change of `current` is one rename, so a set is never half changed. `recover` finishes or undoes
what a dead process left.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_perception.core.errors import ModelError, StoreError
from edge_perception.core.version import version_key
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, load_bundle
from edge_perception.releases import notes, shelf, slots
from edge_perception.releases.archive import unpack
from edge_perception.releases.breaker import WatchNotes
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.filesystem import FileLock, FileSystem
from edge_perception.releases.journal import Journal, Record
from edge_perception.releases.notes import Notes
from edge_perception.releases.roles import check_role
from edge_perception.releases.shelf import Release, Shelf
from edge_perception.releases.signing import SIGNATURES_NAME, Trust, verify_signatures
from edge_perception.releases.slots import ModelSet, Slots

_LOCK_WAIT_S = 10.0  # an installation, or making room
_FOLDERS = (*shelf.FOLDERS, *slots.FOLDERS, *notes.FOLDERS, "incoming", "starts")


class ReleaseStore:
    """The releases of one machine. Changes need the lock of `changing`; reading needs nothing.

    Raises:
        StoreError: the folder cannot be read or written.
    """

    def __init__(self, root: Path, *, files: FileSystem | None = None) -> None:
        self.root = root
        self.disk = StoreDisk(root=root, files=files or FileSystem())
        self.disk.make_folders(_FOLDERS)
        self.shelf = Shelf(self.disk)
        self.slots = Slots(self.disk)
        self.notes = Notes(self.disk)
        self.watches = WatchNotes(self.disk)
        self.journal = Journal(root / "journal.jsonl", self.disk.files)

    # -- reading --

    def releases(self) -> list[Release]:
        """Return all releases that can be read, without reading their model files."""
        found = []
        for sha256 in self.shelf.digests():
            # A damaged neighbour must not hide the others; asked for by digest it says why.
            with contextlib.suppress(ModelError):
                found.append(self.release(sha256))
        return found

    def release(self, sha256: str) -> Release:
        """Return a release by digest.

        Raises:
            StoreError: there is none, or its manifest is damaged.
        """
        bundle = self.shelf.bundle(sha256)
        return Release(bundle=bundle, quarantined=self.notes.quarantined(sha256))

    def find(self, name: str, version: str = "") -> Release:
        """Return the newest release of a name that is not in quarantine.

        Raises:
            StoreError: there is none; the text says what there is.
        """
        releases = self.releases()
        named = [r for r in releases if name in (r.manifest.name, r.sha256)]
        fitting = [r for r in named if version in ("", r.manifest.version)]
        usable = [release for release in fitting if not release.quarantined]
        if usable:
            return max(usable, key=lambda r: r.manifest.newness)
        if fitting:
            raise StoreError(
                f"{name} {fitting[-1].manifest.version}: in quarantine: {fitting[-1].quarantined}"
            )
        if named:
            raise StoreError(
                f"{name}: expected version {version}, got "
                f"{', '.join(sorted((r.manifest.version for r in named), key=version_key))}"
            )
        known = ", ".join(sorted({r.manifest.name for r in releases})) or "none"
        raise StoreError(f"unknown model '{name}' in the store {self.root}; known: {known}")

    def decided(self) -> ModelSet:
        """Return the set that is to serve: `current`, or what a decision is about to make of it.

        A set with a release in quarantine is none that was decided.
        """
        try:
            open_ = self.journal.open_change()
        except StoreError:
            open_ = None  # `recover` sets a damaged journal aside, and the slots stand
        decided = open_.after if open_ is not None and open_.step == "commit" else {}
        if decided and not any(map(self.notes.quarantined, decided.values())):
            return decided
        return self.slots.get("current")

    # -- taking in --

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock on the store's content for a moment; wait for whoever has it, not long.

        Raises:
            StoreError: another process holds it, or the disk fails.
        """
        lock = FileLock(self.root / "store.lock")
        with self.disk.writing():
            if not lock.acquire(wait_s=_LOCK_WAIT_S):
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
        with self.changing(), self._work(archive.name) as work:
            unpack(archive, work, max_bytes=max_bytes)
            return self._take_in(load_bundle(work), trust, now_ns)

    def adopt(self, bundle: Bundle) -> Release:
        """Keep a bundle that serves and came with the software, with the signatures that it has."""
        if self.shelf.has(bundle.sha256):
            self._add_signatures(bundle)
            return self.release(bundle.sha256)
        with self.changing(), self._work(bundle.sha256) as work:
            for name in (MANIFEST_NAME, SIGNATURES_NAME, *bundle.manifest.files):
                if name != SIGNATURES_NAME or (bundle.path / name).is_file():
                    shutil.copyfile(bundle.path / name, work / name)
            return self._keep(load_bundle(work))

    def _add_signatures(self, bundle: Bundle) -> None:
        """Older software kept none of what came with it."""
        ours, theirs = (
            path / SIGNATURES_NAME for path in (self.shelf.path(bundle.sha256), bundle.path)
        )
        if theirs.is_file() and not ours.exists():
            with self.disk.writing():
                self.disk.replace(ours, theirs.read_bytes())

    def served(self, models: ModelSet) -> None:
        """Note that a set serves: from now on no older release of these names is taken.

        Done when a set is decided, not when a release is installed: what fails its trial must not
        lock out what serves.
        """
        for sha256 in models.values():
            if self.shelf.has(sha256):
                manifest = self.shelf.bundle(sha256).manifest
                self.notes.raise_floor(manifest.name, manifest.release)

    # -- changes of what serves --

    def begin(
        self,
        transaction_id: str,
        before: ModelSet,
        after: ModelSet,
        reason: str,
        *,
        needed: Iterable[Release] = (),
    ) -> Record:
        """Journal the start of a change: from here on nothing of it is removed.

        Raises:
            StoreError: a release that is needed is not here (any more).
        """
        record = Record(
            transaction_id=transaction_id, step="begin", before=before, after=after, reason=reason
        )
        with self.changing():
            for release in needed:
                self.shelf.bundle(release.sha256)
            self.journal.append(record)
        return record

    def note(self, record: Record) -> None:
        """Journal a step that is about to be done."""
        with self.disk.writing():
            self.journal.append(record)

    def recover(self) -> str:
        """Finish or undo the change that a dead process left; return what was done.

        The record `commit` is the decision: with it the change is finished, without it undone.
        """
        with self.changing():
            for leftover in (self.root / "incoming").iterdir():
                self.disk.files.remove(leftover)
            self.shelf.drop_partials()
            note = self.journal.repair()
            open_ = self.journal.open_change()
            if open_ is None:
                return note
            if open_.step != "commit":
                self.journal.append(open_.next("aborted", reason="the manager ended in between"))
                return f"{note} undid {open_.transaction_id} at {open_.step}".strip()
            self.slots.point(previous=open_.before, current=open_.after)
            self.served(open_.after)
            self.journal.append(open_.next("done", reason="finished at start"))
            return f"{note} finished {open_.transaction_id}".strip()

    # -- steps --

    @contextmanager
    def _work(self, name: str) -> Iterator[Path]:
        """Give an empty folder on the disk of the store, and remove what is left of it."""
        work = self.root / "incoming" / f"{name}.work"
        self.disk.files.remove(work)
        self.disk.files.make_folder(work)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _take_in(self, bundle: Bundle, trust: Trust, now_ns: int) -> Release:
        name, manifest = bundle.manifest.name, bundle.manifest
        reason = self.notes.quarantined(bundle.sha256)
        if reason:
            raise StoreError(f"{name} {manifest.version}: in quarantine: {reason}")
        check_role(manifest)
        verify_signatures(
            bundle,
            trust,
            now_ns=now_ns,
            known_release=self.notes.floors().get(name, 0),
            admitted=self.shelf.has(bundle.sha256),
        )
        return self._keep(bundle)

    def _keep(self, bundle: Bundle) -> Release:
        self.shelf.keep(bundle)
        return self.release(bundle.sha256)
