"""Mined samples from a storage to a folder: each once, in pieces, checked, with where it is from.

```
FOLDER/ROBOT/event_….mcap, event_….params.yaml   as the robot had them
FOLDER/ROBOT/event_….sample.json                 robot, hashes, storage: written last
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.core.json_file import read_json_object
from edge_perception.fleet.documents import parse
from edge_perception.fleet.pieces import PieceFolder, piece_path
from edge_perception.fleet.places import Below, StoredPlace, read
from edge_perception.fleet.sample_document import (
    MOST_DOCUMENT_BYTES,
    RECORDING,
    SAMPLES,
    SampleDocument,
    parts_of_path,
    robot_folder,
)
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.filesystem import FileSystem

ORIGIN = ".sample.json"
TAKEN = ".taken"  # in the storage: pieces of this sample are there no more
_PIECES = ".pieces"


@dataclass(kw_only=True)
class Collected:
    """What a collection brought."""

    new: list[Path] = field(default_factory=list)  # recordings
    known: int = 0
    elsewhere: int = 0  # taken out of the storage by another collection
    refused: list[str] = field(default_factory=list)


def origin_path(recording: Path) -> Path:
    """Return where it is written down where a recording is from."""
    return recording.with_name(recording.name.removesuffix(RECORDING) + ORIGIN)


class Collector:
    """Takes what a storage has and a folder has not."""

    def __init__(
        self,
        place: StoredPlace,
        folder: Path,
        *,
        url: str,
        remove: bool = False,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Prepare the folder.

        Args:
            place: the storage.
            folder: for the samples; made where it is missing.
            url: of the storage, to be written down.
            remove: recordings from the storage, once they are durably here; their documents stay,
                so that no robot sends them again.
            free_bytes: of the disk of a path, for tests.

        Raises:
            FleetError: the folder cannot be written.
        """
        self._place, self._folder, self._url = place, folder, url
        self._remove, self._free = remove, free_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FleetError(f"{folder}: {error}") from error
        disk = StoreDisk(root=folder, files=FileSystem())
        disk.make_folders((_PIECES,))
        self._disk = disk
        self._pieces = PieceFolder(StoreDisk(root=folder / _PIECES, files=disk.files))

    def collect(self) -> Collected:
        """Fetch all that is new.

        Raises:
            LinkError: the link broke, or the disk is full; what came stays, the next call goes on.
        """
        found = Collected()
        for path in self._place.names(SAMPLES):
            parts = parts_of_path(path)
            if parts is None:
                continue
            try:
                self._take(path, *parts, found)
            except LinkError:
                raise
            except FleetError as error:  # one of many: what a robot wrote is its own matter
                found.refused.append(f"{path}: {error}")
        return found

    def _take(self, path: str, device: str, sha256: str, found: Collected) -> None:
        document = parse(SampleDocument, read(self._place, path, MOST_DOCUMENT_BYTES), path)
        taken = path.removesuffix(".json") + TAKEN
        if (document.device, document.sha256) != (device, sha256):
            raise FleetError(f"is of {document.device} and {document.sha256[:12]}")
        target = self._target(document)
        if origin_path(target).is_file():
            found.known += 1
        elif self._place.has(taken):
            found.elsewhere += 1
            return
        else:
            self._fetch(document, target)
            found.new.append(target)
        if self._remove and not self._place.has(taken):
            self._clear(document, taken)

    def _target(self, document: SampleDocument) -> Path:
        """Return the path of the recording here; another of the same name is left alone."""
        name = document.files[0].name
        target = self._folder / document.device / name
        origin = origin_path(target)
        if origin.exists() and read_json_object(origin).get("sha256") != document.sha256:
            stem = name.removesuffix(RECORDING)
            return target.with_name(f"{stem}_{document.sha256[:8]}{RECORDING}")
        return target

    def _fetch(self, document: SampleDocument, target: Path) -> None:
        free = self._free(self._folder)
        if free < 2 * document.size:
            raise LinkError(f"{self._folder}: expected {2 * document.size} bytes free, got {free}")
        self._disk.make_folders((document.device,))
        place = Below(self._place, robot_folder(document.device))
        # The recording last: it is complete when its origin is there.
        for file, path in reversed(
            list(zip(document.files, self._paths(document, target), strict=True))
        ):
            self._pieces.fetch(file.data, place, lambda _: None)
            partial = path.with_name(f".{path.name}.new")
            self._pieces.assemble(file.data, partial)
            with self._disk.writing():
                self._disk.files.sync(partial)
                self._disk.files.rename(partial, path)
        with self._disk.writing():
            self._disk.files.sync_folder(target.parent)
            self._disk.replace(
                origin_path(target), json.dumps(self._origin(document), indent=1).encode()
            )
        self._pieces.sweep()

    @staticmethod
    def _paths(document: SampleDocument, target: Path) -> Iterator[Path]:
        stem = document.files[0].name.removesuffix(RECORDING)
        ours = target.name.removesuffix(RECORDING)
        for file in document.files:
            yield target.with_name(file.name.replace(stem, ours, 1))

    def _origin(self, document: SampleDocument) -> dict[str, Any]:
        return {
            "robot": document.device,
            "sha256": document.sha256,
            "uploaded_ns": document.uploaded_ns,
            "storage": self._url,
            "files": {file.name: file.data.sha256 for file in document.files},
        }

    def _clear(self, document: SampleDocument, taken: str) -> None:
        """Take a recording out of the storage. Parameters are shared by many, and small."""
        place = Below(self._place, robot_folder(document.device))
        self._place.write(taken, b"{}")
        for sha256 in document.files[0].data.pieces:
            place.remove(piece_path(sha256))
