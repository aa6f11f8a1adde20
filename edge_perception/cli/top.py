"""``edge-perception top``: the running system on a terminal, also over ssh.

Sources with their states, rates and times, models, conditions, drift, load control, resources and
nodes, renewed every second; Ctrl-C ends it. For programs: ``--once --json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from edge_perception.cli._numbers import number
from edge_perception.core.ros_names import namespace_prefix

NAME = "top"
TRANSPORT = True
HELP = "show a running system on the terminal; --once --json for programs"
_HOME, _REST, _LINE_END = "\x1b[H", "\x1b[J", "\x1b[K"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--namespace", default="", help="of the nodes")
    parser.add_argument(
        "--period",
        type=number(0.2, 60),
        default=1.0,
        metavar="S",
        help="between pictures (%(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="one picture, and end")
    parser.add_argument(
        "--watch",
        type=number(0.1, 60),
        default=3.0,
        metavar="S",
        help="with --once: how long to listen before (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line a picture")
    parser.add_argument("--no-color", action="store_true", help="plain text")


def run(args: argparse.Namespace) -> int:
    """Show until interrupted; 1: no fused view came while it looked last."""
    from edge_perception.observe.top.screen import lines_of
    from edge_perception.observe.top.watch import watching

    screen = sys.stdout.isatty() and not args.once and not args.json
    color = sys.stdout.isatty() and not args.no_color
    picture = None
    with watching(namespace_prefix(args.namespace)) as picture_after:
        try:
            while True:
                picture = picture_after(args.watch if args.once else args.period)
                if args.json:
                    print(json.dumps(picture, allow_nan=False), flush=True)
                else:
                    size = shutil.get_terminal_size((100, 50))
                    lines = lines_of(picture, width=size.columns, color=color)
                    _show(lines[: size.lines - 1] if screen else lines, screen=screen)
                if args.once:
                    break
        except (KeyboardInterrupt, BrokenPipeError):
            pass
    return int(picture is None or picture["fused"] is None)


def _show(lines: list[str], *, screen: bool) -> None:
    if screen:  # over what was there: nothing flickers, also over a slow line
        print(_HOME + "\n".join(line + _LINE_END for line in lines) + _REST, end="", flush=True)
    else:
        print("\n".join(lines), flush=True)
