"""`edge-perception bench NAME`: the benchmarks of `edge_perception/bench`, found and not listed."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from types import ModuleType

import edge_perception.bench

NAME = "bench"
HELP = "measure: ratios in one run, saved as JSON"
_PARTS = ("NAME", "HELP", "add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand a benchmark."""
    subparsers = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, module in sorted(_benchmarks().items()):
        module.add_arguments(
            subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        )


def run(args: argparse.Namespace) -> int:
    """Run the benchmark that was asked for."""
    return int(_benchmarks()[args.benchmark].run(args))


def _benchmarks() -> dict[str, ModuleType]:
    found = {}
    for info in pkgutil.iter_modules(edge_perception.bench.__path__):
        module = importlib.import_module(f"edge_perception.bench.{info.name}")
        if all(hasattr(module, part) for part in _PARTS):
            found[module.NAME] = module
    return found
