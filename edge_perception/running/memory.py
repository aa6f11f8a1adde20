"""Memory of a set of processes, as proportional set size (PSS).

Pages shared by n processes count 1/n in each, so the sum over processes is what they cost
together (Linux, Documentation/filesystems/proc.rst, smaps_rollup).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One process at one moment, 10^6 bytes; zero when it is gone."""

    pss_mb: float = 0.0
    anonymous_mb: float = 0.0  # the part that is no file: heap and stacks, what a leak grows


def memory_of(pid: int) -> Memory:
    """Return what a process occupies."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return Memory()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return Memory(pss_mb=kib.get("Pss", 0) * 1024e-6, anonymous_mb=kib.get("Pss_Anon", 0) * 1024e-6)


@dataclass(frozen=True, kw_only=True)
class MemorySample:
    """One look at all processes."""

    time_s: float  # since sampling started
    by_process: Mapping[str, Memory]

    @property
    def sum_mb(self) -> float:
        """All processes together."""
        return sum(memory.pss_mb for memory in self.by_process.values())

    @property
    def anonymous_mb(self) -> float:
        """Heap and stacks of all processes."""
        return sum(memory.anonymous_mb for memory in self.by_process.values())


@dataclass(kw_only=True)
class MemoryReport:
    """All samples of a run."""

    samples: list[MemorySample] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the last sample by process, the sum, the highest sum, and one look a minute."""
        if not self.samples:
            return {"sum": 0.0, "peak": 0.0, "by_process": {}, "by_minute": {}}
        last = self.samples[-1]
        return {
            "sum": round(last.sum_mb, 1),
            "peak": round(max(sample.sum_mb for sample in self.samples), 1),
            "by_process": {n: round(memory.pss_mb, 1) for n, memory in last.by_process.items()},
            "by_minute": {
                str(minute): {
                    "sum": round(sample.sum_mb, 1),
                    "anonymous": round(sample.anonymous_mb, 1),
                }
                for minute in range(1, int(last.time_s // 60) + 1)
                if (sample := next((s for s in self.samples if s.time_s >= 60 * minute), None))
            },
        }


class MemorySampler:
    """Looks at processes every few seconds in a thread of its own; a context manager."""

    def __init__(self, processes: Mapping[str, int], *, period_s: float = 2.0) -> None:
        self._processes, self._period_s = dict(processes), period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.report = MemoryReport()

    def _run(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(self._period_s):
            self._sample(time.monotonic() - start)

    def _sample(self, time_s: float) -> None:
        by_process = {name: memory_of(pid) for name, pid in self._processes.items()}
        self.report.samples.append(MemorySample(time_s=time_s, by_process=by_process))

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
