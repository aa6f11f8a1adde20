"""``edge-perception starts``: starts and ends nodes at random moments; each must end well."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_perception.faults.starts import Start

NAME = "starts"
HELP = "start and end nodes at random moments: all with 0 and within 2 s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--count", type=int, default=200, help="processes to start")
    parser.add_argument("--seed", type=int, default=0, help="of set-ups, moments and signals")
    parser.add_argument("--out", type=Path, default=Path("starts_out"), help="folder for results")


def run(args: argparse.Namespace) -> int:
    """Run the starts; 1 when one did not end as it should."""
    from edge_perception.faults.starts import run_starts, summary

    args.out.mkdir(parents=True, exist_ok=True)
    figures = summary(run_starts(args.count, seed=args.seed, say=_say))
    path = args.out / "starts.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    took_s = figures["took_s"]
    print(
        f"{figures['passed']} of {figures['starts']} ended with 0 within {figures['limit_s']:g} s, "
        f"{figures['cut']} of them in the middle of a step"
    )
    print(
        f"median {took_s['p50']:.2f} s, 95 % {took_s['p95']:.2f} s, longest {took_s['max']:.2f} s; "
        f"{path}"
    )
    return 0 if figures["passed"] == figures["starts"] else 1


def _say(start: Start) -> None:
    print(
        f"{'ok  ' if start.passed else 'FAIL'} {start.executable} ({start.setup}): "
        f"{' '.join(start.signals)} after {start.after_s:.2f} s, code {start.code} "
        f"in {start.took_s:.2f} s{', in a step' if start.cut else ''}",
        flush=True,
    )
    if start.said:
        print(start.said, flush=True)
