"""``edge-perception transport``: the environment for drivers that publish large messages.

A message lies in the shared memory of its sender: a camera driver started by another launch file
gains as much as our own nodes. ``eval "$(edge-perception transport)"`` before starting it. What it
publishes sizes that memory: ``--image-size 3840x2160 --points 250000``; 64 MB are the least.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from edge_perception.running.transport import choose_transport, transport_environment
from edge_perception.running.transport_size import Sensor, sizes_for

NAME = "transport"
HELP = "print the shell lines that let drivers pass large messages through shared memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the process publishes."""
    parser.add_argument(
        "--image-size", action="append", default=[], metavar="WxH[xBYTES]",
        help="of a camera, 3 bytes a pixel unless given; once for each camera of the process",
    )  # fmt: skip
    parser.add_argument(
        "--points", action="append", default=[], metavar="N[xBYTES]",
        help="of a LiDAR sweep, 32 bytes a point unless given; once for each LiDAR",
    )  # fmt: skip
    parser.add_argument(
        "--depth", type=int, default=5, choices=range(1, 101), metavar="1..100",
        help="queue of the topics, messages (5)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print shell lines to standard output and the reason to standard error."""
    current = dict(os.environ)
    sensors = [*map(Sensor.image, args.image_size), *map(Sensor.cloud, args.points)]
    sizes = sizes_for(sensors, args.depth)
    print(choose_transport(current, sizes).reason, file=sys.stderr)
    for name, value in transport_environment(current, sizes).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0
