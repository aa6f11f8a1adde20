"""Models on disk and on the robot: bring, list, inspect, compare, sign, install, swap, go back."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
from edge_perception.cli import (
    _model_change,
    _model_compare,
    _model_diff,
    _model_export,
    _model_import,
    _model_release,
    _model_room,
    _model_serve,
)
from edge_perception.models.device_keys import use_device_key
from edge_perception.models.folders import (
    find_bundle,
    stored_bundles,
    with_installed,
)
from edge_perception.models.golden import compare_golden
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle
from edge_perception.releases.roles import check_role
from edge_perception.releases.verifying import check_release, trust_roots

NAME = "models"
HELP = "import, list, inspect, verify, compare, sign, install, swap and remove models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    parser.add_argument(
        "--device-key", default="", help="key that opens sealed models: a file, or PROVIDER:WHAT"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _model_import.add_import(actions.add_parser("import", help="make a bundle of an ONNX file"))
    listing = actions.add_parser("list", help="list the bundles that are found")
    inspect = actions.add_parser("inspect", help="show a bundle's manifest")
    verify = actions.add_parser("verify", help="check hashes, graph and golden outputs")
    _model_release.add_release_actions(actions)
    _model_room.add_room_actions(actions)
    _model_change.add_change_actions(actions)
    compare = _model_compare.add_compare_action(actions)
    diff = _model_diff.add_diff_action(actions)
    export = _model_export.add_export_action(actions)
    serve = _model_serve.add_serve_action(actions)
    listing.add_argument("--store", type=Path, help="list the releases of this store instead")
    _add_backend(verify)
    _add_backend(serve)
    verify.add_argument("--trust", type=Path, help="also check the signatures, by this trust file")
    for action in (inspect, verify):
        action.add_argument("name", help="bundle: bev_lite/lidar, or the name in its manifest")
    serve.add_argument(
        "--folder", type=Path, action="append", default=[], help="of bundles; repeatable"
    )
    for action in (listing, inspect, verify, compare, diff, export):
        action.add_argument(
            "--folder",
            type=Path,
            action="append",
            default=[],
            help="search this folder before the installed ones; repeatable",
        )
        action.add_argument("--json", action="store_true", help="print JSON")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="NAME",
        help=f"runtime: {', '.join(sorted(backends().specs))} (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action that was asked for."""
    use_device_key(args.device_key)
    release = {
        name.replace("_", "-"): getattr(_model_release, name)
        for name in (
            "keygen",
            "sign",
            "pack",
            "rotate",
            "install",
            "downgrade",
            "allow_downgrade",
            "device_key",
            "seal",
        )
    }
    if args.action in release:
        return _print_rows(release[args.action](args), as_json=args.json)
    change = {
        name: getattr(_model_change, name)
        for name in ("swap", "rollback", "reset_breaker", "history", "events")
    }
    room = {"prune": _model_room.prune, "remove": _model_room.remove}
    if args.action == "compare":
        return _model_compare.compare(args, _folders(args))
    if args.action == "diff":
        return _model_diff.diff(args, _folders(args))
    if args.action == "serve":
        return _model_serve.serve(args, _folders(args))
    if args.action == "export-triton":
        return _model_export.export(args, _folders(args))
    actions = {"import": _import, "list": _list, "inspect": _inspect, "verify": _verify}
    known = {**actions, **change, **room}
    return int(known[args.action.replace("-", "_")](args))


def _import(args: argparse.Namespace) -> int:
    bundle, report = _model_import.run_import(args)
    if args.json:
        _print_json({**_summary(bundle), **report})
        return 0
    if "drawing" in report:
        counts = ", ".join(f"{count} {name}" for name, count in report["objects"].items())
        print(f"found in {report['picture']}: {counts or 'nothing'}; look at {report['drawing']}")
        if not counts:
            print("which does not show whether its boxes are right: try it on what it should find")
    if why := _model_import.unplaced(bundle):
        print(why)
    print(f"{bundle.manifest.name} {bundle.manifest.version} is in {bundle.path}")
    print(f"features: {_features_text(bundle)}; space {bundle.manifest.feature_space}")
    return 0


def _list(args: argparse.Namespace) -> int:
    if args.store is not None:
        return _model_release.list_store(args.store.expanduser(), as_json=args.json)
    entries = stored_bundles(_folders(args))
    if args.json:
        _print_json(
            [
                {"path_name": entry.name, **_summary(entry.bundle)}
                if entry.bundle
                else {"path_name": entry.name, "path": str(entry.path), "error": entry.error}
                for entry in entries
            ]
        )
        return 0
    if not entries:
        print(f"no bundle in {', '.join(map(str, _folders(args))) or 'any folder'}")
    for entry in entries:
        if entry.bundle is None:
            print(f"{entry.name:28} unusable: {entry.error}")
            continue
        manifest = entry.bundle.manifest
        size = manifest.resources.disk_bytes / 1e6
        print(
            f"{entry.name:28} {manifest.role:7} {manifest.version:9} {manifest.adapter:13} "
            f"{size:6.1f} MB  {entry.bundle.sha256[:12]}"
        )
    return 0


def _inspect(args: argparse.Namespace) -> int:
    bundle = find_bundle(args.name, _folders(args))
    manifest = bundle.manifest
    if args.json:
        _print_json({**_summary(bundle), "manifest": asdict(manifest)})
        return 0
    rows = {
        "name": f"{manifest.name} {manifest.version} (release {manifest.release})",
        "role": f"{manifest.role}, adapter {manifest.adapter}",
        "path": bundle.path,
        "sha256": bundle.sha256,
        "created": manifest.created or "not said",
        "inputs": _tensors_text(manifest.inputs),
        "outputs": _tensors_text(manifest.outputs),
        "features": f"{_features_text(bundle)}; space {manifest.feature_space or 'none'}",
        "labels": f"{len(manifest.labels)}: {', '.join(manifest.labels[:8])}"
        + (", …" if len(manifest.labels) > 8 else ""),
        "preprocessing": json.dumps(manifest.preprocessing),
        "runtime": f"opset {manifest.runtime.opset}, {manifest.runtime.precision}",
        "provenance": f"{manifest.provenance.licence}; {manifest.provenance.source}",
    }
    for name, value in rows.items():
        print(f"{name:14} {value}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Finding it checks sizes and hashes; then the golden inputs run."""
    bundle = find_bundle(args.name, _folders(args))
    if args.trust is not None:
        check_release(bundle, trust_roots(str(args.trust)), now_ns=time.time_ns(), store=None)
    check_role(bundle.manifest)
    backend = load_model_bytes(
        backends()[args.backend], whole_model(bundle), bundle.model_path, BackendOptions()
    )
    try:
        deviations = compare_golden(bundle, backend)
    finally:
        backend.close()
    passed = all(deviation.passed for deviation in deviations)
    if args.json:
        _print_json(
            {
                **_summary(bundle),
                "passed": passed,
                "golden": [asdict(deviation) for deviation in deviations],
            }
        )
        return 0 if passed else 1
    print(f"{bundle.manifest.name}: {len(bundle.manifest.files)} files match the manifest")
    for deviation in deviations:
        verdict = "passed" if deviation.passed else f"FAILED: {deviation.reason}"
        print(f"  {deviation.output}: largest difference {deviation.absolute:.2g}, {verdict}")
    return 0 if passed else 1


def _folders(args: argparse.Namespace) -> list[Path]:
    return with_installed(args.folder)


def _summary(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "role": manifest.role,
        "version": manifest.version,
        "adapter": manifest.adapter,
        "path": str(bundle.path),
        "sha256": bundle.sha256,
        "feature_space": manifest.feature_space,
        "features": dict(manifest.features),
    }


def _features_text(bundle: Bundle) -> str:
    features = bundle.manifest.features
    return ", ".join(f"{name} from tensor {output}" for name, output in features.items()) or "none"


def _tensors_text(tensors: tuple[Any, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype} {tuple(t.shape)}" for t in tensors)


def _print_rows(data: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        _print_json(data)
        return 0
    for name, value in data.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            text = " ".join(map(str, row.values())) if isinstance(row, dict) else str(row)
            print(f"{name:12} {text}")
    return 0


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2))
