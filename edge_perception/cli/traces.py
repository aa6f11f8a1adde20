"""Sends fused views of a running system to a collector of OpenTelemetry, as traces.

Without `--stamp` it is a node beside the pipeline and ends with Ctrl-C: it sends the views that
are slow, missed their deadline or are not valid, and a share of all others.
"""

from __future__ import annotations

import argparse
import json
import socket

from edge_perception.cli._node_arguments import common_arguments
from edge_perception.cli._numbers import number
from edge_perception.core.errors import ConfigurationError

NAME = "traces"
HELP = "send slow fused views of a running system to a collector of OpenTelemetry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--endpoint",
        default="http://127.0.0.1:4318/v1/traces",
        help="URL of the collector's traces, OTLP over HTTP (%(default)s)",
    )
    parser.add_argument(
        "--slow-ms", type=number(0, 60000), default=0.0, help="send views that took longer; 0: off"
    )
    parser.add_argument(
        "--share", type=number(0, 1), default=0.02, help="of all other views (%(default)s)"
    )
    parser.add_argument("--vehicle", default="", help="its name in traces; default: the host name")
    parser.add_argument("--namespace", default="", help="of the nodes")
    parser.add_argument("--use-sim-time", action="store_true", help="follow /clock")
    parser.add_argument(
        "--stamp", metavar="SEC.NANOSEC", help="print the trace id of a view's stamp, and end"
    )


def run(args: argparse.Namespace) -> int:
    """Send until interrupted, or print an id."""
    if args.stamp is not None:
        from edge_perception.observe.traces.spans import trace_id

        vehicle = args.vehicle or socket.gethostname() or "unknown"
        print(f"{trace_id(_stamp_ns(args.stamp), vehicle):032x}")
        return 0
    from edge_perception.observe.traces.collector import checked_endpoint

    checked_endpoint(args.endpoint)  # here, not by a node that goes on without: nobody waits for it
    from edge_perception.observe.traces.node import run_node

    run_node(_ros_arguments(args))
    raise AssertionError("the node ends the process")


def _stamp_ns(text: str) -> int:
    whole, _, part = text.partition(".")
    if not whole.isdecimal() or not (part or "0").isdecimal() or len(part) > 9:
        raise ConfigurationError(f"--stamp: expected seconds such as 12.345678901, got '{text}'")
    return int(whole) * 1_000_000_000 + int(part.ljust(9, "0"))


def _ros_arguments(args: argparse.Namespace) -> list[str]:
    arguments = ["--ros-args"]
    for name in ("slow_ms", "share"):
        arguments += ["-p", f"{name}:={float(getattr(args, name))}"]
    for name in ("endpoint", "vehicle"):
        arguments += ["-p", f"{name}:={json.dumps(getattr(args, name))}"]
    return arguments + common_arguments(args)
