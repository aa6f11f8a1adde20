"""``edge-perception profile``: where the time goes in running nodes, and inside their models.

Listens to the features and fused views of nodes that run already, and changes nothing in them.
`trace.json` opens in Perfetto (ui.perfetto.dev): a track for each source with receive, queue,
preprocess, inference and postprocess of every frame, and a track for fusion. `operators.txt` is
the operator profile of the models, loaded here as the nodes have them (asked of them, or by
`--params-file`): release, device plan, backend, provider, precision and threads; on the frames of
`--recording` as the nodes would get them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_perception.cli._numbers import number, whole

NAME = "profile"
HELP = "trace running nodes for Perfetto, and profile the operators of their models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=Path("profile_out"), help="folder for results")
    parser.add_argument(
        "--duration",
        type=number(0, 86400),
        default=10.0,
        metavar="S",
        help="seconds; 0: no node is listened to, the models of the parameter files are profiled",
    )
    parser.add_argument("--namespace", default="", help="namespace of the nodes")
    parser.add_argument(
        "--recording", type=Path, metavar="BAG", help="inputs of the models; default: zeros"
    )
    parser.add_argument(
        "--params-file",
        type=Path,
        action="append",
        default=[],
        help="of the vehicle, where no nodes run; repeatable",
    )
    parser.add_argument(
        "--runs", type=whole(0, 10_000), default=20, help="runs of each model; 0: none"
    )


def run(args: argparse.Namespace) -> int:
    """Record, write trace and tables, and say what takes the time."""
    args.out.mkdir(parents=True, exist_ok=True)
    asked, heard = _listened(args) if args.duration else ({}, True)
    if args.runs:
        _profiled(args, asked)
    return 0 if heard else 1


def _listened(args: argparse.Namespace) -> tuple[dict[str, object], bool]:
    from edge_perception.observe.profiling.recorder import record
    from edge_perception.observe.profiling.trace import bottlenecks, trace_of

    recording, asked = record(duration_s=args.duration, namespace=args.namespace)
    (args.out / "trace.json").write_text(trace_of(recording), encoding="utf-8")
    print(f"{len(recording.features)} features, {len(recording.views)} fused views")
    for line in bottlenecks(recording):
        print(line)
    print(f"written: {args.out / 'trace.json'}")
    return asked, bool(recording.features or recording.views)


def _profiled(args: argparse.Namespace, asked: dict[str, object]) -> None:
    from edge_perception.observe.profiling.operators import operator_tables

    whose = "as the running nodes say" if asked else "of the parameter files: no node was asked"
    tables = operator_tables(
        recording=args.recording,
        params_files=args.params_file,
        asked=asked,
        namespace=args.namespace,
        runs=args.runs,
    )
    text = "\n".join([f"models {whose}\n", *tables])
    (args.out / "operators.txt").write_text(text, encoding="utf-8")
    for line in text.splitlines():
        if (line and not line.startswith("  ")) or line.startswith("  a run"):
            print(line)
    print(f"written: {args.out / 'operators.txt'}")
