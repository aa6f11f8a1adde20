"""Every runtime of this machine on every bundled model: time against ONNX Runtime on one core.

Both run in turns in one run, each in a process of its own; the golden difference is that of the
bundle's own outputs, which ONNX Runtime gave on another machine.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, say
from edge_perception.core.errors import BackendError
from edge_perception.models.folders import installed_model_folders, list_bundles
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.configuration import Configuration, configurations
from edge_perception.optimize.measuring import Runner, compare

NAME = "backends"
HELP = "every runtime here on every bundled model, against ONNX Runtime"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    rounds, runs = (3, 8) if args.quick else (10, 40)
    rows: list[dict[str, Any]] = []
    for bundle in list_bundles(installed_model_folders()):
        rows.extend(_of_model(bundle, rounds, runs))
    summary = {
        f"{row['model']}_{row['way']}".replace(" ", "_"): round(row["p50_ratio"], 3)
        for row in rows
        if row["runs"]
    }
    deliver({"benchmark": NAME, "machine": machine(), "summary": summary, "rows": rows}, args)
    return 0


def _of_model(bundle: Bundle, rounds: int, runs: int) -> list[dict[str, Any]]:
    plain, *others = configurations([bundle], cores=1)
    role, name = bundle.manifest.role, bundle.manifest.name
    rows = []
    with Runner({role: plain}) as base:
        base.run(2)
        for way in others:
            row: dict[str, Any] = {"model": name, "way": _way(way), "runs": True}
            try:
                found = compare(base, {role: way}, rounds=rounds, sets=runs)
            except BackendError as error:
                rows.append({**row, "runs": False, "why_not": str(error)})
                continue
            told = found.told[role]
            row |= {
                "p50_ratio": found.ratio,
                "p50_ratio_low": found.ratio_low,
                "p50_ratio_high": found.ratio_high,
                "p50_ms": found.p50_ms,
                "p99_ms": found.p99_ms,
                "onnxruntime_p50_ms": found.base_p50_ms,
                "memory_mb": told["memory_mb"],
                "golden_difference": max(told["differences"].values(), default=math.nan),
                "golden_failed": told["golden"],
            }
            say(
                f"  {name:22} {row['way']:20} {found.ratio:.2f} of ONNX Runtime's time, golden "
                f"difference {row['golden_difference']:.2g}"
            )
            rows.append(row)
    return rows


def _way(way: Configuration) -> str:
    return " ".join(filter(None, (way.backend, way.provider, way.precision)))
