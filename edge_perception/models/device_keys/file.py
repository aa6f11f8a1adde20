"""A device key in a file: PEM, PKCS#8, readable by its owner only."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge_perception.core.errors import BundleError, ConfigurationError
from edge_perception.models.device_keys import KeyProvider


class FileKey:
    """An X25519 key in this process's memory."""

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        """Return the shared secret with another public key."""
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # a point of low order
            raise BundleError(f"sealed with a key that is none: {error}") from error


def open_key(what: str) -> FileKey:
    """Read a key.

    Raises:
        ConfigurationError: no X25519 key in PEM, or others may read it.
    """
    path = Path(what).expanduser()
    try:
        others = path.stat().st_mode & 0o077
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"device_key: {path}: expected a key in PEM: {error}") from error
    if others:
        raise ConfigurationError(
            f"device_key: {path}: expected a file for its owner only (chmod 600), others may use it"
        )
    if not isinstance(key, X25519PrivateKey):
        raise ConfigurationError(
            f"device_key: {path}: expected an X25519 key, got {type(key).__name__}"
        )
    return FileKey(key)


SPEC = KeyProvider(name="file", open=open_key)
