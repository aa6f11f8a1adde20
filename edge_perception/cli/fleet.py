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
from typing import Any

from edge_perception.cli import _fleet_loop, _fleet_threshold
from edge_perception.core.errors import ConfigurationError

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
    _add_rollout(rollout.add_subparsers(dest="step", required=True, metavar="STEP"))
    status = actions.add_parser("status", help="versions, rollouts, burns and silent robots")
    status.add_argument("--registry", default="", help="for its rollouts: folder or URL")
    status.add_argument("--team", default="perception")
    status.add_argument("--silent-h", type=float, default=6.0, help="hours without a word")
    status.add_argument("--html", type=Path, help="write a page too")
    status.add_argument("--json", action="store_true", help="print JSON")
    _fleet_threshold.add_threshold_action(actions)
    for action in (ingest, status):
        _add_database(action)
    collect = actions.add_parser("collect", help="mined samples from their storage to a folder")
    collect.add_argument("storage", help="folder or URL, as fleet_samples_to of the robots")
    collect.add_argument("--out", type=Path, default=Path("samples"), help="folder (%(default)s)")
    collect.add_argument(
        "--remove", action="store_true", help="from the storage what is safely in the folder"
    )

    _fleet_loop.add_arguments(
        actions.add_parser("loop", help="simulated drives to a proposed release, in one go")
    )


def _add_rollout(steps: Any) -> None:
    create = steps.add_parser("create", help="offer a release to the first stage")
    create.add_argument("registry", help="folder or URL")
    create.add_argument("name")
    create.add_argument("version")
    create.add_argument("--channel", default="stable", choices=("dev", "beta", "stable"))
    create.add_argument("--stages", default="1,10,25,100", help="shares in percent")
    create.add_argument("--first-groups", default="", help="groups in the first stage, too: a,b")
    create.add_argument("--soak-h", type=float, default=1.0, help="hours of each stage")
    status = steps.add_parser("status", help="each rollout, and what the gates say now")
    status.add_argument("registry", help="folder or URL")
    status.add_argument("--json", action="store_true", help="print JSON")
    advance = steps.add_parser("advance", help="next stage where the gates hold; stop where not")
    advance.add_argument("--watch-s", type=float, default=0.0, help="again after so long; 0: once")
    pause = steps.add_parser("pause", help="no more robots for now; advance --force goes on")
    stop = steps.add_parser("stop", help="no more robots, and those that have it go back")
    for step in (advance, pause, stop):
        step.add_argument("registry", help="folder or URL")
        step.add_argument("rollout", help="its id")
    advance.add_argument("--force", action="store_true", help="without the gates; needs --reason")
    for step in (pause, stop, advance):
        step.add_argument("--reason", default="", help="for the document")
    for step in (create, advance, pause, stop):
        step.add_argument("--keys", type=Path, required=True, help="folder of the private keys")
    for step in (create, status, advance, pause, stop):
        step.add_argument("--team", default="perception")
        _add_database(step)
    for step in (status, advance):
        step.add_argument("--slo", default="", help="the operator's file (config/slo.yaml)")
        step.add_argument("--least-robots", type=int, default=1, help="that serve it, to advance")
        step.add_argument("--least-views", type=int, default=100, help="on it, to advance")
        step.add_argument("--silent-h", type=float, default=6.0, help="hours without a word")


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", default="fleet.db", help="SQLite file or postgresql://… (%(default)s)"
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
    steps = {"create": _create, "status": _rollouts, "advance": _advance}
    return steps.get(args.step, _end)(args)


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


def _registry(args: argparse.Namespace) -> Any:
    from edge_perception.fleet.keys import KeyFolder
    from edge_perception.fleet.places import ObjectPlace
    from edge_perception.fleet.registry import Registry, utc_now

    keys = KeyFolder(args.keys) if getattr(args, "keys", None) else None
    return Registry(ObjectPlace(args.registry), keys, utc_now())


def _create(args: argparse.Namespace) -> int:
    from edge_perception.fleet.documents import Stage
    from edge_perception.fleet.registry import utc_now
    from edge_perception.fleet.rollout import make_rollout, suited
    from edge_perception.fleet.tables import Tables

    try:
        shares = [float(text) / 100.0 for text in args.stages.split(",")]
    except ValueError:
        raise ConfigurationError(f"--stages: expected percents, got '{args.stages}'") from None
    if any(not 0.0 < share <= 1.0 for share in shares):
        raise ConfigurationError(f"--stages: expected 0 to 100 percent, got '{args.stages}'")
    groups = tuple(filter(None, args.first_groups.split(",")))
    stages = [
        Stage(share=share, groups=groups if number == 0 else (), soak_s=args.soak_h * 3600.0)
        for number, share in enumerate(shares)
    ]
    registry = _registry(args)
    classes = registry.classes(args.team, args.name, args.version)
    known = suited(Tables(args.database), classes)
    rollout = make_rollout(
        registry,
        args.team,
        args.name,
        args.version,
        channel=args.channel,
        stages=stages,
        known=known,
        now=utc_now(),
    )
    registry.publish()
    print(f"{rollout.id}: stage 1 of {len(stages)}, {len(known)} robots known that it suits")
    return 0


def _judged(args: argparse.Namespace, registry: Any, rollout: Any) -> Any:
    from edge_perception.fleet.rollout import FleetGate, judge
    from edge_perception.fleet.tables import Tables
    from edge_perception.releases.slo_file import read_slo

    gate = FleetGate(
        least_robots=args.least_robots,
        least_views=args.least_views,
        silent_s=args.silent_h * 3600.0,
    )
    return judge(
        rollout,
        Tables(args.database),
        read_slo(args.slo),
        gate,
        time.time_ns(),
        classes=registry.classes(args.team, rollout.name, rollout.version),
    )


def _rollouts(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    registry = _registry(args)
    rows = []
    for rollout in registry.rollouts(args.team).rollouts:
        told = asdict(_judged(args, registry, rollout)) if rollout.state == "running" else {}
        rows.append({**asdict(rollout), "now": told})
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        stage = f"stage {row['stage'] + 1} of {len(row['stages'])}"
        print(f"{row['id']}  {row['state']}  {stage}  {row['reason']}")
        for item in row["evidence"]:
            print(f"    {item['at']}  stage {item['stage'] + 1}  {item['verdict']}: {item['text']}")
        if row["now"]:
            print(f"    now: {row['now']['verdict']}: {row['now']['text']}")
    if not rows:
        print("no rollout")
    return 0


def _found(registry: Any, args: argparse.Namespace) -> Any:
    rollouts = registry.rollouts(args.team).rollouts
    for rollout in rollouts:
        if rollout.id == args.rollout:
            return rollout
    known = ", ".join(r.id for r in rollouts) or "none"
    raise ConfigurationError(f"unknown rollout '{args.rollout}'; known: {known}")


def _advance(args: argparse.Namespace) -> int:
    """Look once, or again and again until the rollout ends."""
    from edge_perception.fleet.documents import DONE, PAUSED, STOPPED
    from edge_perception.fleet.registry import utc_now
    from edge_perception.fleet.rollout import PASS, WAIT, Verdict, change

    if args.force and not args.reason:
        raise ConfigurationError("--force: expected a --reason for the document")
    while True:
        registry = _registry(args)
        rollout = _found(registry, args)
        if args.force:
            verdict = Verdict(verdict=PASS, text=f"by hand: {args.reason}")
        elif rollout.state == PAUSED:
            raise ConfigurationError(f"{rollout.id} is paused: --force --reason goes on")
        else:
            verdict = _judged(args, registry, rollout)
        print(f"{rollout.id}: {verdict.verdict}: {verdict.text}", flush=True)
        if verdict.verdict != WAIT:
            rollout = change(registry, args.team, rollout, verdict, utc_now())
            registry.publish()
            print(f"{rollout.id}: {rollout.state}, stage {rollout.stage + 1}", flush=True)
        if rollout.state in (DONE, STOPPED) or not args.watch_s or args.force:
            return 1 if rollout.state == STOPPED else 0
        time.sleep(args.watch_s)


def _end(args: argparse.Namespace) -> int:
    from edge_perception.fleet.documents import PAUSED
    from edge_perception.fleet.registry import utc_now
    from edge_perception.fleet.rollout import STOP, Verdict, change

    if not args.reason:
        raise ConfigurationError("--reason: expected why, for the document")
    registry = _registry(args)
    verdict = Verdict(verdict=STOP if args.step == "stop" else PAUSED, text=args.reason)
    rollout = change(registry, args.team, _found(registry, args), verdict, utc_now())
    registry.publish()
    print(f"{rollout.id}: {rollout.state}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from edge_perception.fleet.overview import overview, write_page
    from edge_perception.fleet.tables import Tables

    rollouts = _registry(args).rollouts(args.team).rollouts if args.registry else ()
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
