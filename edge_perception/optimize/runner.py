"""The helper process that runs a set as a vehicle would: all encoders at once, fusion last.

Folders of plug-ins and a job as lines of JSON on stdin, answers as lines on stdout. With `roles` a
set is loaded, and run as often as the lines after it ask, until stdin ends. With `ways` models run
alone, one after the other, a line for each; each in a copy of this process as it was before any
runtime was there, so that the memory of one does not depend on those before it.

Not for people; `edge_perception.optimize.measuring` starts it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_perception.core.child_process import ending
from edge_perception.core.errors import BackendError, EdgePerceptionError
from edge_perception.core.plugins import add_plugin_folders
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.loading import LoadedModel, ModelOptions, open_bundle
from edge_perception.models.manifest import FUSION, load_bundle
from edge_perception.models.sessions import believe_in_batches
from edge_perception.optimize.footprint import anonymous_bytes, start_runtime

if TYPE_CHECKING:  # what runs models alone starts as light as it can, and is copied so
    from edge_perception.core.types import Feature
    from edge_perception.optimize.set_stages import Frames, FusionStage, SourceStage


class SetRunner:
    """Loaded models with what they run on.

    Args:
        roles: jobs by role.
        frames: by role; a role that has some runs from frame to decisions, and what all of them
            give is fused. Others run their model on its golden inputs.
    """

    def __init__(
        self, roles: dict[str, dict[str, Any]], frames: Mapping[str, Frames] | None = None
    ) -> None:
        self._models: dict[str, list[LoadedModel]] = {}  # by role, one for each source
        self._inputs: dict[str, dict[str, np.ndarray]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self._stages: dict[str, list[SourceStage]] = {}
        for role, job in roles.items():
            # Beside others, what a model takes depends on which of them came first.
            self._open(role, job, measure_memory=len(roles) == 1)
            if role != FUSION and frames and frames.get(role):
                from edge_perception.optimize.set_stages import SourceStage

                self._stages[role] = [
                    SourceStage(role, number, loaded, frames[role])
                    for number, loaded in enumerate(self._models[role])
                ]
        self._fusion: FusionStage | None = None
        if self._stages:
            from edge_perception.optimize.set_stages import FusionStage

            names = [stage.source for stages in self._stages.values() for stage in stages]
            fusion = self._models.get(FUSION)
            self._fusion = FusionStage(names, fusion[0] if fusion else None)
        self._features: dict[str, Feature] = {}
        self._encoders = [role for role in self._models if role != FUSION]
        self._pool = ThreadPoolExecutor(max(1, len(self._encoders)))
        self._beside = ThreadPoolExecutor(sum(len(models) for models in self._models.values()))

    def run(self, sets: int, only: str = "") -> dict[str, Any]:
        """Run sets one after the other; times in ms, of each set and of each model in it.

        Args:
            sets: how many.
            only: role that runs, the others do not; empty: all.
        """
        set_ms: list[float] = []
        role_ms: dict[str, list[float]] = {role: [] for role in self._models}
        encoders = [role for role in self._encoders if only in ("", role)]
        for _ in range(sets):
            began_s = time.perf_counter()
            for role, took in zip(encoders, self._pool.map(self._infer, encoders), strict=True):
                role_ms[role].append(took)
            if only in ("", FUSION):
                took = self._fuse()
                if FUSION in self._models:
                    role_ms[FUSION].append(took)
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
        stages = self._stages.get(role)
        if stages is not None:
            others = [self._beside.submit(stage.run) for stage in stages[1:]]
            made = [stages[0].run(), *(other.result() for other in others)]
            self._features |= {feature.source: feature for feature in made}
        else:
            inputs = self._inputs[role]
            first, *more = self._models[role]
            running = [self._beside.submit(loaded.backend.infer, inputs) for loaded in more]
            first.backend.infer(inputs)
            for other in running:
                other.result()
        return (time.perf_counter() - began_s) * 1e3

    def _fuse(self) -> float:
        if self._fusion is None:
            return self._infer(FUSION) if FUSION in self._models else 0.0
        began_s = time.perf_counter()
        self._fusion.run(self._features)
        return (time.perf_counter() - began_s) * 1e3

    def _open(self, role: str, job: dict[str, Any], *, measure_memory: bool) -> None:
        bundle = load_bundle(Path(job["bundle"]))
        options = ModelOptions(**job["options"])
        memory: dict[str, Any] = {}
        if measure_memory:
            empty = anonymous_bytes()
            why_not = start_runtime(options)
            before = anonymous_bytes()
            memory["runtime_mb"] = None if why_not else (before - empty) / 1e6
        began_s = time.monotonic()
        models = self._models[role] = []
        for _ in range(job["sources"]):
            loaded = open_bundle(bundle, options)
            models.append(loaded)
            if options.batch > 1 and loaded.notes:
                raise BackendError("; ".join(loaded.notes))
            believe_in_batches(loaded.backend)
            loaded.backend.warm_up(bundle.manifest.gates.warm_up_runs)
        load_s = time.monotonic() - began_s
        if measure_memory:
            memory["memory_mb"] = max(anonymous_bytes() - before, 0) / 1e6
        inputs, _ = read_golden(bundle)
        self._inputs[role] = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        info = loaded.backend.describe()
        deviations = compare_golden(bundle, loaded.backend)
        self.told[role] = {
            "load_s": load_s,
            **memory,
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
            _in_copy(way, job["runs"])
        return 0
    try:
        frames = None
        if job.get("frames"):
            from edge_perception.optimize.set_frames import read_set_frames

            frames = read_set_frames(Path(job["frames"]))
        runner = SetRunner(job["roles"], frames)
        runner.run(1)  # a model that refuses its frames does not run like this
    except (EdgePerceptionError, OSError, TypeError, MemoryError) as error:
        _say({"error": f"{error}"})
        return 0
    _say({"ready": runner.told})
    for line in sys.stdin:
        asked = json.loads(line)
        _say(runner.run(int(asked["sets"]), str(asked.get("only", ""))))
    return 0


def _in_copy(way: dict[str, Any], runs: int) -> None:
    """Run one way in a copy of this process, which has loaded no runtime yet.

    Its only threads are those of NumPy's library, which is made to be copied so.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            _say(_alone(way, runs))
            code = 0
        finally:
            os._exit(code)  # not what the first process would do at its end
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        _say({"error": f"the helper ended with {ending(code)}"})


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
