"""``edge-perception inject``: plays a recording into the nodes with faults on the way.

For example: inject drive.mcap --fault frozen:camera:5-10 --fault dead:lidar:12-15
"""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "inject"
HELP = "play a recording with faults between it and the nodes"
TRANSPORT = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("bag", type=Path, nargs="?", help="recording, an .mcap file")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME:SOURCE:FROM-TO",
        help="a fault on a source for a while, s since the start; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--seed", type=int, default=0, help="of the random faults")
    parser.add_argument("--namespace", default="", help="put in front of every topic")
    parser.add_argument("--wait", type=float, default=5.0, metavar="S", help="for subscriptions")


def run(args: argparse.Namespace) -> int:
    """Play, and say what was altered."""
    from edge_perception.core.errors import ConfigurationError
    from edge_perception.faults.injector import parse_injection
    from edge_perception.faults.streams import FAULTS

    if args.list:
        for spec in FAULTS.values():
            print(f"{spec.name:18} {'/'.join(spec.modalities):20} {spec.text}")
        return 0
    if args.bag is None:
        raise ConfigurationError("inject: expected a recording, or --list")
    injections = [parse_injection(text) for text in args.fault]
    from edge_perception.faults.playing import play_with_faults

    altered, sent = play_with_faults(
        args.bag, injections, namespace=args.namespace, seed=args.seed, wait_s=args.wait
    )
    print(f"{sent} messages sent, {altered} altered, moved or lost")
    return 0
