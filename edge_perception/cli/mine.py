"""``edge-perception mine``: kept moments for a labelling tool, and the labels back.

`export` writes images, sweeps and pre-labels (COCO and nuScenes-like) of what `record` kept; `take`
turns edited labels into files that `evaluate --recording` and `validate` read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "mine"
HELP = "export kept moments with pre-labels, and take the labels back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    export = steps.add_parser("export", help="images, sweeps and pre-labels of kept moments")
    export.add_argument(
        "events", type=Path, nargs="+", help="folder of `record`, or single files of it"
    )
    export.add_argument("--out", type=Path, required=True, help="folder of the set")
    export.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    take = steps.add_parser("take", help="labels back, beside the recordings they are of")
    take.add_argument("labels", type=Path, help="coco.json or nuscenes.json after editing")
    take.add_argument("--set", type=Path, help="folder of the export (that of the labels)")


def run(args: argparse.Namespace) -> int:
    """Do one step; 1: nothing was exported, or something was left out."""
    return _export(args) if args.step == "export" else _take(args)


def _export(args: argparse.Namespace) -> int:
    from edge_perception.core.errors import EdgePerceptionError
    from edge_perception.evaluation.mining import MinedSet, recordings_in

    paths = list(recordings_in(args.events))
    mined, count = MinedSet(args.out), 0
    for path in paths:
        try:
            found = mined.add(path, args.params_file)
        except EdgePerceptionError as error:  # one file of many
            mined.left_out.append(str(error))
            continue
        count += found
        print(f"{path.name}: {found} moments")
    mined.write()
    for text in mined.left_out:
        print(f"left out: {text}")
    print(f"{args.out}: {count} moments, coco.json and nuscenes.json")
    return 0 if count and not mined.left_out else 1


def _take(args: argparse.Namespace) -> int:
    from edge_perception.evaluation.returned import take_back

    left_out = 0
    for path, boxes, lost in take_back(args.labels, args.set or args.labels.parent):
        print(f"{path}: {boxes} boxes")
        for text in lost:
            print(f"  left out: {text}")
        left_out += len(lost)
    return int(left_out > 0)
