"""The runtime `tensorrt` on a GPU.

Every bundled model against its golden outputs and against the bare engine, and one loaded and
unloaded again and again.

The bare engine is timed as `trtexec` does it: copy in, run, copy out. Both run in turns in one run.
Growth is of the GPU's memory and of the process between the first tenth of the cycles and the end.
Without a GPU it says why nothing was measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_perception.backends import BackendOptions, BackendSpec, backends, offered_ways
from edge_perception.bench._report import add_arguments as add_common
from edge_perception.bench._report import deliver, machine, median, quantiles, say
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.process_memory import RESIDENT, memory_bytes
from edge_perception.models.folders import installed_model_folders, list_bundles
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.manifest import Bundle

NAME = "gpu"
HELP = "the runtime tensorrt against the bare engine, and its memory over many loads"
RUNTIME = "tensorrt"
_CYCLES, _QUICK_CYCLES = 1000, 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and save."""
    why_not = _why_not()
    if why_not:
        say(f"nothing measured: {why_not}")
        deliver({"benchmark": NAME, "machine": machine(), "summary": {"not_run": why_not}}, args)
        return 0
    rounds, runs = (3, 50) if args.quick else (10, 200)
    spec, bundles = backends()[RUNTIME], list_bundles(installed_model_folders())
    rows = [_of_model(spec, bundle, rounds, runs) for bundle in bundles]
    cycles = load_cycles(spec, bundles[0], _QUICK_CYCLES if args.quick else _CYCLES)
    summary = {f"{row['model']}_p50_ratio": row["p50_ratio"] for row in rows}
    summary |= {"golden_failed": [row["model"] for row in rows if row["golden"]]}
    summary |= {f"growth_{name}": value for name, value in cycles["growth"].items()}
    result = {"benchmark": NAME, "machine": machine(), "summary": summary}
    deliver({**result, "rows": rows, "cycles": cycles}, args)
    return 0


def _why_not() -> str:
    try:
        ways, reason = offered_ways(backends()[RUNTIME])
    except ConfigurationError as error:  # its libraries are not here
        return str(error)
    return "" if ways else reason


def _of_model(spec: BackendSpec, bundle: Bundle, rounds: int, runs: int) -> dict[str, Any]:
    found = against_bare(spec, bundle, rounds, runs)
    say(
        f"  {found['model']:22} p50 {found['p50_ms']:.3f} ms, {found['p50_ratio']:.3f} of the bare "
        f"engine's; golden: {found['golden'] or 'within its limits'}"
    )
    return found


def against_bare(spec: BackendSpec, bundle: Bundle, rounds: int, runs: int) -> dict[str, Any]:
    """Return what a model takes over what its bare engine takes, and where it fails its golden.

    Args:
        spec: the runtime.
        bundle: the model.
        rounds: turns of each.
        runs: inferences in a turn.

    Raises:
        BackendError: it cannot run here.
        BundleError: the bundle has no golden inputs.
    """
    # The libraries of the runtime are imported where it is used: they need a driver.
    from edge_perception.backends.tensorrt.gpu import open_gpu
    from edge_perception.bench._bare_engine import BareEngine

    inputs, _ = read_golden(bundle)
    session = spec.load(bundle.model_path, BackendOptions())
    bare = BareEngine(bundle.model_path, open_gpu(0))
    try:
        deviations = compare_golden(bundle, session)
        session.warm_up(20)
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(quantiles(_times(lambda: session.infer(inputs), runs)))
            theirs.append(quantiles(_times(bare.run, runs)))
    finally:
        bare.close()
        session.close()
    return {
        "model": bundle.manifest.name,
        "p50_ratio": median(a["p50"] / b["p50"] for a, b in zip(ours, theirs, strict=True)),
        "p50_ms": median(found["p50"] for found in ours),
        "bare_p50_ms": median(found["p50"] for found in theirs),
        "golden": [f"{item.output}: {item.reason}" for item in deviations if not item.passed],
        "rounds": [{"ours": a, "bare": b} for a, b in zip(ours, theirs, strict=True)],
    }


def _times(call: Callable[[], object], runs: int) -> list[float]:
    """Return what calls take, ms."""
    found = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - began) / 1e6)
    return found


def load_cycles(spec: BackendSpec, bundle: Bundle, cycles: int) -> dict[str, Any]:
    """Load, run and unload a model so often; return the memory on the way, bytes.

    Raises:
        BackendError: it cannot run here.
    """
    from edge_perception.backends.tensorrt.gpu import open_gpu

    gpu, samples = open_gpu(0), []
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as folder:
        options = BackendOptions(cache=Path(folder))  # the engine is built once
        for number in range(cycles):
            session = spec.load(bundle.model_path, options)
            session.warm_up(1)
            session.close()
            if number % max(cycles // 50, 1) == 0 or number == cycles - 1:
                samples.append(
                    {
                        "cycle": number,
                        "process_bytes": memory_bytes(RESIDENT),
                        "gpu_bytes": gpu.used_bytes(),
                    }
                )
    settled = samples[len(samples) // 10]
    growth = {name: samples[-1][name] - settled[name] for name in ("process_bytes", "gpu_bytes")}
    return {"model": bundle.manifest.name, "samples": samples, "growth": growth}
