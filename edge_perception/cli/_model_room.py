"""`edge-perception models prune | remove`: room on the disk."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.cli._model_release import add_store
from edge_perception.core.errors import ConfigurationError, ModelError, UnknownNameError
from edge_perception.models.folders import USER_FOLDER, stored_bundles

_DIGEST_DIGITS = 8  # of a digest that is given shortened, at least


def add_room_actions(actions: Any) -> None:
    """Declare the actions."""
    prune = actions.add_parser("prune", help="remove releases of a store that nothing uses")
    prune.add_argument(
        "--keep",
        type=_count,
        default=4,
        help="newest releases of each model that stay beside current, previous and factory "
        "(%(default)s)",
    )
    prune.add_argument(
        "--trust", type=Path, help="also remove what the keys of this trust file did not sign"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    remove = actions.add_parser("remove", help="remove a release of a store or an imported bundle")
    remove.add_argument(
        "name", help="NAME, NAME:VERSION or the first digits of a digest, as `models list` shows"
    )
    remove.add_argument(
        "--folder",
        type=Path,
        default=USER_FOLDER,
        help="where imported bundles are (%(default)s)",
    )
    for action in (prune, remove):
        add_store(action)
        action.add_argument("--json", action="store_true", help="print JSON")


def prune(args: argparse.Namespace) -> int:
    """Remove what is old, refused or foreign and in no use."""
    from edge_perception.releases.garbage import Keeping, collect_garbage
    from edge_perception.releases.signing import read_trust

    store = _store(args.store.expanduser())
    if store is None:
        raise ConfigurationError(f"--store: expected a store of releases, got {args.store}")
    trust = read_trust(args.trust) if args.trust else None
    keeping = Keeping(newest=args.keep, trust=trust)
    gone = collect_garbage(store, keeping, try_only=args.dry_run)
    if args.json:
        print(json.dumps({"dry_run": args.dry_run, "removed": [asdict(item) for item in gone]}))
        return 0
    verb = "would go" if args.dry_run else "removed"
    for item in gone:
        name = f"{item.name} {item.version}" if item.name else "a release"
        print(f"{verb}: {name} {item.sha256[:12]}, {item.why}")
    if not gone:
        print(f"nothing to remove in {store.root}")
    return 0


def remove(args: argparse.Namespace) -> int:
    """Remove one release; where the store has none of that name, one imported bundle."""
    from edge_perception.releases.garbage import remove_release

    store = _store(args.store.expanduser())
    found = _releases(store, args.name) if store is not None else {}
    if len(found) > 1:
        raise ConfigurationError(
            f"{args.name}: expected one release, got {len(found)}: {', '.join(found.values())}; "
            "name one as NAME:VERSION or by its digest"
        )
    if found:
        assert store is not None
        ((sha256, text),) = found.items()
        remove_release(store, sha256)
        return _said(args, text, store.root)
    folder = args.folder.expanduser()
    name, _, version = args.name.partition(":")
    for entry in stored_bundles([folder]) if folder.is_dir() else ():
        manifest = entry.bundle.manifest if entry.bundle is not None else None
        fits = manifest is None or version in ("", manifest.version)
        if fits and name in (entry.name, manifest.name if manifest is not None else entry.name):
            shutil.rmtree(entry.path)
            return _said(args, entry.name, folder)
    known = [*(_releases(store, "").values() if store is not None else ())]
    known += [e.name for e in stored_bundles([folder])] if folder.is_dir() else []
    raise UnknownNameError(
        kind=f"model (searched in {args.store.expanduser()}, {folder})", name=args.name, known=known
    )


def _releases(store: Any, text: str) -> dict[str, str]:
    """Return the releases that a text names, by digest; all where it is empty."""
    name, _, version = text.partition(":")
    found = {}
    for sha256 in store.shelf.digests():
        shortened = len(text) >= _DIGEST_DIGITS and sha256.startswith(text)
        try:
            manifest = store.shelf.bundle(sha256).manifest
        except ModelError:  # what cannot be read has only its digest
            if shortened or not text:
                found[sha256] = f"{sha256[:12]} (unreadable)"
            continue
        named = name == manifest.name and version in ("", manifest.version)
        if named or shortened or not text:
            found[sha256] = f"{manifest.name}:{manifest.version} {sha256[:12]}"
    return found


def _said(args: argparse.Namespace, text: str, where: Path) -> int:
    if args.json:
        print(json.dumps({"removed": text, "from": str(where)}))
    else:
        print(f"removed: {text} from {where}")
    return 0


def _store(root: Path) -> Any:
    from edge_perception.releases.store import ReleaseStore

    return ReleaseStore(root) if (root / "releases").is_dir() else None


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = -1
    if count < 0:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got '{text}'")
    return count
