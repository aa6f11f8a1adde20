"""The helper process that runs a set as a vehicle would: all encoders at once, fusion last.

Folders of plug-ins and a job as lines of JSON on stdin, answers as lines on stdout. With `roles` a
set is loaded, and run as often as the lines after it ask, until stdin ends. With `ways` models run
alone, one after the other, a line for each.

Not for people; `edge_perception.optimize.measuring` starts it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.errors import BackendError, EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders
from edge_perception.core.process_memory import RESIDENT, memory_bytes
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.loading import LoadedModel, ModelOptions, open_bundle
from edge_perception.models.manifest import FUSION, load_bundle
from edge_perception.models.sessions import believe_in_batches


class SetRunner:
    """Loaded models with inputs at hand."""

    def __init__(self, roles: dict[str, dict[str, Any]]) -> None:
        self._models: dict[str, list[LoadedModel]] = {}  # by role, one for each source
        self._inputs: dict[str, dict[str, np.ndarray]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        for role, job in roles.items():
            self._open(role, job)
        self._encoders = [role for role in self._models if role != FUSION]
        self._pool = ThreadPoolExecutor(max(1, len(self._encoders)))
        self._beside = ThreadPoolExecutor(sum(len(models) for models in self._models.values()))

    def run(self, sets: int) -> dict[str, Any]:
        """Run sets one after the other; times in ms, of each set and of each model in it."""
        set_ms: list[float] = []
        role_ms: dict[str, list[float]] = {role: [] for role in self._models}
        for _ in range(sets):
            began_s = time.perf_counter()
            for role, took in zip(
                self._encoders, self._pool.map(self._infer, self._encoders), strict=True
            ):
                role_ms[role].append(took)
            if FUSION in self._models:
                role_ms[FUSION].append(self._infer(FUSION))
            set_ms.append((time.perf_counter() - began_s) * 1e3)
        return {"set_ms": set_ms, "role_ms": role_ms}

    def close(self) -> None:
        """Give the models back."""
        self._pool.shutdown()
        self._beside.shutdown()
        for models in self._models.values():
            for loaded in models:
                loaded.backend.close()

    def _infer(self, role: str) -> float:
        """Run one frame of each source of a role; the time is that of the last one."""
        began_s = time.perf_counter()
        inputs = self._inputs[role]
        first, *others = self._models[role]
        running = [self._beside.submit(loaded.backend.infer, inputs) for loaded in others]
        first.backend.infer(inputs)
        for other in running:
            other.result()
        return (time.perf_counter() - began_s) * 1e3

    def _open(self, role: str, job: dict[str, Any]) -> None:
        bundle = load_bundle(Path(job["bundle"]))
        before = memory_bytes(RESIDENT)
        began_s = time.monotonic()
        options = ModelOptions(**job["options"])
        models = self._models[role] = []
        for _ in range(job["sources"]):
            loaded = open_bundle(bundle, options)
            models.append(loaded)
            if options.batch > 1 and loaded.notes:
                raise BackendError("; ".join(loaded.notes))
            believe_in_batches(loaded.backend)
            loaded.backend.warm_up(bundle.manifest.gates.warm_up_runs)
        load_s = time.monotonic() - began_s
        memory_mb = max(memory_bytes(RESIDENT) - before, 0) / 1e6
        inputs, _ = read_golden(bundle)
        self._inputs[role] = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        info = loaded.backend.describe()
        deviations = compare_golden(bundle, loaded.backend)
        self.told[role] = {
            "load_s": load_s,
            "memory_mb": memory_mb,
            "where": info.where,
            "runtime": f"{info.runtime} {info.runtime_version}",
            "precision": info.precision,
            "notes": list(info.notes),
            "golden": [item.reason for item in deviations if not item.passed],
            "differences": {item.output: item.absolute for item in deviations},
        }


def main() -> int:
    """Load what the first line says, then run what the others ask for."""
    add_plugin_folders(json.loads(sys.stdin.readline())["plugin_folders"])
    job = json.loads(sys.stdin.readline())
    if "ways" in job:
        for way in job["ways"]:
            _say(_alone(way, job["runs"]))
        return 0
    try:
        runner = SetRunner(job["roles"])
    except (EdgePerceptionError, OSError, TypeError, MemoryError) as error:
        _say({"error": f"{error}"})
        return 0
    _say({"ready": runner.told})
    for line in sys.stdin:
        _say(runner.run(int(json.loads(line)["sets"])))
    return 0


def _alone(way: dict[str, Any], runs: int) -> dict[str, Any]:
    try:
        runner = SetRunner({way["role"]: way})
        runner.run(1)
        times = runner.run(runs)["role_ms"][way["role"]]
    except (EdgePerceptionError, OSError, TypeError, MemoryError) as error:
        return {"error": f"{error}"}
    runner.close()
    return {"p50_ms": float(np.median(times)), **runner.told[way["role"]]}


def _say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())
