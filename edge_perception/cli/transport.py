"""``edge-perception transport``: the environment for drivers that publish large messages.

A message lies in the shared memory of its sender: a camera driver started by another launch file
gains as much as our own nodes. ``eval "$(edge-perception transport)"`` before starting it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from edge_perception.transport import choose_transport, transport_environment

NAME = "transport"
HELP = "print the shell lines that let drivers pass large messages through shared memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: the choice depends on the environment alone."""


def run(args: argparse.Namespace) -> int:
    """Print shell lines to standard output and the reason to standard error."""
    del args
    current = dict(os.environ)
    print(choose_transport(current).reason, file=sys.stderr)
    for name, value in transport_environment(current).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0
