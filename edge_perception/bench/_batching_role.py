"""Sources of one process that serve one model: shared or not, frames together or one by one."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_perception.bench._role import serve
from edge_perception.core.process_memory import RESIDENT, memory_bytes
from edge_perception.models.golden import read_golden
from edge_perception.models.loading import LoadedModel, ModelOptions, open_bundle
from edge_perception.models.manifest import load_bundle
from edge_perception.models.sessions import believe_in_batches, sharing_told


class Sources:
    """So many sources, each with a thread, on one model."""

    def __init__(
        self, bundle: Path, options: ModelOptions, count: int, hz: float, *, believe: bool
    ) -> None:
        self._hz = hz
        found = load_bundle(bundle)
        self._inputs, _ = read_golden(found)
        before_bytes = memory_bytes(RESIDENT)
        self._models: list[LoadedModel] = []
        for _ in range(count):
            loaded = open_bundle(found, options)
            if options.batch > 1 and loaded.notes:
                raise RuntimeError("; ".join(loaded.notes))
            loaded.backend.warm_up(2)
            loaded.backend.infer(self._inputs)
            if believe:
                believe_in_batches(loaded.backend)
            self._models.append(loaded)
        self._memory_mb = (memory_bytes(RESIDENT) - before_bytes) / 1e6
        self._pool = ThreadPoolExecutor(count)

    def ready(self) -> dict[str, Any]:
        """Return what the models take, MB."""
        return {"memory_mb": self._memory_mb}

    def settle(self) -> dict[str, Any]:
        """Run until it is known whether batches pay here, or there are none."""
        while sharing_told(self._models[0].backend).get("batch_time_ratio", "") == "nan":
            self._run(0.5, 0.0)
        return {}

    def saturated(self, seconds: float) -> dict[str, Any]:
        """Run as fast as it goes; frames a second of all, times of a frame, and of each source."""
        return self._run(seconds, 0.0)

    def paced(self, seconds: float) -> dict[str, Any]:
        """Run at a rate, the sources triggered together as cameras of a rig are."""
        return self._run(seconds, 1.0 / self._hz)

    def _run(self, seconds: float, period_s: float) -> dict[str, Any]:
        start = threading.Barrier(len(self._models))
        runs = [
            self._pool.submit(self._source, loaded, start, seconds, period_s)
            for loaded in self._models
        ]
        took = [run.result() for run in runs]
        return {
            "rate_hz": sum(len(times) for times in took) / seconds,
            "took_ms": [value for times in took for value in times],
            "frames": [len(times) for times in took],
            "told": sharing_told(self._models[0].backend),
        }

    def _source(
        self, loaded: LoadedModel, start: threading.Barrier, seconds: float, period_s: float
    ) -> list[float]:
        took = []
        start.wait()
        began = due = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            if period_s:
                time.sleep(max(0.0, due - now))
            came = max(due, began) if period_s else now
            loaded.backend.infer(self._inputs)
            took.append(round((time.monotonic() - came) * 1e3, 3))
            # Newest wins: what came while a frame was in work is left out.
            due += period_s
            while period_s and due < time.monotonic() - period_s:
                due += period_s
        return took


def main() -> None:
    """Serve: BUNDLE, SOURCES, HZ, BATCH, and `own`, `shared` or `believed`."""
    bundle, count, hz, batch, how = sys.argv[1:]
    options = ModelOptions(model="")
    options = replace(options, batch=int(batch), share_session=how != "own")
    sources = Sources(Path(bundle), options, int(count), float(hz), believe=how == "believed")
    serve(
        {
            "ready": sources.ready,
            "settle": sources.settle,
            "paced": sources.paced,
            "saturated": sources.saturated,
        }
    )


if __name__ == "__main__":
    main()
