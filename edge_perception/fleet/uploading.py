"""Mined samples to a storage: in pieces, resumed after any end, each recording once.

A sample is in the storage when its document is; that is written after all pieces. What a break
left there is found by its hashes and not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.fleet.documents import encode
from edge_perception.fleet.pieces import PIECE_BYTES, publish
from edge_perception.fleet.places import Below, StoredPlace
from edge_perception.fleet.sample_document import (
    PARAMETERS,
    RECORDING,
    SampleDocument,
    SampleFile,
    check_device,
    robot_folder,
)
from edge_perception.fleet.sample_ledger import SampleLedger

_CHUNK = 1 << 20


class Uploader:
    """One thread's. Files that are being written have other names (`.partial`)."""

    def __init__(
        self,
        device: str,
        folder: Path,
        place: StoredPlace,
        ledger: SampleLedger,
        *,
        most_day_bytes: int = 0,
        paced: Callable[[int], None] = lambda _: None,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            device: name of the robot.
            folder: where `record` writes.
            place: the storage.
            ledger: what was uploaded before.
            most_day_bytes: sent in a day (UTC); 0: as much as there is.
            paced: called with the bytes of each piece before it goes; may wait, or raise LinkError.
            piece_bytes: how much a break of the link costs.

        Raises:
            FleetError: the robot's name cannot be a folder.
        """
        check_device(device)
        self._device, self._folder, self._ledger = device, folder, ledger
        self._place = Below(place, robot_folder(device))
        self._most, self._paced, self._piece_bytes = most_day_bytes, paced, piece_bytes

    def waiting(self) -> list[Path]:
        """Return the recordings that are not in the storage yet, the oldest first."""
        found = []
        for path in self._folder.glob(f"*{RECORDING}"):
            try:
                if not self._ledger.done(path):
                    found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue  # `record` keeps to its quota meanwhile
        return [path for _, path in sorted(found)]

    def upload(self, path: Path, now_ns: int) -> SampleDocument | None:
        """Bring a recording into the storage; None: it was there, or `record` removed it.

        Raises:
            LinkError: the link broke, or the day's bytes are spent; what came stays.
            FleetError: this robot's disk fails.
        """
        try:
            sha256 = _sha256(path)
            there = self._ledger.has(sha256) or self._place.has(f"{sha256}.json")
            document = None if there else self._sent(path, sha256, now_ns)
            size = path.stat().st_size if document is None else document.size
            self._ledger.uploaded(path, sha256, {"name": path.name, "bytes": size})
            return document
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FleetError(f"{path}: {error}") from error

    def _sent(self, path: Path, sha256: str, now_ns: int) -> SampleDocument:
        beside = path.with_name(path.name.removesuffix(RECORDING) + PARAMETERS)
        files = [path, *([beside] if beside.is_file() else [])]
        document = SampleDocument(
            device=self._device,
            uploaded_ns=now_ns,
            files=tuple(
                SampleFile(
                    name=file.name,
                    data=publish(file, _Metered(self, now_ns), self._piece_bytes),
                )
                for file in files
            ),
        )
        if document.sha256 != sha256:
            raise LinkError(f"{path.name}: changed while it was sent")  # again, as what it is now
        data = encode(document)
        self._meter(len(data), now_ns)
        self._place.write(f"{sha256}.json", data)
        return document

    def _meter(self, count: int, now_ns: int) -> None:
        self._paced(count)
        if not self._ledger.spend(count, now_ns, self._most):
            raise LinkError(f"samples: the {self._most} bytes of this day (UTC) are spent")


class _Metered:
    """The storage, as pieces see it: what is sent is counted before it goes."""

    def __init__(self, uploader: Uploader, now_ns: int) -> None:
        self._uploader, self._now_ns = uploader, now_ns

    def has(self, path: str) -> bool:
        return self._uploader._place.has(path)

    def write(self, path: str, data: bytes) -> None:
        self._uploader._meter(len(data), self._now_ns)
        self._uploader._place.write(path, data)


def _sha256(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            whole.update(block)
    return whole.hexdigest()
