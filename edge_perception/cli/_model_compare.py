"""`edge-perception models compare`: a candidate beside what serves, by output or by layer."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.cli._model_release import add_store
from edge_perception.core.errors import ConfigurationError
from edge_perception.models.manifest import MANIFEST_NAME, Bundle, load_bundle

_SAME = 0.99  # cosine below which a layer is pointed at


def add_compare_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    compare: argparse.ArgumentParser = actions.add_parser(
        "compare", help="outputs, and with --layers the layers, of two models on golden inputs"
    )
    compare.add_argument("candidate", help="NAME or NAME:VERSION, of a bundle or of the store")
    compare.add_argument(
        "current", nargs="?", default="", help="the other one; default: what the store has current"
    )
    compare.add_argument("--layers", action="store_true", help="also the tensors inside the graphs")
    add_store(compare)
    return compare


def compare(args: argparse.Namespace, folders: list[Path]) -> int:
    """Print the table; 1 where an output is outside of the candidate's gates."""
    from edge_perception.models.layers import compare_models

    store = args.store.expanduser()
    candidate = find_model(args.candidate, store, folders)
    current = (
        find_model(args.current, store, folders) if args.current else _serving(candidate, store)
    )
    parity = compare_models(candidate, current, layers=args.layers)
    if args.json:
        print(
            json.dumps(
                {
                    "candidate": _names(candidate),
                    "current": _names(current),
                    "passed": parity.passed,
                    **asdict(parity),
                },
                indent=2,
            )
        )
        return 0 if parity.passed else 1
    manifests = (candidate.manifest, current.manifest)
    print(" against ".join(f"{m.name} {m.version}" for m in manifests))
    print(f"{'tensor':44} {'operator':16} {'max abs':>9} {'of':>9} {'cosine':>9}")
    for tensor in parity.tensors:
        verdict = {None: "", True: "passed", False: f"FAILED: {tensor.reason}"}[tensor.passed]
        print(
            f"{tensor.name[-44:]:44} {tensor.operator:16} {tensor.max_absolute:9.3g} "
            f"{tensor.max_current:9.3g} {tensor.cosine:9.6f} {verdict}".rstrip()
        )
    for what, names in (
        ("candidate", parity.only_candidate),
        ("current model", parity.only_current),
    ):
        if names:
            print(f"only in the {what}: {len(names)}, for example {', '.join(names[:4])}")
    parted = next((t for t in parity.tensors if not t.cosine >= _SAME), None)
    if args.layers and parted is not None and not math.isclose(parted.max_current, 0.0):
        print(f"first with a cosine below {_SAME:g}: {parted.name} ({parted.operator})")
    return 0 if parity.passed else 1


def find_model(text: str, store: Path, folders: list[Path]) -> Bundle:
    """Return a bundle by folder or name; the store goes first, as versions are there."""
    from edge_perception.core.errors import StoreError
    from edge_perception.models.folders import find_bundle
    from edge_perception.releases.store import ReleaseStore

    if (Path(text) / MANIFEST_NAME).is_file():
        return load_bundle(Path(text))
    name, _, version = text.partition(":")
    if (store / "releases").is_dir():
        try:
            return ReleaseStore(store).find(name, version).bundle
        except StoreError:
            if version:
                raise
    bundle = find_bundle(name, folders)
    if version not in ("", bundle.manifest.version):
        raise ConfigurationError(
            f"{name}: expected version {version}, got {bundle.manifest.version}"
        )
    return bundle


def _serving(candidate: Bundle, store: Path) -> Bundle:
    from edge_perception.releases.store import ReleaseStore

    role = candidate.manifest.role
    current = ReleaseStore(store).slots.get("current") if (store / "current").is_file() else {}
    if role not in current:
        raise ConfigurationError(
            f"{store}: expected a current model of role {role} to compare with, got none; name one"
        )
    return ReleaseStore(store).release(current[role]).bundle


def _names(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    return {"name": manifest.name, "version": manifest.version, "sha256": bundle.sha256}
