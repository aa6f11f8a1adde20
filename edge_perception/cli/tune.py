"""``edge-perception tune``: measures how the models run best here and writes the device plan."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edge_perception.core.errors import ConfigurationError

if TYPE_CHECKING:
    from edge_perception.evaluation.recorded import RecordedFrame
    from edge_perception.models.manifest import Bundle

NAME = "tune"
HELP = "measure runtimes, precisions and threads; write device_plan.yaml"
_FRAMES = 60
_LABELLED = 40  # frames of all recordings, evenly


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
        "--cheaper-loss",
        type=float,
        default=5.0,
        metavar="POINTS",
        help="points of mAP that a cheaper model for load control may cost (%(default)s)",
    )
    parser.add_argument(
        "--recording",
        "--recordings",
        type=Path,
        action="append",
        default=[],
        metavar="BAG",
        help="measure on frames of this recording, and its accuracy where it has labels; several: "
        "give it again (default: simulated frames)",
    )
    parser.add_argument(
        "--params-file",
        type=Path,
        action="append",
        default=[],
        help="poses and topics of --recording, where they are not beside it",
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
    from edge_perception.optimize.accuracy import (
        mean_average_precision,
        recorded_average_precision,
    )
    from edge_perception.optimize.joules import EnergyMeter
    from edge_perception.optimize.plan import as_json, page, plan_of
    from edge_perception.optimize.tune import Tuner
    from edge_perception.optimize.variants import variants_of_set

    losses = args.allowed_loss >= 0 and args.cheaper_loss >= 0  # NaN is neither
    if not (args.budget_s > 0 and args.frames > 0 and losses):
        raise ConfigurationError(
            "--budget-s, --frames: expected above 0, --allowed-loss, --cheaper-loss: 0 or more"
        )
    if args.params_file and not args.recording:
        raise ConfigurationError("--params-file: is of --recording only; without it nothing reads")
    variants, names = variants_of_set(args.models, with_installed(args.folder))

    for place in filter(None, (args.out, args.json, args.page)):
        check_place(place)
    sources = dict(_sources(text, variants) for text in args.sources)
    cache = args.cache.expanduser()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edge_perception_tune_") as folder:
        frames = Path(folder) / "frames"
        served = {role: found[0] for role, found in variants.items()}
        measured_on = _write_frames(args, served, frames, cache)
        labelled, judged_on = _labelled(args)
        left_s = args.budget_s - (time.monotonic() - began_s)
        found = Tuner(
            variants,
            cores=this_machine().cores,
            budget_s=max(left_s, args.budget_s / 4),  # long recordings take time of their own
            allowed_loss=args.allowed_loss,
            cheaper_loss=args.cheaper_loss,
            sources=sources,
            frames=frames,
            meter=EnergyMeter(),
            accuracy=lambda setting: mean_average_precision(
                setting, frames=args.frames, cache=cache
            ),
            on_recordings=(
                (lambda setting: recorded_average_precision(setting, labelled))
                if labelled
                else None
            ),
            say=lambda text: print(text, flush=True),
        ).run()
    found.measured_on = measured_on
    found.judged_on = (f"{args.frames} simulated frames", *judged_on)
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


def _write_frames(
    args: argparse.Namespace, served: Mapping[str, Bundle], path: Path, cache: Path
) -> str:
    """Write what sets are measured on; return it in words.

    Raises:
        ConfigurationError: a recording cannot be used.
    """
    from edge_perception.models.manifest import FUSION
    from edge_perception.optimize.set_frames import recorded_frames, simulated_frames

    if args.recording:
        frames = recorded_frames(served, args.recording, args.params_file)
    else:
        frames = simulated_frames(served, cache)
    frames.write(path)
    told = frames.told
    without = sorted(role for role in served if role not in frames.by_role and role != FUSION)
    if without:
        told += f"; {', '.join(without)}: the model alone, on golden inputs"
    print(f"measuring on {told}", flush=True)
    return told


def _labelled(args: argparse.Namespace) -> tuple[list[RecordedFrame], list[str]]:
    """Return labelled frames of the recordings, and in words what they are."""
    from edge_perception.evaluation.recorded import RecordedFrames

    frames: list[RecordedFrame] = []
    told = []
    for path in args.recording:
        try:
            labelled = RecordedFrames(path, None, args.params_file)
            found = list(labelled.some(max(1, _LABELLED // len(args.recording))))
        except ConfigurationError as error:
            print(f"accuracy is not measured on it: {error}", flush=True)
            continue
        if labelled.left_out:
            count, first = len(labelled.left_out), labelled.left_out[0]
            print(f"{path}: labelled frames left out: {count}, such as {first}", flush=True)
        if found:
            told.append(f"{len(found)} labelled frames of {path.name}")
            frames += found
        else:
            print(f"{path}: accuracy is not measured on it: no labelled frame can be used")
    return frames, told


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
