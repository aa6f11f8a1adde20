"""Replays recordings through the vehicle's own code in lock step and compares with a baseline.

Exit status: 0 passed, 1 a threshold failed, 2 wrong usage or input, which is also a recording of
which a part did not arrive: a verdict would hold for the rest only.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_perception.core.ros_names import namespace_prefix

if TYPE_CHECKING:
    from edge_perception.validation.result import BagResult, ValidationOptions
    from edge_perception.validation.settings import ReplaySettings
    from edge_perception.validation.thresholds import Thresholds

NAME = "validate"
_MOST_TOLD = 10
HELP = "replay recordings in lock step and compare with a baseline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help=".mcap, .db3 or folder")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder for the reports")
    parser.add_argument("--baseline", type=Path, metavar="REF", help="folder of baselines")
    parser.add_argument(
        "--update-baseline", action="store_true", help="write the result there instead"
    )
    parser.add_argument(
        "--thresholds", type=Path, help="YAML, or the result.json of an earlier run"
    )
    parser.add_argument(
        "--slo", metavar="FILE", help="the operator's objectives as limits; '': config/slo.yaml"
    )
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument(
        "--namespace", help="of the nodes; default: the one that the parameter files speak of"
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        metavar="FILE",
        help="labels (default: BAG.ground_truth.yaml or .json beside it, or those inside it)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NODE.PARAM=VALUE", help="one parameter"
    )
    parser.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="topic or namespace/"
    )
    parser.add_argument(
        "--latency",
        default="zero",
        help="zero, fixed:30ms, fixed:camera=45ms,fusion=5ms or measured:latency.json",
    )
    parser.add_argument(
        "--jobs", type=int, help="processes at a time, one core each; all cores by default"
    )
    parser.add_argument(
        "--segment",
        type=float,
        metavar="S",
        help="cut recordings; default: an eighth, 10 to 60 s; 0: do not",
    )
    parser.add_argument(
        "--warm-up", type=float, default=5.0, metavar="S", help="replayed before a segment"
    )
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="run on Ray; local: here")
    parser.add_argument(
        "--live",
        choices=("strict", "tolerant"),
        help="also play into the real nodes over ROS and compare; strict: a drop fails",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")
    _add_what_ifs(parser)


def _add_what_ifs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what if")
    for name, form, text in (
        ("drop", "lidar:10-15", "silence topics (s of the recording)"),
        ("delay", "camera:120ms", "messages arrive later"),
        ("shift", "lidar:20ms", "stamps are later"),
        ("lose", "lidar:7.5s", "lose the first message from a moment on"),
        ("noise", "lidar:0.05", "camera: grey values, lidar: m, audio: full scale"),
        ("swap", "release@12s", "change models on the way; role=bundle@12s for one"),
    ):
        group.add_argument(
            f"--{name}", action="append", default=[], metavar=form, help=f"{text}; repeatable"
        )
    group.add_argument("--fog", type=float, default=0.0, help="0: clear, 1: visibility 50 m")
    group.add_argument("--subset", default="", metavar="camera,lidar", help="only these sources")
    group.add_argument("--seed", type=int, default=0, help="of noise and fog")
    group.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=V1|V2",
        help="run once a value of an option above or of a node.parameter; several make a grid",
    )


def run(args: argparse.Namespace) -> int:
    """Validate, and say what was found."""
    from edge_perception.core.errors import ConfigurationError
    from edge_perception.validation.jobs import usable_cores
    from edge_perception.validation.output import output_folder
    from edge_perception.validation.reports import discard_reports
    from edge_perception.validation.result import ValidationOptions

    if args.update_baseline and args.baseline is None:
        raise ConfigurationError("--update-baseline: expected --baseline REF to write to")
    if args.jobs is not None and args.jobs < 1:
        raise ConfigurationError(f"--jobs: expected at least 1, got {args.jobs}")
    options = ValidationOptions(
        out=args.out,
        baseline=args.baseline,
        update_baseline=args.update_baseline,
        thresholds=_thresholds(args),
        jobs=args.jobs or usable_cores(),
        ray=args.ray,
    )
    namespace_prefix(args.namespace or "")
    names = dict(_named_settings(args))
    with output_folder(args.out):
        discard_reports(args.out)
        try:
            return _validate(args, options, names)
        except OSError:
            with contextlib.suppress(OSError):
                discard_reports(args.out)  # half of them would tell half of it
            raise


def _validate(
    args: argparse.Namespace, options: ValidationOptions, names: dict[str, ReplaySettings]
) -> int:
    import time

    from edge_perception.validation.bags import run_bags
    from edge_perception.validation.live_findings import add_live
    from edge_perception.validation.reports import write_reports

    started = time.monotonic()
    results = run_bags(names, options, _quiet if args.quiet else _say)
    if all(result.failure for result in results):
        for result in results:
            print(f"edge-perception: {result.name}: {result.failure}", file=sys.stderr)
        return _status(results)
    if args.live:
        for result in results:
            if not result.failure:
                add_live(result, args.live)
    write_reports(results, args.out, started=started, points=_points(args) if args.sweep else None)
    _tell(results, args.out)
    return _status(results)


def _status(results: Sequence[BagResult]) -> int:
    """Return the exit status: 2 where a recording could not be read, or not all of it."""
    if any(result.incomplete or (result.failure and result.usage) for result in results):
        return 2
    return 0 if all(result.passed for result in results) else 1


def _thresholds(args: argparse.Namespace) -> Thresholds:
    from edge_perception.releases.slo_file import read_slo
    from edge_perception.validation.thresholds import read_thresholds, with_slo

    thresholds = read_thresholds(args.thresholds)
    return thresholds if args.slo is None else with_slo(thresholds, read_slo(args.slo))


def _named_settings(args: argparse.Namespace) -> Iterator[tuple[str, ReplaySettings]]:
    names: set[str] = set()
    for bag in args.bags:
        for point in _points(args):
            label = "_".join(f"{key.split('.')[-1]}={value}" for key, value in point.items())
            name = "_".join(filter(None, (bag.stem, _safe(label))))
            while name in names:
                name += "_"
            names.add(name)
            yield name, _settings(args, bag, point)


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "=.-,@" else "-" for c in text)


def _points(args: argparse.Namespace) -> list[dict[str, str]]:
    """Return the points of the grid that --sweep spans."""
    from edge_perception.core.errors import ConfigurationError

    axes = []
    for text in args.sweep:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigurationError(f"sweep: expected name=value|value, got '{text}'")
        axes.append([(name, value) for value in values.split("|")])
    return [dict(point) for point in itertools.product(*axes)]


def _settings(args: argparse.Namespace, bag: Path, point: dict[str, str]) -> ReplaySettings:
    from edge_perception.core.errors import ConfigurationError
    from edge_perception.running.ros_yaml import parse_value
    from edge_perception.validation.settings import ReplaySettings

    lists = ("drop", "delay", "shift", "lose", "noise", "swap")
    values: dict[str, Any] = {name: list(getattr(args, name)) for name in lists}
    values |= {"fog": args.fog, "latency": args.latency, "subset": args.subset}
    overrides = {}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"set: expected node.parameter=value, got '{text}'")
        overrides[name] = parse_value(value, name)
    for name, value in point.items():
        if name in lists:
            values[name] = [*values[name], *([value] if value else [])]
        elif name == "fog":
            values[name] = _float(value, name)
        elif name in values:
            values[name] = value
        elif "." in name:
            overrides[name] = parse_value(value, name)
        else:
            known = ", ".join((*lists, "fog", "latency", "subset"))
            raise ConfigurationError(
                f"sweep: expected one of {known} or a node.parameter, got '{name}'"
            )
    subset = tuple(filter(None, (part.strip() for part in values.pop("subset").split(","))))
    return ReplaySettings(
        bag=str(bag),
        params_files=tuple(map(str, args.params_file)),
        ground_truth=str(args.ground_truth or ""),
        namespace=args.namespace,
        overrides=overrides,
        remaps=tuple(args.remap),
        subset=subset,
        seed=args.seed,
        segment_s=args.segment,
        warm_up_s=args.warm_up,
        fog=values["fog"],
        latency=values["latency"],
        **{name: tuple(values[name]) for name in lists},
    )


def _float(text: str, name: str) -> float:
    from edge_perception.core.errors import ConfigurationError

    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"sweep: {name}: expected a number, got '{text}'") from None


def _say(text: str) -> None:
    print(text, flush=True)


def _quiet(_text: str) -> None:
    pass


def _tell(results: Sequence[BagResult], out: Path) -> None:
    from edge_perception.validation.accounting import lines

    for result in results:
        if result.failure:
            print(f"edge-perception: {result.name}: {result.failure}", file=sys.stderr)
            continue
        account = result.account
        for text in result.incomplete[:_MOST_TOLD]:
            print(f"edge-perception: {result.name}: not all arrived: {text}", file=sys.stderr)
        print(f"{result.name}: {'PASSED' if result.passed else 'FAILED'}")
        ratio = result.throughput_ratio
        print(
            f"  {account['outputs']} messages, sha256 {account['sha256']}\n"
            f"  replayed in {account['wall_s']:.1f} s"
            + (f", {ratio:.2f} of the models in a loop" if ratio else "")
            + f", peak {account['peak_mb']:.0f} MB"
        )
        for line in lines(account["topics"]):
            print(f"  {line}")
        for note in account["notes"]:
            print(f"  note: {note}")
        for finding in sorted(result.findings, key=lambda f: not f.failed)[:30]:
            print(f"  {'FAILED ' if finding.failed else ''}{finding.line()}")
        if len(result.findings) > 30:
            print(f"  and {len(result.findings) - 30} more in {out}/result.json")
    print(f"report: {out / 'index.html'}")
