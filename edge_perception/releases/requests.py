"""Whose requests a node takes: tokens that the manager signs, each for one request to one node.

The manager makes its key beside its store: `manager.key`, which only its user reads, and
`manager.pub`. Who is on the network can call the services of a node, and cannot sign.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_perception.core.errors import SignatureError
from edge_perception.releases.canonical import canonical_json
from edge_perception.releases.signing import generate_key, public_text, read_key, write_key

KEY_NAME, PUBLIC_NAME = "manager.key", "manager.pub"
_TYPE = "edge_perception request"
# Longer than any request is under way, and more than synchronised clocks of two machines differ.
_VALID_NS = 30_000_000_000
_USED = 4096  # tokens remembered, more than a manager signs in that time


class RequestSigner:
    """Signs what the manager asks of nodes."""

    def __init__(self, key: Ed25519PrivateKey, now_ns: Callable[[], int]) -> None:
        """Sign with a key; `now_ns` is the system clock, which `/clock` does not move."""
        self._key, self._now_ns = key, now_ns
        self._last_ns = 0

    def token(self, service: str, request: Mapping[str, object]) -> str:
        """Return the token of one request, which no other request has.

        Args:
            service: fully qualified name.
            request: all its fields but the token.
        """
        self._last_ns = max(self._now_ns(), self._last_ns + 1)
        signature = self._key.sign(_payload(service, request, self._last_ns))
        return f"{self._last_ns}.{base64.b64encode(signature).decode('ascii')}"


class RequestGate:
    """Checks tokens in a node; each is good once."""

    def __init__(self, steady_ns: Callable[[], int]) -> None:
        """Know of no token yet; `steady_ns` is the steady clock."""
        self._steady_ns, self._since_ns = steady_ns, steady_ns()
        self._used: deque[int] = deque(maxlen=_USED)

    def check(
        self,
        public: str,
        service: str,
        request: Mapping[str, object],
        token: str,
        *,
        now_ns: int,
    ) -> None:
        """Refuse a request that the manager did not sign, or not now, or that came before.

        Raises:
            SignatureError: why.
        """
        if not token:
            raise SignatureError(
                f"{service}: expected a token that the model manager signed, got none"
            )
        issued_text, _, signature = token.partition(".")
        try:
            issued_ns = int(issued_text)
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
            key.verify(
                base64.b64decode(signature, validate=True), _payload(service, request, issued_ns)
            )
        except (InvalidSignature, ValueError, binascii.Error) as error:
            raise SignatureError(
                f"{service}: the token is not one that this machine's model manager signed for "
                "this request"
            ) from error
        if abs(now_ns - issued_ns) > _VALID_NS:
            raise SignatureError(
                f"{service}: the token was signed {(now_ns - issued_ns) / 1e9:.1f} s ago, expected "
                f"at most {_VALID_NS / 1e9:g} s; are the clocks of the machines synchronised?"
            )
        if now_ns - issued_ns > self._steady_ns() - self._since_ns:
            # Whether it was used is not known any more: a node that ended forgets.
            raise SignatureError(f"{service}: the token was signed before this node started")
        if issued_ns in self._used:
            raise SignatureError(f"{service}: the token was used before")
        self._used.append(issued_ns)


def open_signer(root: Path, now_ns: Callable[[], int]) -> RequestSigner:
    """Return the signer of the manager of a store; its key is made the first time.

    Raises:
        SignatureError: the key cannot be made or read.
    """
    path = root / KEY_NAME
    if not path.exists():
        temporary = root / f".{KEY_NAME}.new"  # a crash must not leave half a key
        temporary.unlink(missing_ok=True)
        write_key(temporary, generate_key())
        os.replace(temporary, path)
    key = read_key(path)
    public = root / PUBLIC_NAME
    text = public_text(key)
    try:
        if not public.exists() or public.read_text(encoding="ascii").strip() != text:
            temporary = root / f".{PUBLIC_NAME}.new"
            temporary.write_text(text + "\n", encoding="ascii")
            os.replace(temporary, public)
    except (OSError, ValueError) as error:
        raise SignatureError(f"{public}: cannot be written: {error}") from error
    return RequestSigner(key, now_ns)


def read_public(path: Path) -> str:
    """Return the public key of a manager.

    Raises:
        SignatureError: there is none.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise SignatureError(
            f"{path}: expected the public key of the model manager, whose requests alone are "
            f"answered: {error}"
        ) from error


def _payload(service: str, request: Mapping[str, object], issued_ns: int) -> bytes:
    """Return what is signed."""
    fields = {name: _plain(value) for name, value in request.items()}
    return canonical_json(
        {"type": _TYPE, "service": service, "issued_ns": issued_ns, "request": fields}
    )


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, float) else value
