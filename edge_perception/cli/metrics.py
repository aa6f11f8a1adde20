"""Serves metrics of a running system for Prometheus on loopback, or writes what goes with them.

Without an option it is a node beside the pipeline and ends with Ctrl-C. docs/observing.md has the
list of metrics.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_perception.cli._node_arguments import common_arguments

NAME = "metrics"
HELP = "serve metrics of a running system for Prometheus; write rules and dashboards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--address", default="127.0.0.1", help="IP address to serve at")
    parser.add_argument("--port", type=int, default=9464, help="0: any that is free")
    parser.add_argument("--namespace", default="", help="of the nodes")
    parser.add_argument("--slo", default="", help="SLO file; empty: as config/slo.yaml")
    parser.add_argument("--use-sim-time", action="store_true", help="follow /clock")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print the list of metrics, and end")
    what.add_argument(
        "--write",
        type=Path,
        metavar="FOLDER",
        help="write rules and dashboards, with the limits of the SLO file, and end",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted, or write."""
    from edge_perception.observe.metrics.writing import table, write
    from edge_perception.releases.slo_file import read_slo

    if args.list:
        print(table(), end="")
        return 0
    slo = read_slo(args.slo)
    if args.write is not None:
        for path in write(args.write, slo):
            print(path)
        return 0
    from edge_perception.core.schema import decode
    from edge_perception.observe.metrics.server import checked_address
    from edge_perception.running.node_options import MetricsNodeOptions

    # Here, not by a node that goes on without: nobody waits for it.
    decode(MetricsNodeOptions, {"port": args.port}, "metrics")
    checked_address(args.address)
    from edge_perception.observe.metrics.node import run_node

    run_node(_ros_arguments(args))
    raise AssertionError("the node ends the process")


def _ros_arguments(args: argparse.Namespace) -> list[str]:
    arguments = ["--ros-args", "-p", f"port:={args.port}"]
    for name, value in (("address", args.address), ("slo_file", args.slo)):
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    return arguments + common_arguments(args)
