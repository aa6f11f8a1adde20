"""Whether a bundle may be loaded here: who released it, until when, and not an older one.

Asked by every node of what it is about to load, wherever it lies, and by the manager.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from edge_perception.core.errors import ConfigurationError, SignatureError, StoreError
from edge_perception.core.share import share_file
from edge_perception.models.manifest import Bundle
from edge_perception.releases.signing import (
    SIGNATURES_NAME,
    Trust,
    check_expiry,
    read_trust,
    signers_of,
)
from edge_perception.releases.store import ReleaseStore

# Keys of those who release this package: they signed the models that came with it.
PACKAGE_TRUST = "models/trust.json"


def signatures_required(trust_file: str, require_signed: str) -> bool:
    """Whether an unsigned bundle is refused.

    Args:
        trust_file: of the node; empty: none.
        require_signed: auto, true or false.

    Raises:
        ConfigurationError: signatures are asked for, and there is nothing to check them with.
    """
    if require_signed == "true" and not trust_file:
        raise ConfigurationError(
            "require_signed: expected a trust_file to check signatures with, got none"
        )
    return bool(trust_file) and require_signed != "false"


def trust_roots(trust_file: str) -> tuple[Trust, ...]:
    """Return who is trusted: the keys of the operator, then those of the package's release.

    The operator's file is read anew, so that a rotation holds at once. An installation without
    keys of its own, such as one by pip without models, has only the operator's.

    Raises:
        SignatureError: the operator's file cannot be read.
    """
    operator = read_trust(Path(trust_file).expanduser())
    package = _package_trust()
    return (operator, package) if package is not None else (operator,)


@lru_cache(maxsize=1)
def _package_trust() -> Trust | None:
    try:
        path = share_file(PACKAGE_TRUST)
    except ConfigurationError:
        return None
    return read_trust(path)


def check_release(
    bundle: Bundle,
    roots: Sequence[Trust],
    *,
    now_ns: int,
    store: ReleaseStore | None,
    required: bool = True,
) -> tuple[str, ...]:
    """Check signatures, expiry, release floor and quarantine; return the ids of the signers.

    Args:
        bundle: with its files verified.
        roots: any one of them must vouch for the bundle, with as many keys as it asks for.
        now_ns: system clock.
        store: what this machine knows of releases; None: it has no store, and so no floor.
        required: False: a bundle without signatures passes; what is signed is checked all the same.

    Raises:
        SignatureError: what is wrong, expected and got.
        StoreError: it is in quarantine, or the store cannot be read.
    """
    manifest = bundle.manifest
    if store is not None and (reason := store.notes.quarantined(bundle.sha256)):
        raise StoreError(f"{manifest.name} {manifest.version}: in quarantine: {reason}")
    if not required and not (bundle.path / SIGNATURES_NAME).is_file():
        return ()
    root, signers = _vouched(bundle, roots)
    known_here = store is not None and store.shelf.has(bundle.sha256)
    check_expiry(
        manifest.name,
        manifest.expires,
        now_ns,
        grace_days=root.signed.offline_grace_days if known_here else 0,
    )
    if store is not None:
        check_floor(bundle, store)
    return signers


def check_floor(bundle: Bundle, store: ReleaseStore) -> None:
    """Refuse a release that is older than one of its name that served, unless a slot holds it.

    Raises:
        SignatureError: it is older; only a signed statement lets it in again.
        StoreError: what served cannot be read.
    """
    if bundle.sha256 in {*store.slots.held(), *store.decided().values()}:
        return  # also where the floors cannot be read: what served goes on
    manifest = bundle.manifest
    floor = store.notes.floors().get(manifest.name, 0)
    if manifest.release >= floor:
        return
    raise SignatureError(
        f"{manifest.name}: release {manifest.release} is older than {floor}, which served before; "
        "`models downgrade` makes the signed statement that allows it"
    )


def _vouched(bundle: Bundle, roots: Sequence[Trust]) -> tuple[Trust, tuple[str, ...]]:
    """Return the first root that vouches, and its signers; else say what the first one misses."""
    refusal: SignatureError | None = None
    for root in roots:
        try:
            return root, signers_of(bundle, root)
        except SignatureError as error:
            refusal = refusal or error
    raise refusal or SignatureError(f"{bundle.manifest.name}: no trusted keys")
