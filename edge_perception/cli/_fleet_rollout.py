"""``edge-perception fleet rollout``: create, look at, advance, pause and stop."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, FleetError


def add_arguments(steps: Any) -> None:
    """Declare the steps."""
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
        add_database(step)
    for step in (status, advance):
        step.add_argument("--slo", default="", help="the operator's file (config/slo.yaml)")
        step.add_argument("--least-robots", type=int, default=1, help="that serve it, to advance")
        step.add_argument("--least-views", type=int, default=100, help="on it, to advance")
        step.add_argument("--silent-h", type=float, default=6.0, help="hours without a word")


def add_database(parser: argparse.ArgumentParser) -> None:
    """Declare where telemetry lies."""
    parser.add_argument(
        "--database", default="fleet.db", help="SQLite file or postgresql://… (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Do one step."""
    steps = {"create": _create, "status": _rollouts, "advance": _advance}
    return steps.get(args.step, _end)(args)


def open_registry(args: argparse.Namespace) -> Any:
    """Open the registry of the arguments, with its keys where they name some."""
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
    registry = open_registry(args)
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

    registry = open_registry(args)
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
    if args.force and not args.reason:
        raise ConfigurationError("--force: expected a --reason for the document")
    rollout = _look(args)
    while args.watch_s and not args.force and rollout.state in ("running", "paused"):
        time.sleep(args.watch_s)
        try:
            rollout = _look(args)
        except FleetError as error:  # registry or database: the watch outlives their restarts
            print(f"{args.rollout}: {error}", file=sys.stderr, flush=True)
    return 1 if rollout.state == "stopped" else 0


def _look(args: argparse.Namespace) -> Any:
    """Look at a rollout once, note what is decided, and return it as it is then."""
    from edge_perception.fleet.documents import PAUSED, RUNNING
    from edge_perception.fleet.registry import utc_now
    from edge_perception.fleet.rollout import PASS, WAIT, Verdict, change

    registry = open_registry(args)
    rollout = _found(registry, args)
    if args.force:
        verdict = Verdict(verdict=PASS, text=f"by hand: {args.reason}")
    elif rollout.state == PAUSED:
        if not args.watch_s:
            raise ConfigurationError(f"{rollout.id} is paused: --force --reason goes on")
        verdict = Verdict(verdict=WAIT, text=f"paused: {rollout.reason}")
    elif rollout.state not in (RUNNING, PAUSED) and args.watch_s:
        return rollout  # somebody else ended it meanwhile
    else:
        verdict = _judged(args, registry, rollout)
    print(f"{rollout.id}: {verdict.verdict}: {verdict.text}", flush=True)
    if verdict.verdict != WAIT:
        rollout = change(registry, args.team, rollout, verdict, utc_now())
        registry.publish()
        print(f"{rollout.id}: {rollout.state}, stage {rollout.stage + 1}", flush=True)
    return rollout


def _end(args: argparse.Namespace) -> int:
    from edge_perception.fleet.documents import PAUSED
    from edge_perception.fleet.registry import utc_now
    from edge_perception.fleet.rollout import STOP, Verdict, change

    if not args.reason:
        raise ConfigurationError("--reason: expected why, for the document")
    registry = open_registry(args)
    verdict = Verdict(verdict=STOP if args.step == "stop" else PAUSED, text=args.reason)
    rollout = change(registry, args.team, _found(registry, args), verdict, utc_now())
    registry.publish()
    print(f"{rollout.id}: {rollout.state}")
    return 0
