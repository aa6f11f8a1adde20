"""``edge-perception profile``: where the time goes in running nodes, and inside their models.

Listens to the features and fused views of nodes that run already, and changes nothing in them.
`trace.json` opens in Perfetto (ui.perfetto.dev): a track for each source with receive, queue,
preprocess, inference and postprocess of every frame, and a track for fusion. `operators.txt` is
ONNX Runtime's operator profile of the models in use, run here on zeros.
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "profile"
HELP = "trace running nodes for Perfetto, and profile the operators of their models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=Path("profile_out"), help="folder for results")
    parser.add_argument("--duration", type=float, default=10.0, metavar="S", help="seconds")
    parser.add_argument("--namespace", default="", help="namespace of the nodes")
    parser.add_argument(
        "--model-folders", nargs="*", default=[], help="where models are, before the installed ones"
    )
    parser.add_argument("--runs", type=int, default=20, help="runs of each model; 0: none")


def run(args: argparse.Namespace) -> int:
    """Record, write trace and tables, and say what takes the time."""
    from edge_perception.observe.profiling.operators import operator_table
    from edge_perception.observe.profiling.recorder import record
    from edge_perception.observe.profiling.trace import bottlenecks, trace_of

    recording = record(duration_s=args.duration, namespace=args.namespace)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "trace.json").write_text(trace_of(recording), encoding="utf-8")
    print(f"{len(recording.features)} features, {len(recording.views)} fused views")
    for line in bottlenecks(recording):
        print(line)
    tables = [
        operator_table(name, args.model_folders, runs=args.runs)
        for name in recording.model_names()
        if args.runs
    ]
    (args.out / "operators.txt").write_text("\n".join(tables), encoding="utf-8")
    print(f"written: {args.out / 'trace.json'}, {args.out / 'operators.txt'}")
    return 0 if recording.features or recording.views else 1
