"""``edge-perception registry``: signed releases for a fleet, on a folder, server or object store.

A registry is a TUF repository: robots take from it only what was signed, and notice old, mixed,
withheld and endless answers. There is no server of ours: PLACE is a folder that any HTTP server
may serve, or s3://, gs:// or az://, with the credentials of their own tools.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge_perception.cli import _registry_run
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.json_file import read_json_object

NAME = "registry"
HELP = "releases for a fleet: init, add, promote, retire, keys, refresh, status"
_CHANNELS = ("dev", "beta", "stable")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = _action(actions, "init", "make a registry, its keys, and the root for robots")
    init.add_argument("--team", default="perception", help="first team that may release")
    init.add_argument("--root-keys", type=int, default=1, help="keys of root")
    init.add_argument("--threshold", type=int, default=1, help="of them needed")
    add = _action(actions, "add", "add a signed bundle, to a channel")
    add.add_argument("bundle", type=Path, nargs="?", help="its folder; or --mlflow")
    _registry_run.add_arguments(add)
    add.add_argument(
        "--delta-from",
        type=Path,
        action="append",
        default=[],
        metavar="BUNDLE",
        help="folder of an older release that robots have; repeatable",
    )
    add.add_argument("--device-class", default="any", help="hardware of this variant")
    add.add_argument("--channel", default="dev", choices=_CHANNELS)
    add.add_argument(
        "--measured", type=Path, help="JSON: what was measured, by device (latency_ms, watts, …)"
    )
    add.add_argument(
        "--evidence", type=Path, help="JSON of `evaluate --candidate`: that it is better"
    )
    promote = _action(actions, "promote", "let a channel offer a release")
    promote.add_argument("--to", dest="channel", required=True, choices=_CHANNELS)
    retire = _action(actions, "retire", "offer a release no more")
    retire.add_argument("--from", dest="channel", default="", choices=("", *_CHANNELS))
    for action in (promote, retire):
        action.add_argument("name")
        action.add_argument("version")
    keys = _action(actions, "keys", "show who signs; --rotate replaces keys, --add-team adds one")
    change = keys.add_mutually_exclusive_group()
    change.add_argument("--rotate", metavar="ROLE", help="root, targets, snapshot, timestamp, team")
    change.add_argument("--add-team", metavar="TEAM")
    keys.add_argument("--count", type=int, default=1, help="new keys")
    keys.add_argument("--threshold", type=int, default=1, help="of them needed")
    _action(actions, "refresh", "renew the times of expiry; robots believe nothing that is older")
    status = _action(actions, "status", "what there is")
    status.add_argument("--search", default="", help="only releases whose document has this text")
    for action in (add, promote, retire, status):
        action.add_argument("--team", default="perception")


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text)
    action.add_argument("place", metavar="PLACE", help="folder or URL of the registry")
    if name != "status":
        action.add_argument("--keys", type=Path, required=True, help="folder of the private keys")
    action.add_argument("--json", action="store_true", help="print JSON")
    return action


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    from edge_perception.fleet.places import ObjectPlace

    place = ObjectPlace(args.place)
    result = {
        "init": _init,
        "add": _add,
        "promote": _promote,
        "retire": _retire,
        "keys": _keys,
        "refresh": _refresh,
        "status": _status,
    }[args.action](args, place)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            if isinstance(value, list):
                for row in value:
                    print(f"{name:12} {'  '.join(str(item) for item in row.values())}")
            else:
                print(f"{name:12} {value}")
    return 0


def _open(args: argparse.Namespace, place: Any) -> Any:
    from edge_perception.fleet.keys import KeyFolder
    from edge_perception.fleet.registry import Registry, utc_now

    keys = KeyFolder(args.keys) if getattr(args, "keys", None) else None
    return Registry(place, keys, utc_now())


def _init(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    from edge_perception.fleet.keys import KeyFolder
    from edge_perception.fleet.registry import make_registry, utc_now

    keys = KeyFolder(args.keys)
    root = make_registry(place, keys, utc_now(), root_keys=args.root_keys, threshold=args.threshold)
    registry = _open(args, place)
    registry.add_team(args.team, keys.make(args.team), 1)
    registry.publish()
    path = args.keys / "root.json"
    path.write_bytes(root)
    return {"registry": place.url, "team": args.team, "root": str(path)}


def _add(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    from edge_perception.fleet.publishing import publish_release
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.signing import SIGNATURES_NAME, read_key, sign_bundle

    registry = _open(args, place)
    more: dict[str, Any] = {}
    if args.mlflow:
        bundle, more = _registry_run.bundle_of_run(args)
    elif args.bundle is None:
        raise ConfigurationError("add: expected a BUNDLE, or --mlflow RUN")
    else:
        bundle = load_bundle(args.bundle)
    if args.sign:
        sign_bundle(bundle, [read_key(args.sign)])
    if not (bundle.path / SIGNATURES_NAME).is_file():
        raise ConfigurationError(f"{bundle.path}: not signed; `models sign` does it")
    measured = read_json_object(args.measured) if args.measured else {}
    document = publish_release(
        bundle,
        place,
        bases=[load_bundle(path) for path in args.delta_from],
        device_class=args.device_class,
        measured=measured,
        evidence=read_json_object(args.evidence) if args.evidence else None,
        metrics=more,
    )
    registry.add(args.team, document, args.channel)
    registry.publish()
    return {
        "release": f"{document.name} {document.version} {document.device_class}",
        "channel": args.channel,
        "manifest": document.manifest_sha256,
        "bytes": document.archive.size,
        "deltas": [{"base": d.base[:12], "bytes": d.patch.size} for d in document.deltas],
    }


def _promote(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    registry = _open(args, place)
    found = registry.promote(args.team, args.name, args.version, args.channel)
    registry.publish()
    return {
        "release": f"{args.name} {args.version}",
        "channel": args.channel,
        "variants": len(found),
    }


def _retire(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    registry = _open(args, place)
    gone = registry.retire(args.team, args.name, args.version, args.channel)
    registry.publish()
    return {"release": f"{args.name} {args.version}", "entries_gone": gone}


def _keys(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    registry = _open(args, place)
    folder = registry.keys
    role = args.rotate or args.add_team
    if role:
        made = folder.make(role, args.count)
        if role in registry.roles["root"].roles:
            registry.rotate(role, made, args.threshold)
        elif args.rotate and role not in registry.teams:
            raise ConfigurationError(f"--rotate: no role or team '{role}'")
        else:
            registry.add_team(role, made, args.threshold)
        registry.publish()
    return {"keys": registry.who_signs()}


def _refresh(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    registry = _open(args, place)
    registry.publish()
    return {"registry": place.url, "expires": registry.roles["timestamp"].expires.isoformat()}


def _status(args: argparse.Namespace, place: Any) -> dict[str, Any]:
    from edge_perception.fleet.documents import encode
    from edge_perception.fleet.registry import CHANNELS, utc_now

    registry = _open(args, place)
    rows = []
    channels = {c: registry.channel(args.team, c).entries for c in CHANNELS}
    for document in registry.releases(args.team):
        if args.search.lower() not in encode(document).decode("utf-8").lower():
            continue
        offered = [
            name
            for name, entries in channels.items()
            if any(e.manifest_sha256 == document.manifest_sha256 for e in entries)
        ]
        rows.append(
            {
                "name": document.name,
                "version": document.version,
                "device_class": document.device_class,
                "channels": ",".join(offered) or "none",
                "bytes": document.archive.size,
                "deltas": len(document.deltas),
                "manifest": document.manifest_sha256[:12],
                "evidence": str(document.evidence.get("reason", "")),
                "changelog": document.changelog,
            }
        )
    expires = registry.roles["timestamp"].expires
    return {
        "registry": place.url,
        "teams": ", ".join(registry.teams),
        "expires": expires.isoformat() + (" (expired)" if expires < utc_now() else ""),
        "release": rows,
    }
