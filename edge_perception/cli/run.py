"""`edge-perception run`: all nodes in one process, where `ros2 launch` is missing.

With --supervise each node is a process of its own that is started again when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_perception.cli._node_arguments import common_arguments
from edge_perception.cli._numbers import number, whole
from edge_perception.core.errors import ConfigurationError
from edge_perception.running.ending import SIGNALS, Stage, watch_signals
from edge_perception.running.log_format import FORMATS, TEXT, log_environment
from edge_perception.running.node_parameters import METRICS, RESOURCES, TRACES
from edge_perception.running.plugin_parameters import plugin_parameters
from edge_perception.running.process_plan import choose_sources, store_parameters, topic_remaps
from edge_perception.running.transport import choose_transport, transport_environment

NAME = "run"
HELP = "run all nodes in one process"
OBSERVERS = (METRICS, RESOURCES, TRACES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; they are those of launch/perception.launch.py."""
    parser.add_argument("--params-file", action="append", default=[], help="parameter YAML")
    parser.add_argument("--namespace", default="", help="namespace of all nodes")
    parser.add_argument("--use-sim-time", action="store_true", help="follow /clock")
    parser.add_argument("--log-level", default="info", help="debug, info, warn, error or fatal")
    parser.add_argument(
        "--log-format", choices=FORMATS, default=TEXT, help="of the console: as ROS has it, or JSON"
    )
    parser.add_argument(
        "--sources", default="", help="names, comma-separated; default: of the parameter file"
    )
    parser.add_argument(
        "--model-store", default="", help="folder of releases; default: of the parameter file"
    )
    parser.add_argument(
        "--trust-file", default="", help="trusted keys, without which models cannot be changed"
    )
    parser.add_argument(
        "--supervise",
        action="store_true",
        help="a process for each node, started again when it ends; SIGTERM ends all within 2 s",
    )
    parser.add_argument(
        "--topics",
        default="",
        help="source:=topic, comma-separated; a name with a slash at its end is the namespace of a "
        "driver: camera:=/front/",
    )
    parser.add_argument("--respawn-delay", type=number(0, 3600), default=0.5, help="s")
    parser.add_argument(
        "--respawn-limit",
        type=whole(0, 10_000),
        default=10,
        help="restarts a minute until a node is given up",
    )
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="serve metrics for Prometheus in a process of its own (with --supervise)",
    )
    parser.add_argument(
        "--resources",
        action="store_true",
        help="tell processor, memory, heat and watts of this machine (with --supervise)",
    )
    parser.add_argument(
        "--traces",
        action="store_true",
        help="slow fused views to a collector of OpenTelemetry (with --supervise)",
    )
    parser.add_argument("--log-folder", type=Path, help="a log file a node (with --supervise)")


def run(args: argparse.Namespace) -> int:
    """Replace this process by the composed nodes; the allocator's settings need a fresh one."""
    if args.supervise:
        return _supervise(args)
    for name in OBSERVERS:
        if getattr(args, name):
            raise ConfigurationError(
                f"--{name}: expected with --supervise, as it is a process of its own"
            )
    files = [Path(name) for name in args.params_file]
    sources = choose_sources(args.sources, files, namespace=args.namespace)
    arguments = ["--ros-args", *_arguments(args, sources)]
    if args.sources:
        # Only fusion has this parameter. With the node's name in front it would hold in the root
        # namespace alone.
        arguments += ["-p", f"sources:=[{args.sources}]"]
    command = [sys.executable, "-m", "edge_perception.nodes.executables", "perception", *arguments]
    print(f"transport: {choose_transport(os.environ).reason}", file=sys.stderr, flush=True)
    environment = _environment(args)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the nodes take them
    os.execve(sys.executable, command, environment)
    raise AssertionError("execve returned")


def _supervise(args: argparse.Namespace) -> int:
    from edge_perception.running.supervised_nodes import node_processes
    from edge_perception.running.supervision import TERM_PATIENCE_S, RespawnLimits, Supervisor

    files = [Path(name) for name in args.params_file]
    sources = choose_sources(args.sources, files, namespace=args.namespace)
    if args.log_folder is not None:
        args.log_folder.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(
        node_processes(
            sources,
            _arguments(args, sources),
            logs=args.log_folder,
            observers=[name for name in OBSERVERS if getattr(args, name)],
        ),
        environment=_environment(args),
        limits=RespawnLimits(delay_s=args.respawn_delay, most=args.respawn_limit),
        say=lambda text: print(f"supervisor: {text}", file=sys.stderr, flush=True),
    )
    ending = watch_signals()
    ending.longer_s = TERM_PATIENCE_S  # its children come first
    ending.stage = Stage.RUNNING
    ending.on_wanted(supervisor.request_stop)
    if not ending.wanted:
        supervisor.start()
    code = supervisor.run()
    ending.stage = Stage.CLOSED
    return code


def _environment(args: argparse.Namespace) -> dict[str, str]:
    of_nodes = {**transport_environment(dict(os.environ)), **log_environment(args.log_format)}
    return {**os.environ, **of_nodes}


def _arguments(args: argparse.Namespace, sources: Sequence[str]) -> list[str]:
    arguments = ["--log-level", args.log_level]
    for file in args.params_file:
        arguments += ["--params-file", file]
    arguments += common_arguments(args)
    for before, after in topic_remaps(args.topics, sources):
        arguments += ["-r", f"{before}:={after}"]
    for name, path in store_parameters(args.model_store, args.trust_file).items():
        arguments += ["-p", f"{name}:={json.dumps(path)}"]  # quoted: a value is read as YAML
    for name, folders in plugin_parameters().items():
        arguments += ["-p", f"{name}:={json.dumps(folders)}"]
    return arguments
