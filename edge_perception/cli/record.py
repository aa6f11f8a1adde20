"""Records the seconds around events: mode changes, uncertainty, disagreement, swaps, load.

A ring buffer holds the last seconds of the sensors and of the fused view. An event writes them and
the seconds after it to a file of its own; files are never half-written and stay below a quota.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import number, whole

NAME = "record"
HELP = "record the seconds around events into files (ring buffer, quota)"

TRANSPORT = True
FUSED = "/perception/fused"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=Path("events"), help="folder of the files")
    parser.add_argument("--before", type=float, default=5.0, metavar="S", help="before an event")
    parser.add_argument("--after", type=float, default=5.0, metavar="S", help="after it")
    parser.add_argument("--memory", type=float, default=512.0, metavar="MB", help="of the ring")
    parser.add_argument("--quota", type=float, default=4096.0, metavar="MB", help="of the folder")
    parser.add_argument(
        "--triggers",
        default="mode,uncertainty,disagreement,swap,load",
        help="comma-separated; more for labelling: entropy, margin, doubt, nearmiss, condition, "
        "drift, trial; all: everything (%(default)s)",
    )
    parser.add_argument(
        "--per-hour",
        type=whole(0, 100_000),
        default=0,
        metavar="N",
        help="events an hour, of which each kind that had none keeps one; 0: all",
    )
    parser.add_argument(
        "--per-kind", type=whole(0, 100_000), default=0, metavar="N", help="events of one kind"
    )
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument("--namespace", default="", help="of the nodes")
    parser.add_argument("--topics", nargs="+", default=[], help="more topics, by name")
    parser.add_argument(
        "--duration", type=number(0, 1e9), default=0.0, metavar="S", help="0: until ended"
    )


def run(args: argparse.Namespace) -> int:
    """Record until interrupted."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from edge_perception.nodes.recorder.node import EventRecorderNode
    from edge_perception.nodes.recorder.plan import RecordPlan
    from edge_perception.recordings.budget import BudgetOptions

    plan = RecordPlan.of(
        params_files=args.params_file, namespace=args.namespace, topics=tuple(args.topics)
    )
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    stopped: list[int] = []
    previous = {
        number: signal.signal(number, lambda *_: stopped.append(1))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    node: Any = None
    try:
        budget = BudgetOptions(per_hour=args.per_hour, per_kind=args.per_kind)
        node = EventRecorderNode(
            plan, _ring(args), _triggers(args), args.out, budget=budget, context=context
        )
        print(f"recording events to {args.out}: {', '.join(plan.names)}", flush=True)
        node.spin(until=lambda: bool(stopped), duration_s=args.duration)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if node is not None:
            node.close()
        context.try_shutdown()
    print(f"{len(node.recorder.files)} files in {args.out}")
    return 0


def _ring(args: argparse.Namespace) -> Any:
    from edge_perception.core.schema import decode
    from edge_perception.recordings.ring import RingOptions

    values = {
        "before_s": args.before,
        "after_s": args.after,
        "memory_mb": args.memory,
        "quota_mb": args.quota,
    }
    return decode(RingOptions, values, "record")


def _triggers(args: argparse.Namespace) -> Any:
    from edge_perception.recordings.triggers import KINDS, TriggerOptions

    asked = tuple(filter(None, args.triggers.split(",")))
    return TriggerOptions(kinds=KINDS if asked == ("all",) else asked)
