"""``edge-perception mine``: doubtful moments, a labelling tool, and the labels back.

`find` keeps of recordings what `record` would have kept on the vehicle; `export` writes images,
sweeps and pre-labels (COCO and nuScenes-like) of kept moments; `take` turns edited labels into
files that `evaluate --recording` and `validate` read; `gather` makes a training set of them that
says of each frame where it is from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_perception.cli._numbers import number, whole

NAME = "mine"
HELP = "doubtful moments: find, export with pre-labels, take labels back, gather a training set"
_BUDGET = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    find = steps.add_parser("find", help="what `record` would have kept of recordings")
    find.add_argument("recordings", type=Path, nargs="+")
    find.add_argument("--out", type=Path, required=True, help="folder of the files")
    find.add_argument("--triggers", default="all", help="comma-separated (%(default)s)")
    find.add_argument("--before", type=number(0, 600), default=1.0, metavar="S")
    find.add_argument("--after", type=number(0, 600), default=1.0, metavar="S")
    find.add_argument(
        "--per-hour",
        type=whole(0, 100_000),
        default=_BUDGET,
        metavar="N",
        help="0: all (%(default)s)",
    )
    find.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    export = steps.add_parser("export", help="images, sweeps and pre-labels of kept moments")
    export.add_argument(
        "events", type=Path, nargs="+", help="folder of `record` or `fleet collect`, or files of it"
    )
    export.add_argument("--out", type=Path, required=True, help="folder of the set")
    export.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    take = steps.add_parser("take", help="labels back, beside the recordings they are of")
    take.add_argument("labels", type=Path, help="coco.json or nuscenes.json after editing")
    take.add_argument("--set", type=Path, help="folder of the export (that of the labels)")
    take.add_argument("--by", default="", metavar="NAME", help="who looked at them")
    gather = steps.add_parser("gather", help="a training set of labelled recordings")
    gather.add_argument("events", type=Path, nargs="+", help="as of export")
    gather.add_argument("--out", type=Path, default=Path("training_set.json"), help="(%(default)s)")
    gather.add_argument(
        "--held-out", type=number(0, 1), default=0.3, help="share not trained on (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Do one step; 1: nothing was made, or something was left out."""
    return {"find": _find, "export": _export, "take": _take, "gather": _gather}[args.step](args)


def _find(args: argparse.Namespace) -> int:
    from edge_perception.core.schema import decode
    from edge_perception.evaluation.moments import find_moments
    from edge_perception.recordings.budget import BudgetOptions
    from edge_perception.recordings.ring import RingOptions
    from edge_perception.recordings.triggers import KINDS, TriggerOptions

    ring = decode(RingOptions, {"before_s": args.before, "after_s": args.after}, "mine find")
    asked = tuple(filter(None, args.triggers.split(",")))
    triggers = TriggerOptions(kinds=KINDS if asked == ("all",) else asked)
    count = 0
    for path in args.recordings:
        found = find_moments(
            path,
            args.out,
            ring=ring,
            triggers=triggers,
            budget=BudgetOptions(per_hour=args.per_hour),
            params_files=args.params_file,
        )
        count += len(found)
        for file in found:
            print(f"{path.name}: {file.name}")
    print(f"{args.out}: {count} files")
    return 0 if count else 1


def _export(args: argparse.Namespace) -> int:
    from edge_perception.evaluation.mining import MinedSet, recordings_in

    paths = list(recordings_in(args.events))
    mined, count = MinedSet(args.out), 0
    for path in paths:
        if found := mined.add_if_usable(path, args.params_file):
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
    folder = args.set or args.labels.parent
    for path, boxes, lost in take_back(args.labels, folder, labelled_by=args.by):
        print(f"{path}: {boxes} boxes")
        for text in lost:
            print(f"  left out: {text}")
        left_out += len(lost)
    return int(left_out > 0)


def _gather(args: argparse.Namespace) -> int:
    from edge_perception.evaluation.mining import recordings_in
    from edge_perception.evaluation.training_set import HELD_OUT, TRAIN, gather

    found, left_out = gather(list(recordings_in(args.events)), args.out, held_out=args.held_out)
    for text in left_out:
        print(f"left out: {text}")
    for part in (TRAIN, HELD_OUT):
        rows = found.of(part)
        groups = len({row.group for row in rows})
        print(f"{part:9} {found.frames(part)} frames of {len(rows)} recordings in {groups} groups")
    print(f"{args.out}: {found.digest}")
    return 1 if left_out else 0
