"""Files in pieces that are named by their hashes: resumed after any break, shared, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_perception.core.errors import RegistryError
from edge_perception.fleet.documents import Pieces
from edge_perception.fleet.places import Place, read
from edge_perception.releases.disk import StoreDisk

PIECE_BYTES = 256 * 1024


class _Writable(Protocol):
    def has(self, path: str) -> bool: ...

    def write(self, path: str, data: bytes) -> None: ...


def piece_path(sha256: str) -> str:
    """Return where a piece is in a registry."""
    return f"pieces/{sha256[:2]}/{sha256}"


def publish(path: Path, place: _Writable, piece_bytes: int = PIECE_BYTES) -> Pieces:
    """Write a file in pieces; those that are there already stay."""
    whole, names, size = hashlib.sha256(), [], 0
    with path.open("rb") as file:
        while piece := file.read(piece_bytes):
            whole.update(piece)
            size += len(piece)
            names.append(hashlib.sha256(piece).hexdigest())
            if not place.has(piece_path(names[-1])):
                place.write(piece_path(names[-1]), piece)
    return Pieces(sha256=whole.hexdigest(), size=size, piece_bytes=piece_bytes, pieces=tuple(names))


class PieceFolder:
    """The pieces that a robot has, each whole and durable or not there."""

    def __init__(self, disk: StoreDisk) -> None:
        self._disk = disk

    def has(self, sha256: str) -> bool:
        """Whether a piece is here."""
        return (self._disk.root / sha256).is_file()

    def missing_bytes(self, pieces: Pieces) -> int:
        """Return how much of a file is not here."""
        return sum(
            pieces.size_of(number)
            for number, sha256 in enumerate(pieces.pieces)
            if not self.has(sha256)
        )

    def fetch(self, pieces: Pieces, place: Place, paced: Callable[[int], None]) -> None:
        """Fetch what is not here.

        Args:
            pieces: of a file.
            place: the registry.
            paced: called with the bytes of each piece that was fetched; may wait, or raise.

        Raises:
            LinkError: the link broke; what came stays.
            RegistryError: a piece is not what its hash says.
        """
        for number, sha256 in enumerate(pieces.pieces):
            if self.has(sha256):
                continue
            try:
                data = read(place, piece_path(sha256), pieces.size_of(number))
            except FileNotFoundError as error:
                raise RegistryError(f"piece {sha256[:12]}: not in the registry") from error
            if hashlib.sha256(data).hexdigest() != sha256:
                raise RegistryError(f"piece {sha256[:12]}: damaged on its way or in the registry")
            with self._disk.writing():
                self._disk.replace(self._disk.root / sha256, data)
            paced(len(data))

    def assemble(self, pieces: Pieces, target: Path) -> None:
        """Write the file that the pieces make; what the disk changed meanwhile goes.

        Raises:
            RegistryError: they do not make it; the next fetch brings what was damaged.
        """
        whole = hashlib.sha256()
        with self._disk.writing(), target.open("wb") as file:
            for sha256 in pieces.pieces:
                path = self._disk.root / sha256
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() != sha256:
                    self._disk.files.remove(path)
                    raise RegistryError(f"piece {sha256[:12]}: damaged on this disk")
                whole.update(data)
                file.write(data)
        if whole.hexdigest() != pieces.sha256:
            target.unlink(missing_ok=True)
            raise RegistryError(
                f"archive: expected sha256 {pieces.sha256}, got {whole.hexdigest()}"
            )

    def sweep(self, keep: frozenset[str] = frozenset()) -> None:
        """Remove all pieces but those named, and what a dead process left half done."""
        for path in self._disk.root.iterdir():
            if path.name not in keep:
                self._disk.files.remove(path)
