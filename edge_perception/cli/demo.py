"""``edge-perception demo``: the whole pipeline on a recording, with pulled sensors and a report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from edge_perception.core.errors import ConfigurationError

NAME = "demo"
HELP = "play a recording into the real nodes, pull sensors, and report in pictures and figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--composed", action="store_true", help="all nodes in one process")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for the results")
    parser.add_argument(
        "--duration",
        type=float,
        metavar="S",
        help="seconds (20, with --observe 40); above that the recording loops",
    )
    parser.add_argument(
        "--observe",
        action="store_true",
        help="metrics, dashboards, a fired and resolved alert and a page of drift as well; LiDAR "
        "is pulled for longer",
    )
    parser.add_argument(
        "--cameras",
        type=int,
        choices=(1, 3),
        default=1,
        help="3: simulated scenes with a camera ahead and one to each side; that to the left is "
        "pulled, then the LiDAR",
    )
    parser.add_argument(
        "--models",
        choices=("reference", "imported"),
        default="reference",
        help="the bundled set, or YOLOX and YAMNet of the data folder with the bundled LiDAR model",
    )
    parser.add_argument(
        "--recording", type=Path, help="an .mcap of record-demo (default: made in the out folder)"
    )
    parser.add_argument(
        "--params-file", type=Path, action="append", default=[], help="more parameters; repeatable"
    )
    parser.add_argument("--domain", type=int, help="ROS_DOMAIN_ID (default: one of its own)")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 when the output was not what a demo must show."""
    from edge_perception.demo.report import write_report
    from edge_perception.demo.session import RECORDING_S, DemoOptions, run_demo

    observer = None
    length_s, cuts = RECORDING_S, None
    if args.cameras > 1 and (args.observe or args.recording or args.models != "reference"):
        raise ConfigurationError(
            "--cameras: has a recording, cuts and models of its own; expected it without "
            "--recording, --observe and --models"
        )
    if args.observe:
        from edge_perception.demo import observed

        observer = observed.DemoObserver(args.out, _say)
        length_s, cuts = observed.DURATION_S, observed.CUTS
    # SIGINT too: a shell starts background jobs with it ignored.
    previous = {n: signal.signal(n, _interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        outcome = run_demo(
            DemoOptions(
                out=args.out,
                composed=args.composed,
                models=args.models,
                duration_s=length_s if args.duration is None else args.duration,
                recording_s=length_s,
                cuts=cuts,
                beside=observer,
                recording=args.recording,
                rig="" if args.cameras == 1 else f"{args.cameras} cameras",
                domain_id=args.domain,
                params_files=tuple(args.params_file),
            ),
            say=_say,
        )
        problems = write_report(outcome, args.out)
        if observer is not None:
            play = outcome.run.play
            problems += observer.write(outcome.recording, outcome.params_files, play)
    except KeyboardInterrupt:
        print("demo: interrupted, nodes ended", file=sys.stderr)
        return 130
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    for problem in problems:
        print(f"NOT AS EXPECTED: {problem}", file=sys.stderr)
    if problems:
        print(_machine(), file=sys.stderr)
    return 1 if problems else 0


def _machine() -> str:
    """Say how busy the machine is: what came late may be its fault, and not the pipeline's."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    busy = ": busy with other work too" if load > 2.0 * cores else ""
    return f"machine: load average {load:.1f} of the last minute, {cores} cores{busy}"


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
