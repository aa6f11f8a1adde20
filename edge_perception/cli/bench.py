"""``edge-perception bench NAME``: finds the benchmarks of edge_perception/bench and runs one.

A benchmark is a module of that folder with NAME, HELP, add_arguments(parser) and run(args) -> int.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import edge_perception.bench

NAME = "bench"
HELP = "measure ours against the usual way, in one run, as ratios"
ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand for each benchmark."""
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="NAME")
    for name, module in sorted(discover_benchmarks().items()):
        module.add_arguments(
            benchmarks.add_parser(name, help=module.HELP, description=module.__doc__)
        )
    everything = benchmarks.add_parser(ALL, help="all of them, one after another")
    everything.add_argument("--out", type=Path, default=Path("bench_out"), help="folder of results")
    everything.add_argument("--quick", action="store_true", help="short runs")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark."""
    if args.benchmark == ALL:
        return _run_all(args.out, quick=args.quick)
    return int(discover_benchmarks()[args.benchmark].run(args))


def _run_all(out: Path, *, quick: bool) -> int:
    """Run every benchmark with its defaults and print the summaries as one table."""
    found = discover_benchmarks()
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, module in sorted(found.items()):
        print(f"== {name}", file=sys.stderr, flush=True)
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        options = ["--json", str(out / f"{name}.json"), *(["--quick"] if quick else [])]
        failed += int(module.run(parser.parse_args(options)) != 0)
    for name in sorted(found):
        path = out / f"{name}.json"
        saved = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        summary = saved.get("summary", {})
        for key, value in summary.items():
            print(f"{name:12} {key:32} {value}")
    return int(failed > 0)


def discover_benchmarks() -> dict[str, ModuleType]:
    """Return the benchmarks by name; modules without a NAME are parts of one."""
    found = {}
    for info in pkgutil.iter_modules(edge_perception.bench.__path__):
        if not info.name.startswith("_"):
            module = importlib.import_module(f"edge_perception.bench.{info.name}")
            if hasattr(module, "NAME"):  # the others are parts of a benchmark
                found[module.NAME] = module
    return found
