"""Which set of releases serves, served before, and came first: one line each, one rename."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge_perception.core.errors import StoreError
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.filesystem import FileLock

SLOTS = ("current", "previous", "factory")
FOLDERS = ("sets",)
_LOCK_WAIT_S = 10.0  # a few files are removed meanwhile
# Release digest by role: a source's name, or fusion.
ModelSet = Mapping[str, str]


class Slots:
    """The slots of a store. A set is a file named by its content, so it is never half changed."""

    def __init__(self, disk: StoreDisk) -> None:
        self._disk, self._root = disk, disk.root

    def get(self, slot: str) -> ModelSet:
        """Return the set of a slot; empty: it is not set.

        Raises:
            StoreError: no such slot, or it names a set that cannot be read.
        """
        if slot not in SLOTS:
            raise StoreError(f"slot: expected one of {', '.join(SLOTS)}, got '{slot}'")
        name = self._name(slot)
        try:
            return self._read(name) if name else {}
        except StoreError:
            now = self._name(slot)
            if now == name:
                raise
            return self._read(now) if now else {}  # changed, and the old set swept, meanwhile

    def point(self, **sets: ModelSet) -> None:
        """Point slots to sets; each by one rename, in the order given.

        Raises:
            StoreError: the disk fails.
        """
        with self._alone():
            for slot, models in sets.items():
                name = self._write(models)
                self._disk.replace(self._root / slot, name.encode("ascii"))

    def held(self) -> set[str]:
        """Return the digests of all releases that a slot names."""
        return {sha256 for slot in SLOTS for sha256 in self.get(slot).values()}

    def sweep(self, also: Iterable[ModelSet] = ()) -> None:
        """Remove the sets that no slot names, but those of `also`."""
        with self._alone():
            used = {self._name(slot) for slot in SLOTS} | {_named(models)[0] for models in also}
            for path in (self._root / "sets").glob("*.json"):
                if path.stem not in used:
                    self._disk.files.remove(path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep sweeping from a set that is being pointed to: for moments, in any process.

        Not the lock of the store's content: a change back does not wait until room is made.
        """
        lock = FileLock(self._root / "slots.lock")
        with self._disk.writing():
            if not lock.acquire(wait_s=_LOCK_WAIT_S):
                raise StoreError(f"{self._root}: process {lock.holder()} is changing the slots")
            try:
                yield
            finally:
                lock.release()

    def _name(self, slot: str) -> str:
        path = self._root / slot
        return path.read_text(encoding="ascii").strip() if path.exists() else ""

    def _write(self, models: ModelSet) -> str:
        name, text = _named(models)
        path = self._root / "sets" / f"{name}.json"
        if not path.exists():
            self._disk.replace(path, text)
        return name

    def _read(self, name: str) -> ModelSet:
        path = self._root / "sets" / f"{Path(name).name}.json"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{self._root}: set {name[:12]}: {error}") from error
        if hashlib.sha256(text).hexdigest() != name:
            raise StoreError(f"{self._root}: set {name[:12]} was changed")
        return {str(role): str(sha256) for role, sha256 in json.loads(text).items()}


def _named(models: ModelSet) -> tuple[str, bytes]:
    text = json.dumps(dict(models), sort_keys=True).encode("utf-8")
    return hashlib.sha256(text).hexdigest(), text
