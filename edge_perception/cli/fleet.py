"""``edge-perception fleet``: telemetry into a database, staged rollouts, and how the robots are.

A rollout is a document in the registry: robots decide by it whether they are in. What is decided
here rests on what they told; nothing is kept beside the registry and the database.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from edge_perception.cli import _fleet_loop, _fleet_rollout, _fleet_threshold
from edge_perception.cli._fleet_rollout import add_database, open_registry

NAME = "fleet"
HELP = "many robots: ingest, rollout, status, collect, loop, and when a server is asked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    ingest = actions.add_parser("ingest", help="from a broker into the database, until interrupted")
    ingest.add_argument("broker", help="mqtt://HOST:PORT or mqtts://HOST:PORT")
    ingest.add_argument("--ca", default="", help="certificates that the broker's is checked with")
    ingest.add_argument("--cert", default="", help="certificate of this client, PEM")
    ingest.add_argument("--key", default="", help="its private key, PEM")
    rollout = actions.add_parser("rollout", help="create, status, advance, pause or stop")
    _fleet_rollout.add_arguments(rollout.add_subparsers(dest="step", required=True, metavar="STEP"))
    status = actions.add_parser("status", help="versions, rollouts, burns and silent robots")
    status.add_argument("--registry", default="", help="for its rollouts: folder or URL")
    status.add_argument("--team", default="perception")
    status.add_argument("--silent-h", type=float, default=6.0, help="hours without a word")
    status.add_argument("--html", type=Path, help="write a page too")
    status.add_argument("--json", action="store_true", help="print JSON")
    _fleet_threshold.add_threshold_action(actions)
    for action in (ingest, status):
        add_database(action)
    collect = actions.add_parser("collect", help="mined samples from their storage to a folder")
    collect.add_argument("storage", help="folder or URL, as fleet_samples_to of the robots")
    collect.add_argument("--out", type=Path, default=Path("samples"), help="folder (%(default)s)")
    collect.add_argument(
        "--remove", action="store_true", help="from the storage what is safely in the folder"
    )

    _fleet_loop.add_arguments(
        actions.add_parser("loop", help="simulated drives to a proposed release, in one go")
    )


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    if args.action == "threshold":
        return _fleet_threshold.threshold(args)
    if args.action == "ingest":
        return _ingest(args)
    if args.action == "status":
        return _status(args)
    if args.action == "collect":
        return _collect(args)
    if args.action == "loop":
        return _fleet_loop.run(args)
    return _fleet_rollout.run(args)


def _ingest(args: argparse.Namespace) -> int:
    from edge_perception.fleet.ingest import IngestService
    from edge_perception.fleet.mqtt import BrokerOptions
    from edge_perception.fleet.tables import Tables

    options = BrokerOptions(
        url=args.broker, ca_file=args.ca, cert_file=args.cert, key_file=args.key
    )
    service = IngestService(
        options,
        Tables(args.database),
        time.time_ns,
        on_problem=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"ingest: {args.broker} into {args.database}", flush=True)
    if again := service.ingest.look_again():
        print(f"{again} readings that an older version had kept aside", flush=True)
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        return 0
    finally:
        service.close()
        taken = service.ingest
        print(
            f"{taken.readings} readings in {taken.batches} batches, {taken.aside.total()} kept "
            f"aside, {taken.refused} refused"
        )


def _collect(args: argparse.Namespace) -> int:
    """Fetch what is new; 1: something was refused."""
    from edge_perception.fleet.collecting import Collector
    from edge_perception.fleet.places import ObjectPlace

    place = ObjectPlace(args.storage)
    found = Collector(place, args.out, url=place.url, remove=args.remove).collect()
    for path in found.new:
        print(path)
    for text in found.refused:
        print(f"refused: {text}")
    elsewhere = f", {found.elsewhere} collected elsewhere" if found.elsewhere else ""
    print(f"{args.out}: {len(found.new)} new, {found.known} known{elsewhere}")
    return 1 if found.refused else 0


def _status(args: argparse.Namespace) -> int:
    from edge_perception.fleet.overview import overview, write_page
    from edge_perception.fleet.tables import Tables

    rollouts = open_registry(args).rollouts(args.team).rollouts if args.registry else ()
    found = overview(Tables(args.database), rollouts, time.time_ns(), silent_s=args.silent_h * 3600)
    if args.html:
        write_page(found, args.html)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{found['robots']} robots, {len(found['silent'])} silent, {found['dropped']} dropped")
    for row in found["versions"]:
        print(f"{row['role']:16} {row['version']:32} {row['robots']} robots")
    for row in found["objectives"]:
        print(
            f"{row['version']:32} {row['objective']:16} {row['good']:.2%} of {row['views']} views"
        )
    for row in found["rollouts"]:
        print(
            f"{row['id']:32} {row['state']} stage {row['stage']} of {row['stages']} {row['reason']}"
        )
    for row in found["drift"]:
        print(f"{row['robot']:32} {row['source']} drifts: {row['drift']}")
    for row in found["samples"]:
        print(f"{row['robot']:32} {row['samples']} samples, {row['bytes']} bytes")
    for row in found["aside"]:
        print(
            f"{row['robot']:32} {row['kept']} kept aside, schema {row['schema']}: {row['reason']}"
        )
    for row in found["doubled"]:
        print(f"{row['robot']:32} is the name of {row['robots']} robots: each needs one of its own")
    for row in found["failures"][:20]:
        print(f"{row['device']:16} {row['at']}  {row['event']}: {row['reason']}")
    return 0
