"""Every runtime of this machine on every bundled model: time against ONNX Runtime on one core.

Both run in turns in one run, each in a process of its own; the golden difference is that of the
bundle's own outputs, which ONNX Runtime gave on another machine.

What is fast alone may wait for others: each runtime also runs the camera's and the LiDAR's model
beside each other in one process, as nodes do, on one thread each. `beside_...` is the time of the
model that is slowed more, over its time alone; with two cores for them it should be near 1.
"""

from __future__ import annotations

import argparse
import math
from contextlib import ExitStack
from typing import Any

from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, median, say
from edge_perception.core.errors import BackendError
from edge_perception.encoders import encoders
from edge_perception.models.folders import find_bundle, installed_model_folders, list_bundles
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.configuration import Configuration, configurations
from edge_perception.optimize.measuring import Runner, Setting, compare

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
    beside = _beside(rounds, runs)
    summary |= {
        f"beside_{row['way']}".replace(" ", "_"): round(row["time_ratio"], 3) for row in beside
    }
    result = {"benchmark": NAME, "machine": machine(), "summary": summary}
    deliver({**result, "rows": rows, "beside": beside}, args)
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


def _beside(rounds: int, runs: int) -> list[dict[str, Any]]:
    """Run two models at once, by way; each in turns with the same model alone."""
    served = {}
    for role in ("camera", "lidar"):
        bundle = find_bundle(encoders()[role].default_model, installed_model_folders())
        served[role] = list(configurations([bundle], cores=1))
    rows = []
    for ways in zip(*served.values(), strict=True):
        setting = dict(zip(served, ways, strict=True))
        try:
            rows.append({"way": _way(ways[0]), **_slowed(setting, rounds, runs)})
        except BackendError as error:
            say(f"  {_way(ways[0])}: {error}")
            continue
        say(f"  {rows[-1]['way']:20} beside each other {rows[-1]['time_ratio']:.2f} of the time")
    return rows


def _slowed(setting: Setting, rounds: int, runs: int) -> dict[str, Any]:
    """Return the ratio of the model that is slowed more, and all times in ms."""
    with ExitStack() as stack:
        together = stack.enter_context(Runner(setting))
        alone = {role: stack.enter_context(Runner({role: way})) for role, way in setting.items()}
        for runner in (together, *alone.values()):
            runner.run(2)
        found: list[dict[str, Any]] = []
        for _ in range(rounds):
            beside_ms = together.run(runs)["role_ms"]
            alone_ms = {role: runner.run(runs)["role_ms"][role] for role, runner in alone.items()}
            found.append({"beside_ms": beside_ms, "alone_ms": alone_ms})
    ratio = {
        role: median(
            median(one["beside_ms"][role]) / median(one["alone_ms"][role]) for one in found
        )
        for role in setting
    }
    return {"time_ratio": max(ratio.values()), "time_ratios": ratio, "rounds": found}


def _way(way: Configuration) -> str:
    return " ".join(filter(None, (way.backend, way.provider, way.precision)))
