"""A release key of a bench, and the trust file that names it."""

from __future__ import annotations

from pathlib import Path

from edge_perception.models.manifest import Bundle
from edge_perception.releases.archive import pack
from edge_perception.releases.signing import (
    generate_key,
    make_trust,
    public_text,
    sign_bundle,
    write_trust,
)


class Signer:
    """Signs bundles for nodes that run with `trust.json` of its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, generate_key()
        self.trust = make_trust([public_text(self._key)])
        write_trust(folder / "trust.json", self.trust)

    def archive(self, bundle: Bundle) -> Path:
        """Sign a bundle and pack it."""
        sign_bundle(bundle, [self._key])
        return pack(bundle, self._folder / f"{bundle.sha256}.bundle")
