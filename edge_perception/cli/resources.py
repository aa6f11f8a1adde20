"""``edge-perception resources``: heat, power, throttling and batteries as this machine tells them.

What it does not tell is said with the reason, never guessed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from edge_perception.cli._numbers import number
from edge_perception.core.errors import ConfigurationError

NAME = "resources"
HELP = "temperatures, throttling, watts and battery of this machine, and why some are not told"


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
        print(f"{name:32} {value}")
    for text in found["not_available"]:
        print(text)
    return 0


def _read(root: Path, seconds: float) -> dict[str, Any]:
    from edge_perception.observe.resources.battery import batteries
    from edge_perception.observe.resources.power import PowerMeter
    from edge_perception.observe.resources.temperatures import temperatures
    from edge_perception.observe.resources.throttling import ThrottleWatch

    meter, watch = PowerMeter(root), ThrottleWatch(root)
    meter.sample(time.monotonic_ns())
    watch.look()
    time.sleep(seconds)
    power, throttling = meter.sample(time.monotonic_ns()), watch.look()
    heat, no_heat = temperatures(root)
    cells, no_cells = batteries(root)
    values: dict[str, Any] = {f"{item.name} °C": item.value for item in heat}
    values |= {f"{item.name} W": round(item.value, 3) for item in power.rails}
    if not math.isnan(power.total_w):
        values[f"total W ({power.total_of})"] = round(power.total_w, 3)
    if throttling.frequency_share is not None:
        values["frequency, of the highest"] = round(throttling.frequency_share, 3)
    if not throttling.missing:
        values["throttling"] = "; ".join(throttling.reasons) or "none"
    for cell in cells:
        left = "" if cell.left_s is None else f", {cell.left_s / 3600.0:.1f} h left"
        values[f"battery {cell.name}"] = f"{cell.charge_share:.0%}, {cell.status}{left}"
    missing = [*no_heat, *power.missing, *throttling.missing, *no_cells]
    return {"values": values, "not_available": [item.text for item in missing]}
