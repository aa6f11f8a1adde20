"""`edge-perception models` for those who release: keygen, pack, sign, trust, install."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.version import version_key

DEFAULT_STORE = Path("~/.local/share/edge_perception/store")


def add_release_actions(actions: Any) -> None:
    """Declare the actions."""
    keygen = actions.add_parser("keygen", help="make a signing key and a trust file")
    keygen.add_argument("key", type=Path, help="private key to write")
    keygen.add_argument("--trust", type=Path, help="trust file to write, for the robot")
    keygen.add_argument("--threshold", type=int, default=1, help="signatures needed (%(default)s)")
    keygen.add_argument(
        "--with-key", type=Path, action="append", default=[], help="more keys to trust; repeatable"
    )
    sign = actions.add_parser("sign", help="sign a bundle's folder")
    sign.add_argument("bundle", type=Path, help="folder of the bundle")
    sign.add_argument("--key", type=Path, action="append", required=True, help="repeatable")
    pack = actions.add_parser("pack", help="write a signed bundle as one file")
    pack.add_argument("bundle", type=Path, help="folder of the bundle")
    pack.add_argument("--out", type=Path, help="file to write; default: NAME-VERSION.bundle")
    rotate = actions.add_parser("rotate", help="replace trusted keys, signed by old and new ones")
    rotate.add_argument("trust", type=Path, help="trust file to replace")
    rotate.add_argument("--key", type=Path, action="append", required=True, help="old and new keys")
    rotate.add_argument("--new", type=Path, action="append", required=True, help="new set of keys")
    rotate.add_argument("--threshold", type=int, default=1, help="signatures needed (%(default)s)")
    install = actions.add_parser("install", help="verify archives and keep them in the store")
    install.add_argument("archive", type=Path, nargs="+", help="files of `pack`")
    install.add_argument("--trust", type=Path, required=True, help="trust file")
    add_store(install)
    down = actions.add_parser("downgrade", help="sign that older releases may serve again")
    down.add_argument("name", help="name of the bundle")
    down.add_argument("--from-release", type=int, required=True, help="highest that served")
    down.add_argument("--to-release", type=int, required=True, help="lowest that may serve again")
    down.add_argument("--reason", required=True)
    down.add_argument("--expires", default="", help="ISO 8601 in UTC; default: never")
    down.add_argument("--key", type=Path, action="append", required=True, help="repeatable")
    down.add_argument("--out", type=Path, required=True, help="file to write or to sign further")
    allow = actions.add_parser("allow-downgrade", help="let a statement of `downgrade` hold here")
    allow.add_argument("statement", type=Path, help="file of `downgrade`")
    allow.add_argument("--trust", type=Path, required=True, help="trust file")
    add_store(allow)
    device = actions.add_parser("device-key", help="make the key of a device, for sealed models")
    device.add_argument("key", type=Path, help="private key to write; it stays on the device")
    sealing = actions.add_parser("seal", help="pack a signed bundle for one device only")
    sealing.add_argument("bundle", type=Path, help="folder of the bundle")
    sealing.add_argument(
        "--for",
        dest="device",
        required=True,
        metavar="PUBLIC",
        help="public key of the device, as `device-key` prints it, or a file with it",
    )
    sealing.add_argument("--out", type=Path, required=True, help="file to write")
    for action in (keygen, sign, pack, rotate, install, down, allow, device, sealing):
        action.add_argument("--json", action="store_true", help="print JSON")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare the store."""
    parser.add_argument(
        "--store", type=Path, default=DEFAULT_STORE, help="folder of releases (%(default)s)"
    )


def keygen(args: argparse.Namespace) -> dict[str, Any]:
    """Make a key; with --trust also the file that names it."""
    from edge_perception.releases import signing

    key = signing.generate_key()
    signing.write_key(args.key, key)
    public = signing.public_text(key)
    if args.trust:
        if args.trust.exists():
            raise ConfigurationError(f"{args.trust}: exists; `models rotate` changes trusted keys")
        others = [signing.public_text(signing.read_key(path)) for path in args.with_key]
        trust = signing.make_trust([public, *others], threshold=args.threshold)
        signing.write_trust(args.trust, trust)
    return {"key": str(args.key), "key_id": signing.key_id(public), "public_key": public}


def sign(args: argparse.Namespace) -> dict[str, Any]:
    """Sign a folder."""
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases import signing

    bundle = load_bundle(args.bundle)
    signed = signing.sign_bundle(bundle, [signing.read_key(path) for path in args.key])
    return {
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
        "sha256": bundle.sha256,
        "signers": [entry.key_id for entry in signed.signatures],
    }


def pack(args: argparse.Namespace) -> dict[str, Any]:
    """Write an archive."""
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.archive import SUFFIX, pack

    bundle = load_bundle(args.bundle)
    manifest = bundle.manifest
    target = args.out or Path(f"{manifest.name}-{manifest.version}{SUFFIX}")
    pack(bundle, target)
    return {"file": str(target), "bytes": target.stat().st_size, "sha256": bundle.sha256}


def rotate(args: argparse.Namespace) -> dict[str, Any]:
    """Replace the keys of a trust file."""
    from edge_perception.releases import signing

    current = signing.read_trust(args.trust)
    publics = [signing.public_text(signing.read_key(path)) for path in args.new]
    successor = signing.make_trust(
        publics, threshold=args.threshold, version=current.signed.version + 1
    )
    successor = signing.sign_trust(successor, [signing.read_key(path) for path in args.key])
    signing.write_trust(args.trust, signing.rotate(current, successor))
    return {"version": successor.signed.version, "keys": sorted(successor.signed.keys)}


def install(args: argparse.Namespace) -> dict[str, Any]:
    """Verify and keep archives."""
    from edge_perception.releases.signing import read_trust
    from edge_perception.releases.store import ReleaseStore

    store = ReleaseStore(args.store.expanduser())
    trust = read_trust(args.trust)
    installed = []
    for archive in args.archive:
        release = store.install(archive, trust, now_ns=time.time_ns())
        installed.append(
            {
                "name": release.manifest.name,
                "version": release.manifest.version,
                "sha256": release.sha256,
                "signers": store.shelf.signers(release.sha256),
            }
        )
    return {"store": str(store.root), "installed": installed}


def downgrade(args: argparse.Namespace) -> dict[str, Any]:
    """Write a signed statement; the same statement once more adds signatures."""
    from edge_perception.releases import signing
    from edge_perception.releases.downgrade import make_downgrade, write_downgrade

    statement = make_downgrade(
        args.name,
        from_release=args.from_release,
        to_release=args.to_release,
        reason=args.reason,
        expires=args.expires,
        keys=[signing.read_key(path) for path in args.key],
    )
    write_downgrade(args.out, statement)
    return {"file": str(args.out), "name": args.name, "to_release": args.to_release}


def allow_downgrade(args: argparse.Namespace) -> dict[str, Any]:
    """Lower the floor of a store."""
    from edge_perception.releases.downgrade import apply_downgrade, read_downgrade
    from edge_perception.releases.signing import read_trust
    from edge_perception.releases.store import ReleaseStore

    if not (args.store.expanduser() / "releases").is_dir():
        raise ConfigurationError(f"--store: expected a store of releases, got {args.store}")
    store = ReleaseStore(args.store.expanduser())
    allowed = apply_downgrade(
        store, read_downgrade(args.statement), read_trust(args.trust), now_ns=time.time_ns()
    )
    return {
        "name": allowed.name,
        "lowest_release": allowed.to_release,
        "before": allowed.from_release,
        "reason": allowed.reason,
    }


def device_key(args: argparse.Namespace) -> dict[str, Any]:
    """Make the key of a device."""
    from edge_perception.releases.sealing import make_device_key

    return {"key": str(args.key), "public_key": make_device_key(args.key)}


def seal(args: argparse.Namespace) -> dict[str, Any]:
    """Write a sealed archive."""
    from edge_perception.models.manifest import load_bundle
    from edge_perception.models.sealed import device_id
    from edge_perception.releases.sealing import pack_sealed, read_device

    device = read_device(args.device)
    bundle = load_bundle(args.bundle)
    pack_sealed(bundle, device, args.out)
    return {
        "file": str(args.out),
        "bytes": args.out.stat().st_size,
        "sha256": bundle.sha256,
        "device": device_id(device),
    }


def list_store(root: Path, *, as_json: bool) -> int:
    """Print the releases of a store with the slots they are in."""
    import json

    from edge_perception.releases.slots import SLOTS
    from edge_perception.releases.store import ReleaseStore

    if not (root / "releases").is_dir():
        raise ConfigurationError(f"--store: expected a store of releases, got {root}")
    store = ReleaseStore(root)
    slots = {slot: set(store.slots.get(slot).values()) for slot in SLOTS}
    rows: list[dict[str, Any]] = [
        {
            "name": release.manifest.name,
            "role": release.manifest.role,
            "version": release.manifest.version,
            "release": release.manifest.release,
            "sha256": release.sha256,
            "slots": [slot for slot in SLOTS if release.sha256 in slots[slot]],
            "signers": store.shelf.signers(release.sha256),
            "quarantined": release.quarantined,
        }
        for release in store.releases()
    ]
    rows.sort(
        key=lambda row: (row["role"], row["name"], row["release"], version_key(row["version"]))
    )
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"no release in {root}")
    for row in rows:
        state = ", ".join(row["slots"]) or "stored"
        if row["quarantined"]:
            state = f"quarantined: {row['quarantined']}"
        print(
            f"{row['name']:28} {row['role']:7} {row['version']:9} release {row['release']:<5} "
            f"{row['sha256'][:12]}  {state}"
        )
    return 0
