"""``edge-perception doctor``: why a running system gives no output, with the line to change."""

from __future__ import annotations

import argparse

from edge_perception.cli._numbers import number, whole
from edge_perception.core.ros_names import namespace_prefix

NAME = "doctor"
TRANSPORT = True
HELP = "say why there is no output: watches a running system from outside"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--domain", type=whole(0, 232), help="ROS domain (default: ROS_DOMAIN_ID)")
    parser.add_argument("--namespace", default="", help="namespace of the nodes")
    parser.add_argument(
        "--watch", type=number(0.1, 3600), default=3.0, metavar="S", help="how long to watch"
    )


def run(args: argparse.Namespace) -> int:
    """Watch and print; 1 when something is wrong."""
    from edge_perception.observe.doctor.observe import observe
    from edge_perception.observe.doctor.rules import causes

    namespace = namespace_prefix(args.namespace)
    seen = observe(domain_id=args.domain, namespace=namespace, watch_s=args.watch)
    print(
        f"domain {seen.domain_id}"
        + (f", namespace {seen.namespace}" if seen.namespace else "")
        + f": {len(seen.nodes)} nodes, {len(seen.inputs)} inputs, "
        f"{seen.fused} fused messages in {seen.watched_s:g} s, {seen.fused_valid} of them valid"
    )
    found = causes(seen)
    for cause in found:
        print(f"\n{cause.code}: {cause.text}\n    change: {cause.fix}")
    warnings = [
        f"{name}: {status.message}"
        for name, status in sorted(seen.diagnostics.items())
        if status.level and f"/{name}" in seen.states
    ]
    if not found:
        for text in warnings:
            print(f"warning of {text}")
        print("nothing wrong found" if not warnings else "no fault found, but the warnings above")
    return 1 if found else 0
