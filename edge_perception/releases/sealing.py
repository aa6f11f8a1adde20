"""Sealing a release for one device, and the keys for it."""

from __future__ import annotations

import base64
import binascii
import tempfile
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_perception.core.errors import BundleError, ConfigurationError
from edge_perception.models.manifest import MANIFEST_NAME, Bundle
from edge_perception.models.sealed import seal
from edge_perception.releases.archive import pack
from edge_perception.releases.signing import SIGNATURES_NAME, write_key


def make_device_key(path: Path) -> str:
    """Write a new private key that only its owner may read; return the public one, base64.

    Raises:
        SignatureError: the file exists or cannot be written.
    """
    key = X25519PrivateKey.generate()
    write_key(path, key)
    return base64.b64encode(key.public_key().public_bytes_raw()).decode("ascii")


def read_device(text: str) -> bytes:
    """Return the public key of a device, given as base64 or as a file that holds it.

    Raises:
        ConfigurationError: it is none.
    """
    path = Path(text)
    try:
        content = path.read_text(encoding="ascii").strip() if path.is_file() else text
        public = base64.b64decode(content, validate=True)
    except (OSError, ValueError, binascii.Error) as error:
        raise ConfigurationError(f"{text}: expected a device's public key: {error}") from error
    if len(public) != 32:
        raise ConfigurationError(f"{text}: expected a public key of 32 bytes, got {len(public)}")
    return public


def pack_sealed(bundle: Bundle, device: bytes, target: Path) -> Path:
    """Write an archive whose files only one device can read; manifest and signatures stay plain.

    Raises:
        BundleError: it is sealed already, changed, or the archive cannot be written.
    """
    if bundle.sealed:
        raise BundleError(f"{bundle.manifest.name}: is sealed already")
    with tempfile.TemporaryDirectory(prefix="sealed_") as folder:
        for name in bundle.manifest.files:
            (Path(folder) / name).write_bytes(seal(bundle.read(name), device))
        for name in (MANIFEST_NAME, SIGNATURES_NAME):
            if (bundle.path / name).is_file():
                (Path(folder) / name).write_bytes((bundle.path / name).read_bytes())
        return pack(replace(bundle, path=Path(folder)), target)
