"""The helper process of admission: job as JSON on stdin, stages and result as JSON lines.

Not for people; `edge_perception.releases.admission.admit` starts it.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.core.process_memory import MAPPED, PEAK, RESIDENT, memory_bytes
from edge_perception.models.quiet import yield_cores

_LEAST_RUNS = 20  # however long they take; the deadline ends what takes too long


def main() -> int:
    """Try one candidate."""
    yield_cores()  # the models that serve go first
    job = json.load(sys.stdin)
    stage = "start"

    def say(name: str) -> None:
        nonlocal stage
        stage = name
        print(json.dumps({"stage": name}), flush=True)

    try:
        result = _try(job, say)
    except MemoryError:
        result = {"error": "out of memory", "stage": stage}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}", "stage": stage}
    print(json.dumps(result), flush=True)
    return 0


def _try(job: dict[str, Any], say: Any) -> dict[str, Any]:
    say("import")
    from edge_perception.backends import backends
    from edge_perception.core.plugins import add_plugin_folders
    from edge_perception.models.device_keys import use_device_key
    from edge_perception.models.golden import compare_golden, generated_inputs, read_golden
    from edge_perception.models.graph import external_files
    from edge_perception.models.loading import ModelOptions, open_bundle
    from edge_perception.models.manifest import load_bundle
    from edge_perception.releases.admission import runs_on_cpu

    add_plugin_folders(job["plugin_folders"])
    way = job["options"]
    backends()[way["backend"]]  # imports the runtime
    use_device_key(job["device_key"])
    say("verify")
    bundle = load_bundle(Path(job["bundle"]))
    if bundle.sha256 != job["sha256"]:
        raise ValueError(f"the manifest was changed: its digest is {bundle.sha256[:12]}")
    model = bundle.manifest.model
    outside = sorted({*external_files(model, bundle.read(model))} - {*bundle.manifest.files})
    if outside:
        raise ValueError(f"the graph reads files that are not in the manifest: {outside}")
    # What the interpreter and the libraries have mapped is not the candidate's.
    mapped, before = memory_bytes(MAPPED), memory_bytes(RESIDENT)
    allowed = mapped + job["memory_bytes"]
    # Drivers of accelerators reserve far more addresses than they use: there only what is written
    # counts.
    limit = resource.RLIMIT_AS if runs_on_cpu(way["provider"]) else resource.RLIMIT_DATA
    resource.setrlimit(limit, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # peak starts anew
    way["provider_options"] = tuple(way["provider_options"])
    options = ModelOptions(model=bundle.manifest.name, **way)
    say("load")
    started_s = time.monotonic()
    loaded = open_bundle(bundle, options)
    load_s = time.monotonic() - started_s
    say("warm-up")
    loaded.backend.warm_up(bundle.manifest.gates.warm_up_runs)
    warm_up_s = time.monotonic() - started_s - load_s
    peak_bytes = max(memory_bytes(PEAK) - before, 0)  # comparing needs more, serving does not
    say("golden outputs")
    golden: list[dict[str, Any]] = []
    inputs = generated_inputs(bundle.manifest.inputs)
    if bundle.manifest.golden is not None:
        golden = [asdict(deviation) for deviation in compare_golden(bundle, loaded.backend)]
        inputs, _ = read_golden(bundle)
    say("latency")
    times_s = _times_s(lambda: loaded.backend.infer(inputs), job["runs"], job["longest_s"])
    return {
        "load_s": load_s,
        "warm_up_s": warm_up_s,
        "latency_ms": times_s[len(times_s) // 2] * 1e3,
        # The nearest rank: of fewer than a hundred it is the longest.
        "latency_p99_ms": times_s[math.ceil(0.99 * len(times_s)) - 1] * 1e3,
        "runs": len(times_s),
        "provider": loaded.backend.describe().where,
        "peak_memory_bytes": peak_bytes,
        "golden": golden,
    }


def _times_s(run: Callable[[], object], runs: int, longest_s: float) -> list[float]:
    """Return the sorted times of runs, s.

    This process lets the models that serve go first, and a node does not: what it waited for a core
    is taken off.
    """
    times_s: list[float] = []
    began_s = time.perf_counter()
    while len(times_s) < runs:
        if len(times_s) >= _LEAST_RUNS and time.perf_counter() - began_s > longest_s:
            break
        waited_s, begin_s = _waited_s(), time.perf_counter()
        run()
        took_s = time.perf_counter() - begin_s
        times_s.append(max(took_s - (_waited_s() - waited_s), 0.0))
    return sorted(times_s)


def _waited_s() -> float:
    """Return how long this thread was ready and had no core, s; 0 where the kernel does not tell.

    Documentation/scheduler/sched-stats.rst: the second figure, in nanoseconds.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
