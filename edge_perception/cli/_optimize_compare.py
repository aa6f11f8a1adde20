"""`edge-perception optimize compare`: bundles side by side, as the field's tables have them."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from edge_perception.cli._optimize_smaller import (
    judged_by,
    make_judge,
    say,
    split_frames,
    whole_bundle,
)
from edge_perception.cli._optimize_told import repeated, tell
from edge_perception.core.errors import ConfigurationError


def compare(args: argparse.Namespace) -> int:
    """Judge and time bundles in one run."""
    from edge_perception.backends import DEFAULT_BACKEND
    from edge_perception.optimize.bag_frames import FrameStore
    from edge_perception.optimize.candidates import Remembered
    from edge_perception.optimize.comparing import Comparing, check_family
    from edge_perception.optimize.configuration import Configuration
    from edge_perception.optimize.findings import Outcome

    ways, names = [], []
    for text in args.bundle:
        place, _, backend = text.partition("@")
        bundle = whole_bundle(place, args.folder)
        ways.append(Configuration(bundle=bundle, backend=backend or DEFAULT_BACKEND))
        names.append(f"{bundle.manifest.name}{f' on {backend}' if backend else ''}")
    if len(set(names)) < len(names):
        names = list(args.bundle)
    check_family([way.bundle for way in ways], names)
    first: Any = ways[0].bundle
    if not args.judge_bag and not args.simulated:
        raise ConfigurationError("compare: expected --judge-bag or --simulated, got neither")
    outcome = Outcome(step="compare", subject=first.manifest.name, command=repeated())
    with ExitStack() as stack:
        store = stack.enter_context(FrameStore())
        args.bag, args.frames = args.judge_bag, args.judge_frames
        judged = split_frames(store, first, args)[1] if args.judge_bag else []
        judge = make_judge(args, first, store, ([], judged), stack)
        remembered = Remembered(args.work / "remembered.json")
        Comparing(
            ways, names, judge, outcome, say, remembered=remembered, about=judged_by(args)
        ).run(rounds=args.rounds, runs=args.runs)
    return tell(outcome, args)
