"""``edge-perception tune``: measures how the models run best here and writes the device plan."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Container
from pathlib import Path

from edge_perception.core.errors import ConfigurationError

NAME = "tune"
HELP = "measure runtimes, precisions and threads; write device_plan.yaml"
_FRAMES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--models", default="bev_lite", help="set of bundles that is served (%(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more folders of bundles"
    )
    parser.add_argument(
        "--budget-s",
        type=float,
        default=120.0,
        help="for all of it: ways alone, in the set, and the choice at the end (%(default)s)",
    )
    parser.add_argument(
        "--allowed-loss",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="points of mAP that the plan may cost (%(default)s)",
    )
    parser.add_argument(
        "--sources",
        action="append",
        default=[],
        metavar="ROLE=N",
        help="so many sources of a role in one process, such as camera=2: their frames may run "
        "together",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=_FRAMES,
        help="simulated frames that accuracy is measured on (%(default)s)",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("~/.cache/edge_perception/evaluation"),
        help="folder for rendered frames (%(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("device_plan.yaml"), help="the plan (%(default)s)"
    )
    parser.add_argument("--json", type=Path, help="file for everything that was measured")
    parser.add_argument("--page", type=Path, help="the same as an HTML page")


def run(args: argparse.Namespace) -> int:
    """Measure, choose, write."""
    from edge_perception.core.machine import this_machine
    from edge_perception.core.whole_file import check_place, write_whole
    from edge_perception.models.device_plan import write_device_plan
    from edge_perception.models.folders import with_installed
    from edge_perception.optimize.accuracy import mean_average_precision
    from edge_perception.optimize.plan import as_json, page, plan_of
    from edge_perception.optimize.tune import Tuner
    from edge_perception.optimize.variants import variants_of_set

    if not (args.budget_s > 0 and args.frames > 0 and args.allowed_loss >= 0):  # NaN is neither
        raise ConfigurationError(
            "--budget-s, --frames: expected above 0, --allowed-loss: 0 or more"
        )
    variants, names = variants_of_set(args.models, with_installed(args.folder))

    for place in filter(None, (args.out, args.json, args.page)):
        check_place(place)
    sources = dict(_sources(text, variants) for text in args.sources)
    cache = args.cache.expanduser()
    found = Tuner(
        variants,
        cores=this_machine().cores,
        budget_s=args.budget_s,
        allowed_loss=args.allowed_loss,
        sources=sources,
        accuracy=lambda setting: mean_average_precision(setting, frames=args.frames, cache=cache),
        say=lambda text: print(text, flush=True),
    ).run()
    plan = plan_of(found, names)
    write_device_plan(args.out, plan)
    reports: tuple[tuple[Path | None, Callable[[], str]], ...] = (
        (args.json, lambda: json.dumps(as_json(found, plan), indent=2)),
        (args.page, lambda: page(found, plan)),
    )
    for path, text in reports:
        if path is not None:
            write_whole(path, text().encode())
    loss = (
        "accuracy as before"
        if found.map_loss is None
        else f"{found.map_loss:+.2f} points of mAP lost"
    )
    print(f"{args.out}: {found.gain:.2f} times the sets of the default, {loss}")
    for role, way in found.chosen.items():
        print(f"  {role}: {way.name}")
    if found.out_of_time:
        print(f"  not everything was tried within {args.budget_s:g} s")
    return 0


def _sources(text: str, roles: Container[str]) -> tuple[str, int]:
    """Read ROLE=N.

    Raises:
        ConfigurationError: it is none, or the set has no such role.
    """
    role, _, number = text.partition("=")
    known = role in roles and role != "fusion"
    if not known or not number.isdecimal() or not 0 < int(number) <= 16:
        raise ConfigurationError(
            f"--sources: expected ROLE=N, an encoder of the set and 1 to 16, got '{text}'"
        )
    return role, int(number)
