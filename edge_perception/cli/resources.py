"""``edge-perception resources``: what this machine has left, its heat and its watts, as it tells.

What it does not tell is said with the reason, never guessed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import number
from edge_perception.core.errors import ConfigurationError

NAME = "resources"
HELP = "processor, memory, heat, watts and battery of this machine, and why some are not told"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--seconds",
        type=number(0, 3600),
        default=1.0,
        help="over which energy is measured (%(default)s)",
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where /sys is looked for (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Read twice and print."""
    if not args.root.is_dir():
        raise ConfigurationError(f"--root: expected a folder, got '{args.root}'")
    found = _read(args.root, args.seconds)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, value in found["values"].items():
        print(f"{name:36} {value:.6g}" if isinstance(value, float) else f"{name:36} {value}")
    for text in found["not_available"]:
        print(text)
    return 0


def _read(root: Path, seconds: float) -> dict[str, Any]:
    from edge_perception.monitoring.resources.watch import NOT_AVAILABLE, ResourceWatch

    watch = ResourceWatch(root)
    watch.sample(time.monotonic_ns())
    time.sleep(seconds)
    said = watch.sample(time.monotonic_ns()).values()
    missing = [f"{what}: {why}" for what, why in said.items() if why.startswith(NOT_AVAILABLE)]
    told = {key: text for key, text in said.items() if not text.startswith(NOT_AVAILABLE)}
    return {"values": {key: _number_or(text) for key, text in told.items()},
            "not_available": missing}  # fmt: skip


def _number_or(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
