"""``edge-perception devices``: what this machine has, and which models run on what of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

NAME = "devices"
HELP = "processors, accelerators, runtimes, and what each model runs on here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--no-models", action="store_true", help="list only, run no model")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more folders of bundles"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """List, and run each model in each way."""
    from edge_perception.models.folders import stored_bundles, with_installed
    from edge_perception.optimize.devices import describe_machine, try_models

    machine = describe_machine()
    rows: list[dict[str, Any]] = []
    if not args.no_models:
        stored = stored_bundles(with_installed(args.folder))
        rows = try_models(stored, lambda what: print(f"trying {what}", file=sys.stderr))
    if args.json:
        print(json.dumps({"machine": machine, "models": rows}, indent=2))
        return 0
    print(f"processor     {machine['processor']}, {machine['cores']} cores usable")
    print(f"memory        {machine['memory_gb']} GB")
    print(f"accelerators  {', '.join(machine['accelerators']) or 'none'}; CUDA: {machine['cuda']}")
    for name, told in machine["runtimes"].items():
        ways = [f"{way['provider'] or 'CPU'} {way['precision']}" for way in told["ways"]]
        print(f"{name:13} {', '.join(ways) or 'not usable: ' + told['note']}")
    for row in rows:
        way = " ".join(filter(None, (row["backend"], row["provider"], row["precision"])))
        name = f"{row['model']} {row['version']}".strip()
        if not row["runs"]:
            print(f"{name:28} {way:28} does not run: {row['why_not']}")
            continue
        golden = "; ".join(row["golden"]) or "as its golden outputs"
        print(f"{name:28} {way:28} {row['p50_ms']:8.2f} ms {row['memory_mb']:6.0f} MB  {golden}")
    return 0
