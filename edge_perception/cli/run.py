"""`edge-perception run`: all nodes in one process, where `ros2 launch` is missing."""

from __future__ import annotations

import argparse
import os
import sys

from edge_perception.transport import transport_environment

NAME = "run"
HELP = "run all nodes in one process"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; they are those of launch/perception.launch.py."""
    parser.add_argument("--params-file", action="append", default=[], help="parameter YAML")
    parser.add_argument("--namespace", default="", help="namespace of all nodes")
    parser.add_argument("--use-sim-time", action="store_true", help="follow /clock")
    parser.add_argument("--log-level", default="info", help="debug, info, warn, error or fatal")
    parser.add_argument(
        "--sources", default="", help="names, comma-separated; default: of the parameter file"
    )


def run(args: argparse.Namespace) -> int:
    """Replace this process by the composed nodes; the allocator's settings need a fresh one."""
    arguments = ["--ros-args", "--log-level", args.log_level]
    for file in args.params_file:
        arguments += ["--params-file", file]
    if args.namespace:
        arguments += ["-r", f"__ns:=/{args.namespace.strip('/')}"]
    if args.use_sim_time:
        arguments += ["-p", "use_sim_time:=true"]
    if args.sources:
        # Only fusion has this parameter. With the node's name in front it would hold in the root
        # namespace alone.
        arguments += ["-p", f"sources:=[{args.sources}]"]
    command = [sys.executable, "-m", "edge_perception.nodes.composition", *arguments]
    environment = {**os.environ, **transport_environment(dict(os.environ))}
    os.execve(sys.executable, command, environment)
    raise AssertionError("execve returned")
