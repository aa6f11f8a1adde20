"""What every benchmark does alike: options, the machine, percentiles, JSON and a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options every benchmark has."""
    parser.add_argument(
        "--quick", action="store_true", help="a short run, seconds to a few minutes"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        metavar="PATH",
        default="",
        const="-",
        help="write the result there, a plot beside it; none or -: to the standard output",
    )


def say(text: str) -> None:
    """Tell progress; the standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and max of values, NaN without any."""
    array = np.asarray(list(values), np.float64)
    if not array.size:
        return dict.fromkeys(("p50", "p95", "p99", "max"), float("nan"))
    p50, p95, p99 = np.percentile(array, (50, 95, 99))
    found = {"p50": p50, "p95": p95, "p99": p99, "max": array.max()}
    return {name: round(float(value), 3) for name, value in found.items()}


def median(values: Iterable[float]) -> float:
    """Return the median of what is finite, rounded; NaN without any."""
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.median(known)), 4) if known else float("nan")


def machine() -> dict[str, Any]:
    """Return what the figures were taken on, with the load of the last minute."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def deliver(result: Mapping[str, Any], args: argparse.Namespace) -> Path | None:
    """Write the result where the options say; return the file, None for the standard output."""
    text = json.dumps(result, indent=1, default=float)
    if args.json == "-":
        print(text)
        return None
    for name, value in result["summary"].items():
        say(f"  {name:24} {value}")
    if not args.json:
        return None
    path = Path(args.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    say(f"written: {path}")
    return path


def plot_quantiles(
    path: Path | None, groups: Mapping[str, Mapping[str, Mapping[str, float]]], title: str
) -> None:
    """Draw bars of p50 with whiskers to p95 and p99 beside the JSON: group, set-up, quantiles."""
    if path is None:
        return
    try:
        import matplotlib
    except ImportError:
        say("no plot: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    setups = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    figure, axes = plt.subplots(figsize=(1.6 + 1.9 * len(groups), 4.0), layout="constrained")
    for number, setup in enumerate(setups):
        at = np.arange(len(groups)) + (number - (len(setups) - 1) / 2) * 0.8 / len(setups)
        bars = [group.get(setup, quantiles(())) for group in groups.values()]
        p50, p95, p99 = (np.array([bar[key] for bar in bars]) for key in ("p50", "p95", "p99"))
        axes.bar(at, p50, 0.8 / len(setups), label=setup)
        axes.vlines(at, p50, p99, color="black", linewidth=1)
        axes.plot(at, p95, "k_", markersize=6)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_title(f"{title}: p50, line to p95 and p99")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)
