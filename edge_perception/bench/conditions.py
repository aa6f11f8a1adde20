"""Which conditions are told of drives in each light, weather and with dirt or drops on the lens.

Drives of the simulator that no threshold was chosen on, looked at as the encoders do, every 0.2 s;
and, where they are at hand, single real frames of a clear day. Right is what is told when a drive
ends; false is what is told at any time and is not there. How well models see in these conditions is
told by `edge-perception evaluate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, say

NAME = "conditions"
HELP = "light, weather and lens of simulated drives: told, and told without a reason"
_SECONDS = 14.0
_DRIVES, _QUICK_DRIVES = 4, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)
    parser.add_argument(
        "--drives", type=int, help=f"of each kind ({_DRIVES}, quick: {_QUICK_DRIVES})"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print and save; what is told is not judged."""
    from edge_perception.bench._condition_drives import FIRST_SEED, Told, drives, real_frames
    from edge_perception.samples.data import data_folder
    from edge_perception.samples.pandaset import has_pandaset, load_pandaset

    count = args.drives or (_QUICK_DRIVES if args.quick else _DRIVES)
    found: list[Told] = []
    for told in drives(range(FIRST_SEED, FIRST_SEED + count), _SECONDS):
        found.append(told)
        say(f"{told.name}: {', '.join(sorted(told.end)) or 'nothing'}")
    data = data_folder()
    if data is not None and has_pandaset(data):
        found += real_frames(load_pandaset(data))
    result = {
        "benchmark": NAME,
        "machine": machine(),
        "summary": summarise(found),
        "drives": [
            {"name": told.name, "holds": sorted(told.holds), "end": sorted(told.end),
             "ever": sorted(told.ever)}
            for told in found
        ],
    }  # fmt: skip
    deliver(result, args)
    return 0


def summarise(found: Sequence[Any]) -> dict[str, Any]:
    """Return by condition and by kind of drive what was right, and what was told without reason.

    Args:
        found: `Told` of each drive.
    """
    conditions = sorted(set().union(*(told.holds for told in found)))
    told_of = {
        name: _share([name in told.end for told in found if name in told.holds])
        for name in conditions
    }
    kinds = dict.fromkeys(told.name for told in found)
    return {
        "told": told_of,
        "right": {
            kind: _share([told.end == told.holds for told in found if told.name == kind])
            for kind in kinds
        },
        "false": {
            name: sum(name in told.false for told in found)
            for name in sorted(set().union(*(told.false for told in found)))
        },
        "drives": len(found),
    }


def _share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)}"
