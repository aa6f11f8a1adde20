"""`edge-perception parameters`: print the commented parameter file."""

from __future__ import annotations

import argparse

NAME = "parameters"
HELP = "print every parameter of every node with default, unit and range"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""
    del parser


def run(_args: argparse.Namespace) -> int:
    """Print the file."""
    from edge_perception.running.parameter_file import parameter_file

    print(parameter_file(), end="")
    return 0
