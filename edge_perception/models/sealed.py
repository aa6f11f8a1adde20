"""Files of bundles that only one device can read: X25519, HKDF-SHA256, ChaCha20-Poly1305.

The way of age (https://age-encryption.org/v1): an ephemeral key agrees with the device's on a key
that wraps the key of the file; the content follows in chunks of 64 KiB, each with its number and
whether it is the last one in its nonce, so that none can be cut off, moved or left out.

```
edge_perception sealed 1, line feed
32 bytes   public key of the device: which key opens it
32 bytes   ephemeral public key
48 bytes   key of the file, wrapped
chunks     64 KiB + 16 each, the last one shorter
```

A manifest says hash and size of what is inside, so signing is the same with and without. It is
opened into memory and nowhere else.
"""

from __future__ import annotations

import hmac
import os
from typing import Protocol

from edge_perception.core.errors import BundleError, DeviceKeyError

MAGIC = b"edge_perception sealed 1\n"
_KEY = 32
_TAG = 16
_CHUNK = 64 * 1024
_HEADER = len(MAGIC) + _KEY + _KEY + _KEY + _TAG
_WRAP, _PAYLOAD = b"edge_perception sealed 1 wrap", b"edge_perception sealed 1 payload"


class DeviceKey(Protocol):
    """The private key of a device. It may lie in hardware and never leave it."""

    @property
    def public(self) -> bytes:
        """The X25519 public key, 32 bytes."""
        ...

    def exchange(self, public: bytes) -> bytes:
        """Return the shared secret with another public key, 32 bytes (RFC 7748).

        Raises:
            BundleError: the key cannot be used.
        """
        ...


def is_sealed(data: bytes) -> bool:
    """Whether a file is sealed; its first bytes tell."""
    return data.startswith(MAGIC)


def sealed_size(size: int) -> int:
    """Return the size of a sealed file by the size of what is inside."""
    chunks = max(-(-size // _CHUNK), 1)
    return _HEADER + size + chunks * _TAG


def seal(data: bytes, device: bytes) -> bytes:
    """Seal a file for the device with this public key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ephemeral = X25519PrivateKey.generate()
    own = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(device))
    file_key = os.urandom(_KEY)
    wrapped = ChaCha20Poly1305(_derived(shared, own + device, _WRAP)).encrypt(
        bytes(12), file_key, MAGIC
    )
    header = MAGIC + device + own + wrapped
    cipher = ChaCha20Poly1305(_derived(file_key, own, _PAYLOAD))
    parts = [header]
    for number, begin in enumerate(_begins(len(data))):
        last = begin + _CHUNK >= len(data)
        parts.append(cipher.encrypt(_nonce(number, last), data[begin : begin + _CHUNK], header))
    return b"".join(parts)


def unseal(name: str, data: bytes, key: DeviceKey) -> bytes:
    """Open a sealed file.

    Args:
        name: of the file, for messages.
        data: the whole file.
        key: of this device.

    Raises:
        DeviceKeyError: it is for another device.
        BundleError: it is damaged or cut off.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if len(data) < _HEADER + _TAG or not is_sealed(data):
        raise BundleError(f"{name}: expected a sealed file, got {len(data)} bytes of another kind")
    header = data[:_HEADER]
    device, own = (header[len(MAGIC) + i * _KEY :][:_KEY] for i in range(2))
    if not hmac.compare_digest(device, key.public):
        raise DeviceKeyError(
            f"{name}: sealed for the device {device_id(device)}, this one is "
            f"{device_id(key.public)}"
        )
    try:
        wrapping = ChaCha20Poly1305(_derived(key.exchange(own), own + device, _WRAP))
        file_key = wrapping.decrypt(bytes(12), header[-(_KEY + _TAG) :], MAGIC)
        cipher = ChaCha20Poly1305(_derived(file_key, own, _PAYLOAD))
        body = memoryview(data)[_HEADER:]
        whole = _CHUNK + _TAG
        parts = []
        for number, begin in enumerate(range(0, len(body), whole)):
            last = begin + whole >= len(body)
            chunk = body[begin : begin + whole]
            parts.append(cipher.decrypt(_nonce(number, last), chunk, header))
    except InvalidTag as error:
        raise BundleError(f"{name}: sealed, and damaged or cut off") from error
    return b"".join(parts)


def device_id(public: bytes) -> str:
    """Return the short name of a device's public key, for people."""
    return public.hex()[:16]


def _begins(size: int) -> range:
    return range(0, max(size, 1), _CHUNK)


def _nonce(number: int, last: bool) -> bytes:
    """Return 11 bytes of the chunk's number and one that says whether it is the last."""
    return number.to_bytes(11, "big") + bytes([last])


def _derived(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=_KEY, salt=salt, info=purpose).derive(secret)
