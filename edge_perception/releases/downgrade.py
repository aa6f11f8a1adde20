"""Going back to an older release than one that served: only by a statement that is signed.

The statement names the floor that it lowers, so that it cannot be used again after a newer release
has served, and a store takes each one once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_perception.core.errors import SignatureError
from edge_perception.core.parameter import parameter
from edge_perception.releases.canonical import canonical_json
from edge_perception.releases.signing import (
    Signature,
    Trust,
    add_signatures,
    check_expiry,
    check_signers,
    read_signed,
)
from edge_perception.releases.store import ReleaseStore

_TYPE = "edge_perception downgrade"


@dataclass(frozen=True, kw_only=True)
class Downgrade:
    """What is allowed."""

    type: str = parameter(choices=(_TYPE,))
    name: str  # of the bundle
    from_release: int = parameter(low=1, high=2**31)  # highest that served, where it is used
    to_release: int = parameter(low=1, high=2**31)  # lowest that may serve again
    expires: str  # ISO 8601 UTC; empty: never
    reason: str


@dataclass(frozen=True, kw_only=True)
class SignedDowngrade:
    """Content of a file of `models downgrade`."""

    signed: Downgrade
    signatures: tuple[Signature, ...]


def make_downgrade(
    name: str,
    *,
    from_release: int,
    to_release: int,
    reason: str,
    expires: str,
    keys: Sequence[Ed25519PrivateKey],
) -> SignedDowngrade:
    """Make and sign a statement.

    Raises:
        SignatureError: it would lower nothing, or gives no reason.
    """
    if not 0 < to_release < from_release:
        raise SignatureError(
            f"{name}: expected a release below {from_release} to go down to, got {to_release}"
        )
    if not reason.strip():
        raise SignatureError(f"{name}: a downgrade needs a reason")
    signed = Downgrade(
        type=_TYPE,
        name=name,
        from_release=from_release,
        to_release=to_release,
        expires=expires,
        reason=reason,
    )
    return _with_keys(SignedDowngrade(signed=signed, signatures=()), keys)


def write_downgrade(path: Path, statement: SignedDowngrade) -> None:
    """Write a statement; a file that is there of the same statement keeps its signatures."""
    if path.exists():
        before = read_downgrade(path)
        if before.signed == statement.signed:
            known = {entry.key_id for entry in statement.signatures}
            others = tuple(entry for entry in before.signatures if entry.key_id not in known)
            statement = SignedDowngrade(
                signed=statement.signed, signatures=(*others, *statement.signatures)
            )
    path.write_text(json.dumps(asdict(statement), indent=2) + "\n", encoding="utf-8")


def read_downgrade(path: Path) -> SignedDowngrade:
    """Read a statement.

    Raises:
        SignatureError: no such file, or it is none.
    """
    statement: SignedDowngrade = read_signed(SignedDowngrade, path, f"{path.name}: downgrade")
    return statement


def apply_downgrade(
    store: ReleaseStore, statement: SignedDowngrade, trust: Trust, *, now_ns: int
) -> Downgrade:
    """Lower the floor of a name, once.

    Raises:
        SignatureError: too few trusted signatures, expired, used before, or for another floor.
        StoreError: the store cannot be changed.
    """
    signed = statement.signed
    payload = canonical_json(asdict(signed))
    what = f"downgrade of {signed.name}"
    check_signers(statement.signatures, payload, trust, what)
    check_expiry(what, signed.expires, now_ns)
    digest = hashlib.sha256(payload).hexdigest()
    with store.changing():
        if store.notes.downgraded(digest):
            raise SignatureError(f"{what}: this statement was used here before")
        floor = store.notes.floors().get(signed.name, 0)
        if floor != signed.from_release:
            raise SignatureError(
                f"{what}: it goes down from release {signed.from_release}, and here release "
                f"{floor or 'none'} is the highest that served"
            )
        store.notes.lower_floor(signed.name, signed.to_release, digest, payload)
    return signed


def _with_keys(statement: SignedDowngrade, keys: Sequence[Ed25519PrivateKey]) -> SignedDowngrade:
    payload = canonical_json(asdict(statement.signed))
    return SignedDowngrade(
        signed=statement.signed,
        signatures=add_signatures(statement.signatures, payload, keys),
    )
