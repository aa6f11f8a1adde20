"""What a robot takes from a registry: looks, decides, fetches, and gives it to the store.

Nothing here changes what serves: what was fetched goes the way of every release. Everything can
end at any step; what came stays and the next poll goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_perception.core.errors import ModelError, NoRoomError, RegistryError, StoreError
from edge_perception.fleet.delta import apply_delta
from edge_perception.fleet.documents import Delta, Pieces, ReleaseDocument
from edge_perception.fleet.membership import Device
from edge_perception.fleet.pieces import PieceFolder
from edge_perception.fleet.places import Place
from edge_perception.fleet.plan import Plan, Planner
from edge_perception.fleet.trusted import TrustedRegistry
from edge_perception.releases.archive import pack
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.shelf import Release
from edge_perception.releases.signing import Trust
from edge_perception.releases.store import ReleaseStore

FOLDER = "fleet"  # in that of the store


class Sync:
    """One robot and its registry."""

    def __init__(
        self,
        *,
        device: Device,
        store: ReleaseStore,
        trust: Trust,
        place: Place,
        root: bytes,
        team: str,
        channel: str,
        keep_free_bytes: int = 0,
        paced: Callable[[int], None] = lambda _: None,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> None:
        """Prepare the folder of the robot; nothing is asked yet.

        Args:
            device: who it is.
            store: which takes releases in.
            trust: keys of releases.
            place: the registry.
            root: its first root.
            team: whose releases.
            channel: which of them.
            keep_free_bytes: that must be left on the disk.
            paced: called with the bytes of each piece; may wait, or raise LinkError to stop.
            free_bytes: of the disk of a path, for tests.
        """
        self._store, self._trust, self._place = store, trust, place
        self._planner = Planner(device, store, team=team, channel=channel)
        self._keep_free, self._paced = keep_free_bytes, paced
        self._free_bytes = free_bytes or _free_bytes
        self._disk = StoreDisk(root=store.root / FOLDER, files=store.disk.files)
        self._disk.make_folders(("trusted", "pieces", "work"))

        def below(name: str) -> StoreDisk:
            return StoreDisk(root=self._disk.root / name, files=self._disk.files)

        self.trusted = TrustedRegistry(below("trusted"), place, root)
        self._pieces = PieceFolder(below("pieces"))
        self._offers: tuple[ReleaseDocument, ...] = ()  # of the newest plan

    # -- deciding --

    def poll(self, now_ns: int) -> Plan:
        """Ask the registry, and say what is to be done.

        Raises:
            ClockNotSetError: the clock cannot tell what has expired.
            LinkError: it cannot be reached.
            RegistryError: it says what it must not; nothing of it is believed.
        """
        news = self.trusted.refresh(now_ns, self._planner.follow)
        try:
            return self.plan()
        except RegistryError:
            if news:
                raise
        # Without news something is missing: this robot changed, its class or channel.
        self.trusted.refresh(now_ns, self._planner.follow, again=True)
        return self.plan()

    def plan(self) -> Plan:
        """Say what is to be done by what is believed, without the network."""
        plan = self._planner.plan(self.trusted.read)
        self._offers = plan.offers
        return plan

    # -- fetching --

    def fetch(self, document: ReleaseDocument, now_ns: int) -> Release:
        """Bring a release into the store, by a delta where that is less.

        Raises:
            LinkError: the link broke; what came stays.
            NoRoomError: the disk is too full.
            ModelError: the store refuses it.
            RegistryError: it is not what its document says.
        """
        if self._store.shelf.has(document.manifest_sha256):
            self._clear()  # it may have ended before
            return self._store.release(document.manifest_sha256)
        work = self._disk.root / "work"
        archive = work / f"{document.manifest_sha256}.bundle"
        delta = self._delta(document)
        made = delta is not None
        if delta is not None:
            try:
                self._patch(document, delta, archive)
            except (RegistryError, ModelError):
                made = False  # the whole one is always right
        if not made:
            self._check_room(document.archive, document.archive.size)
            self._pieces.fetch(document.archive, self._place, self._paced)
            self._pieces.assemble(document.archive, archive)
        release = self._store.install(
            archive, self._trust, now_ns=now_ns, max_bytes=document.archive.size
        )
        if release.sha256 != document.manifest_sha256:
            raise RegistryError(
                f"{document.name} {document.version}: expected manifest "
                f"{document.manifest_sha256[:12]}, got {release.sha256[:12]}"
            )
        self._clear()
        return self._store.release(document.manifest_sha256)

    def _delta(self, document: ReleaseDocument) -> Delta | None:
        """Return the smallest delta that fits; None: the whole archive is less to fetch."""
        known = [d for d in document.deltas if self._store.shelf.has(d.base)]
        whole = self._pieces.missing_bytes(document.archive)
        best = min(known, key=lambda d: self._pieces.missing_bytes(d.patch), default=None)
        return best if best is not None and self._pieces.missing_bytes(best.patch) < whole else None

    def _patch(self, document: ReleaseDocument, delta: Delta, archive: Path) -> None:
        """Make the archive of that of an older release, which is checked before a byte is asked."""
        work = self._disk.root / "work"
        base, patch = work / "base.bundle", work / "patch"
        with self._disk.writing():
            pack(self._store.shelf.bundle(delta.base), base)
            if base.stat().st_size != delta.base_size:
                raise RegistryError(f"delta: the base {delta.base[:12]} is packed otherwise here")
            _check_sha256(base, delta.base_sha256)
            self._check_room(delta.patch, document.archive.size)
            self._pieces.fetch(delta.patch, self._place, self._paced)
            self._pieces.assemble(delta.patch, patch)
            apply_delta(
                base,
                patch,
                archive,
                base_sha256=delta.base_sha256,
                sha256=document.archive.sha256,
                size=document.archive.size,
            )

    def _check_room(self, pieces: Pieces, unpacked_bytes: int) -> None:
        """Pieces, archive and what the store makes of it lie on the disk for a moment."""
        wanted = self._pieces.missing_bytes(pieces) + 2 * unpacked_bytes + self._keep_free
        free = self._free_bytes(self._disk.root)
        if free < wanted:
            raise NoRoomError(f"disk: expected {wanted} bytes free, got {free}")

    def _clear(self) -> None:
        """Remove what a release was made of; what other offers have of their download stays."""
        others = [d for d in self._offers if not self._store.shelf.has(d.manifest_sha256)]
        wanted = {
            piece
            for other in others
            for pieces in (other.archive, *(delta.patch for delta in other.deltas))
            for piece in pieces.pieces
        }
        with self._disk.writing():
            self._pieces.sweep(frozenset(wanted))
            for path in (self._disk.root / "work").iterdir():
                self._disk.files.remove(path)


def _check_sha256(path: Path, sha256: str) -> None:
    from edge_perception.models.manifest import file_entry

    got = file_entry(path).sha256
    if got != sha256:
        raise RegistryError(f"delta: expected a base with sha256 {sha256}, got {got}")


def _free_bytes(path: Path) -> int:
    import shutil

    try:
        return shutil.disk_usage(path).free
    except OSError as error:
        raise StoreError(f"{path}: {error}") from error
