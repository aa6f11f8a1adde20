"""``edge-perception faults``: every fault of the matrix, what was expected and what was seen."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

NAME = "faults"
HELP = "run the fault matrix: detection, recovery, gaps and wrong OK of every fault"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=Path("faults_out"), help="folder for results")
    parser.add_argument(
        "--layer",
        choices=("virtual", "nodes", "all"),
        default="all",
        help="virtual: the logic in virtual time; nodes: real processes over DDS",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains it")
    parser.add_argument(
        "--clean-minutes", type=float, default=30.0, help="virtual minutes without a fault"
    )
    parser.add_argument(
        "--kill-minutes", type=float, default=1.0, help="minutes of random kill -9 of encoders"
    )


def run(args: argparse.Namespace) -> int:
    """Run the rows; 1 when one is not as expected."""
    from edge_perception.faults.matrix import clean_run, rows, run_virtual
    from edge_perception.faults.report import draw, table, write_json

    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results, passed = [], True
    extra: dict[str, Any] = {}
    kills: dict[str, Any] | None = None
    if args.layer != "nodes":
        print("virtual time: the logic with every fault", flush=True)
        results += [run_virtual(row) for row in rows() if args.only in row.name]
        alarms, minutes, gap_s = clean_run(args.clean_minutes)
        extra["clean"] = {"minutes": minutes, "false_alarms": alarms, "longest_gap_s": gap_s}
        passed &= alarms == 0
        print(f"{minutes:g} minutes without a fault: {alarms} false alarms", flush=True)
    if args.layer != "virtual":
        from edge_perception.faults.nodes import run_nodes

        print("real nodes over DDS", flush=True)
        real, kills = run_nodes(args.out, only=args.only, kill_minutes=args.kill_minutes)
        results += real
        extra["kills"] = kills
        passed &= kills is None or kills["availability"] >= 0.999
    print(table(results))
    if kills:
        print(
            f"{kills['kills']} random kills in {kills['minutes']:g} minutes: availability "
            f"{kills['availability']:.3%}, wanted 99.9 %; longest gap {kills['longest_gap_s']} s"
        )
    extra["took_s"] = round(time.monotonic() - began, 1)
    write_json(args.out / "matrix.json", results, extra)
    draw(args.out / "timeline.png", results)
    failed = [item for item in results if not item.passed]
    print(
        f"{len(results) - len(failed)} of {len(results)} as expected in {extra['took_s']} s; "
        f"{args.out / 'matrix.json'}, {args.out / 'timeline.png'}"
    )
    return 1 if failed or not passed else 0
