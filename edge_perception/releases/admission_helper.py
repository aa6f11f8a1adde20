"""The helper process of admission: job as JSON on stdin, stages and result as JSON lines.

Not for people; `edge_perception.releases.admission.admit` starts it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.models.quiet import yield_cores

_RUNS = 5


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
    from edge_perception.models.golden import compare_golden, read_golden
    from edge_perception.models.graph import external_files
    from edge_perception.models.loading import ModelOptions, open_bundle
    from edge_perception.models.manifest import load_bundle

    add_plugin_folders(job["plugin_folders"])
    backends()[job["backend"]]  # imports the runtime
    say("verify")
    bundle = load_bundle(Path(job["bundle"]))
    outside = sorted(set(external_files(bundle.model_path)) - set(bundle.manifest.files))
    if outside:
        raise ValueError(f"the graph reads files that are not in the manifest: {outside}")
    # What the interpreter and the libraries have mapped is not the candidate's.
    mapped, before = _memory("VmSize"), _memory("VmRSS")
    allowed = mapped + job["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # peak starts anew
    options = ModelOptions(
        model=bundle.manifest.name,
        backend=job["backend"],
        provider=job["provider"],
        threads=job["threads"],
    )
    say("load")
    started_s = time.monotonic()
    loaded = open_bundle(bundle, options)
    load_s = time.monotonic() - started_s
    say("warm-up")
    loaded.backend.warm_up(bundle.manifest.gates.warm_up_runs)
    warm_up_s = time.monotonic() - started_s - load_s
    peak_bytes = max(_memory("VmHWM") - before, 0)  # comparing needs more, serving does not
    say("golden outputs")
    golden: list[dict[str, Any]] = []
    times_s = []
    if bundle.manifest.golden is not None:
        golden = [asdict(deviation) for deviation in compare_golden(bundle, loaded.backend)]
        inputs, _ = read_golden(bundle)
        for _ in range(_RUNS):
            begin_s = time.monotonic()
            loaded.backend.infer(inputs)
            times_s.append(time.monotonic() - begin_s)
    return {
        "load_s": load_s,
        "warm_up_s": warm_up_s,
        "latency_ms": min(times_s, default=0.0) * 1e3,
        "peak_memory_bytes": peak_bytes,
        "golden": golden,
    }


def _memory(name: str) -> int:
    """Return a figure of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    sys.exit(main())
