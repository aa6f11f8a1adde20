"""``edge-perception drift``: reference statistics of good drives, and drives held against them.

`reference` makes one file a source from recordings; `attach` puts one into a copy of a bundle;
`check` lets a recording pass the vehicle's encoders and says what has shifted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "drift"
HELP = "reference statistics from recordings, and what has shifted since"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    reference = steps.add_parser("reference", help="make references from recordings of good drives")
    reference.add_argument("bags", type=Path, nargs="+", metavar="BAG")
    reference.add_argument("--out", type=Path, default=Path("drift_references"), help="folder")
    reference.add_argument(
        "--latency",
        action="store_true",
        help="latencies too: this machine is the vehicle's and has nothing else to do",
    )
    check = steps.add_parser("check", help="hold a recording against references")
    check.add_argument("bags", type=Path, nargs="+", metavar="BAG")
    check.add_argument(
        "--reference", type=Path, action="append", default=[], metavar="FILE", help="repeatable"
    )
    check.add_argument(
        "--page", type=Path, metavar="FILE", help="write what was seen as a page of HTML"
    )
    for step in (reference, check):
        step.add_argument(
            "--params-file", type=Path, action="append", default=[], help="repeatable"
        )
    attach = steps.add_parser("attach", help="put a reference into a copy of a bundle")
    attach.add_argument("bundle", type=Path)
    attach.add_argument("reference", type=Path)
    attach.add_argument("--out", type=Path, required=True, help="folder of the new bundle")


def run(args: argparse.Namespace) -> int:
    """Do one step; 1: no reference made, a source that drifted, or one that cannot be judged."""
    return {"reference": _reference, "check": _check, "attach": _attach}[args.step](args)


def _reference(args: argparse.Namespace) -> int:
    from edge_perception.observe.drift.making import make_references
    from edge_perception.observe.drift.writing import write_references

    made = make_references(args.bags, params_files=args.params_file, with_latency=args.latency)
    return write_references(made, args.out)


def _attach(args: argparse.Namespace) -> int:
    from edge_perception.observe.drift.attaching import attach

    bundle = attach(args.bundle, args.reference, args.out)
    print(
        f"{args.out}: {bundle.manifest.name} {bundle.manifest.version} with its reference; unsigned"
    )
    return 0


def _check(args: argparse.Namespace) -> int:
    from edge_perception.observe.drift.making import held_against

    good, pages = True, []
    for path in args.bags:
        print(path)
        found = list(held_against(path, args.params_file, args.reference))
        pages.append((str(path), found))
        for held in found:
            drift = held.said["drift"]
            print(
                f"  {held.source}: conditions {held.said['conditions']}; drift at the end: {drift}"
            )
            if not_judged := held.said.get("drift_not_judged"):
                print(f"    not judged, too few samples: {not_judged}")
            for line in held.findings:
                print(f"    {line}")
        if not any(held.judged for held in found):
            print("  drift of no source is known")
            good = False
        good = good and all(held.good for held in found)
    if args.page is not None:
        from edge_perception.observe.drift.page import write_drift_page

        write_drift_page(args.page, pages)
        print(args.page)
    return int(not good)
