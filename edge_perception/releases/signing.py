"""Who may release a model: ed25519 signatures of a statement about a bundle, and the trust in keys.

`signatures.json` lies beside the manifest. It holds a statement (which manifest, which release,
until when) and signatures over the statement's canonical JSON. A trust file names the keys that
count and how many of them are needed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_perception.core.errors import ClockNotSetError, SignatureError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.models.manifest import Bundle
from edge_perception.releases.canonical import canonical_json

SIGNATURES_NAME = "signatures.json"
_BUNDLE, _TRUST = "edge_perception bundle", "edge_perception trust"
_MAX_SIGNATURES_BYTES = 64 * 1024
# Before this nothing was signed: a machine without a battery-backed clock starts in 1970.
_EARLIEST_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a signer says of a bundle."""

    type: str = parameter(choices=(_BUNDLE,))
    name: str
    role: str
    version: str
    release: int = parameter(low=1, high=2**31)
    expires: str  # ISO 8601 UTC; empty: never
    manifest_sha256: str


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One signature; the key's id is the SHA-256 of its public key."""

    key_id: str
    signature: str  # base64


@dataclass(frozen=True, kw_only=True)
class SignedStatement:
    """Content of signatures.json."""

    signed: Statement
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, kw_only=True)
class TrustedKeys:
    """Which keys count, and how many are needed."""

    type: str = parameter(choices=(_TRUST,))
    version: int = parameter(low=1, high=2**31)
    threshold: int = parameter(low=1, high=16)
    keys: Mapping[str, str]  # public key, base64, by its id
    # How long past its expiry a release that was admitted before may be used without a network.
    offline_grace_days: int = parameter(30, low=0, high=3650)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Content of a trust file; rotation is signed by the keys that it replaces."""

    signed: TrustedKeys
    signatures: tuple[Signature, ...] = ()


def generate_key() -> Ed25519PrivateKey:
    """Make a private key."""
    return Ed25519PrivateKey.generate()


def write_key(path: Path, key: Ed25519PrivateKey | X25519PrivateKey) -> None:
    """Write a private key as PEM that only its owner may read; a file that exists stays."""
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SignatureError(f"{path}: the private key cannot be written: {error}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        SignatureError: no ed25519 key in PEM.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(f"{path}: expected a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path}: expected an ed25519 key, got {type(key).__name__}")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key, base64."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(raw).decode("ascii")


def key_id(public: str) -> str:
    """Return the id of a public key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(_unbase64(public, "public key")).hexdigest()[:16]


def make_trust(publics: Sequence[str], *, threshold: int = 1, version: int = 1) -> Trust:
    """Make the first trust of a machine."""
    keys = {key_id(public): public for public in publics}
    signed = TrustedKeys(
        type=_TRUST,
        version=version,
        threshold=threshold,
        keys=keys,
    )
    return _checked(Trust(signed=signed), "trust")


def sign_trust(trust: Trust, keys: Sequence[Ed25519PrivateKey]) -> Trust:
    """Add signatures; a rotation needs those of the old keys and of the new ones."""
    payload = canonical_json(asdict(trust.signed))
    return Trust(signed=trust.signed, signatures=add_signatures(trust.signatures, payload, keys))


def rotate(current: Trust, successor: Trust) -> Trust:
    """Return the successor where enough old and enough new keys signed it.

    Raises:
        SignatureError: too few signatures, or not the next version.
    """
    expected = current.signed.version + 1
    if successor.signed.version != expected:
        raise SignatureError(f"trust: expected version {expected}, got {successor.signed.version}")
    payload = canonical_json(asdict(successor.signed))
    for side, keys in (("old", current.signed), ("new", successor.signed)):
        _signers(successor.signatures, payload, keys, f"trust, {side} keys")
    return successor


def read_trust(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        SignatureError: it does not exist or breaks its schema.
    """
    where = f"trust file {path}: trust"
    return _checked(read_signed(Trust, path, where), where)


def write_trust(path: Path, trust: Trust) -> None:
    """Write a trust file in one step."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(asdict(trust), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def statement_of(bundle: Bundle) -> Statement:
    """Return what is to be signed of a bundle."""
    manifest = bundle.manifest
    return Statement(
        type=_BUNDLE,
        name=manifest.name,
        role=manifest.role,
        version=manifest.version,
        release=manifest.release,
        expires=manifest.expires,
        manifest_sha256=bundle.sha256,
    )


def sign_bundle(bundle: Bundle, keys: Sequence[Ed25519PrivateKey]) -> SignedStatement:
    """Sign a bundle and write its signatures.json; signatures of the same statement stay."""
    statement = statement_of(bundle)
    payload = canonical_json(asdict(statement))
    path = bundle.path / SIGNATURES_NAME
    old: tuple[Signature, ...] = ()
    if path.exists():
        before = read_signed(SignedStatement, path, "signatures")
        old = before.signatures if before.signed == statement else ()
    signed = SignedStatement(signed=statement, signatures=add_signatures(old, payload, keys))
    path.write_text(json.dumps(asdict(signed), indent=2) + "\n", encoding="utf-8")
    return signed


def verify_signatures(
    bundle: Bundle,
    trust: Trust,
    *,
    now_ns: int | None,
    known_release: int = 0,
    admitted: bool = False,
) -> tuple[str, ...]:
    """Check signatures, expiry and release counter, and return the ids of the signers.

    Args:
        bundle: with its files verified.
        trust: which keys count.
        now_ns: node clock; None: who signed it is asked, not whether it has expired.
        known_release: highest release of this name that served; an older one is a replay.
        admitted: the release was accepted earlier, so the offline grace period holds for it.

    Raises:
        SignatureError: what is wrong, expected and got.
    """
    manifest = bundle.manifest
    signers = signers_of(bundle, trust)
    grace_days = trust.signed.offline_grace_days if admitted else 0
    if now_ns is not None:
        check_expiry(manifest.name, manifest.expires, now_ns, grace_days=grace_days)
    if manifest.release < known_release:
        raise SignatureError(
            f"{manifest.name}: release {manifest.release} is older than {known_release}, which "
            "served before; `models downgrade` makes the signed statement that allows it"
        )
    return signers


def signers_of(bundle: Bundle, trust: Trust) -> tuple[str, ...]:
    """Check who signed a bundle, and return their ids; its age is not asked for.

    Raises:
        SignatureError: unsigned, signed for another bundle, or by too few trusted keys.
    """
    name = bundle.manifest.name
    path = bundle.path / SIGNATURES_NAME
    if not path.is_file():
        raise SignatureError(f"{name}: expected {SIGNATURES_NAME}, got an unsigned bundle")
    signed = read_signed(SignedStatement, path, f"{name}: signatures")
    for item, value in asdict(statement_of(bundle)).items():
        got = getattr(signed.signed, item)
        if got != value:
            raise SignatureError(f"{name}: signatures: {item}: the bundle has {value}, got {got}")
    payload = canonical_json(asdict(signed.signed))
    return _signers(signed.signatures, payload, trust.signed, name)


def check_expiry(name: str, expires: str, now_ns: int, *, grace_days: int = 0) -> None:
    """Raise SignatureError when `expires` has passed or the clock cannot tell."""
    if not expires:
        return
    if now_ns < _EARLIEST_NS:
        raise ClockNotSetError(
            f"{name}: expires {expires}, but the clock says {_iso(now_ns)}: it is not set"
        )
    try:
        end = datetime.fromisoformat(expires.replace("Z", "+00:00"))
    except ValueError as error:
        raise SignatureError(f"{name}: expires: expected ISO 8601, got '{expires}'") from error
    if end.tzinfo is None:
        raise SignatureError(f"{name}: expires: expected a time in UTC, got '{expires}'")
    limit_ns = round(end.timestamp() * 1e9) + grace_days * 86_400_000_000_000
    if now_ns > limit_ns:
        grace = f" and {grace_days} days of grace" if grace_days else ""
        raise SignatureError(f"{name}: expired {expires}{grace}, the clock says {_iso(now_ns)}")


def _signers(
    signatures: Sequence[Signature], payload: bytes, keys: TrustedKeys, what: str
) -> tuple[str, ...]:
    """Return the trusted keys with a valid signature; each counts once."""
    good: dict[str, None] = {}
    problems = []
    for entry in signatures:
        public = keys.keys.get(entry.key_id)
        if public is None:
            problems.append(f"key {entry.key_id} is not trusted")
            continue
        try:
            Ed25519PublicKey.from_public_bytes(_unbase64(public, "public key")).verify(
                _unbase64(entry.signature, "signature"), payload
            )
            good[entry.key_id] = None
        except InvalidSignature:
            problems.append(f"the signature of key {entry.key_id} does not fit")
    if len(good) < keys.threshold:
        detail = f" ({'; '.join(problems)})" if problems else ""
        raise SignatureError(
            f"{what}: expected {keys.threshold} trusted signatures, got {len(good)}{detail}"
        )
    return tuple(good)


def check_signers(
    signatures: Sequence[Signature], payload: bytes, trust: Trust, what: str
) -> tuple[str, ...]:
    """Return the trusted keys that signed a payload.

    Raises:
        SignatureError: fewer than the trust asks for.
    """
    return _signers(signatures, payload, trust.signed, what)


def add_signatures(
    old: Sequence[Signature], payload: bytes, keys: Sequence[Ed25519PrivateKey]
) -> tuple[Signature, ...]:
    """Return signatures with those of more keys; a key signs once."""
    merged = {entry.key_id: entry for entry in old}
    for key in keys:
        name = key_id(public_text(key))
        text = base64.b64encode(key.sign(payload)).decode("ascii")
        merged[name] = Signature(key_id=name, signature=text)
    return tuple(merged.values())


def _checked(trust: Trust, where: str) -> Trust:
    keys = trust.signed.keys
    for name, public in keys.items():
        if len(_unbase64(public, where)) != 32 or key_id(public) != name:
            raise SignatureError(f"{where}: key {name}: expected an ed25519 public key of that id")
    if trust.signed.threshold > len(keys):
        raise SignatureError(
            f"{where}: threshold {trust.signed.threshold} of only {len(keys)} keys"
        )
    return trust


def read_signed(kind: Any, path: Path, where: str) -> Any:
    """Read a dataclass with signatures from a file.

    Raises:
        SignatureError: there is none, or it breaks its schema.
    """
    try:
        if path.stat().st_size > _MAX_SIGNATURES_BYTES:
            raise SignatureError(f"{where}: expected at most {_MAX_SIGNATURES_BYTES} bytes")
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SignatureError(f"{where}: expected JSON: {error}") from error
    return decode(kind, data, where, error=SignatureError)


def _unbase64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{what}: expected base64: {error}") from error


def _iso(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
