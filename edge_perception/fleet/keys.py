"""The private keys of a registry: a folder of PEM files named by what they sign.

`root-1.pem`, `root-2.pem`, `targets.pem`, `snapshot.pem`, `timestamp.pem`, `TEAM.pem`. Whoever
publishes needs those of the team, snapshot and timestamp; those of root stay offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_perception.core.errors import RegistryError
from edge_perception.core.extras import extra
from edge_perception.releases.signing import generate_key, read_key, write_key


class KeyFolder:
    """Reads and makes the keys of roles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def signers(self, role: str) -> list[Any]:
        """Return the signers of a role that are here.

        Raises:
            RegistryError: there is none.
        """
        with extra("fleet"):
            from securesystemslib.signer import CryptoSigner
        paths = self.paths(role)
        if not paths:
            raise RegistryError(f"{self.folder}: expected a key {role}.pem or {role}-1.pem")
        return [CryptoSigner(read_key(path)) for path in paths]

    def paths(self, role: str) -> list[Path]:
        """Return the files of a role's keys."""
        whole = self.folder / f"{role}.pem"
        return sorted(
            ([whole] if whole.is_file() else []) + list(self.folder.glob(f"{role}-*.pem"))
        )

    def make(self, role: str, count: int = 1) -> list[Any]:
        """Make keys of a role beside those that are here; return their signers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with extra("fleet"):
            from securesystemslib.signer import CryptoSigner
        made: list[Any] = []
        number = 0
        while len(made) < count:
            number += 1
            path = self.folder / f"{role}-{number}.pem"
            if path.exists():
                continue
            key = generate_key()
            write_key(path, key)
            made.append(CryptoSigner(key))
        return made
