"""Another program on the cores: loops that do nothing but run."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType


class BusyLoops:
    """Processes at normal priority; a context manager."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, count: int) -> None:
        """Start so many."""
        for _ in range(count):
            self._processes.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))

    def __enter__(self) -> BusyLoops:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
