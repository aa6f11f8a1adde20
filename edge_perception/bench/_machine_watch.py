"""What else took the cores while a bench ran: other programs, and the host of a virtual machine."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import psutil

_PERIOD_S = 0.05  # the kernel counts in hundredths of a second


@dataclass(frozen=True, kw_only=True)
class Used:
    """Time of cores since the start of the machine, of all cores together."""

    at_ns: int  # system clock
    all_s: float  # by programs
    ours_s: float
    stolen_s: float  # by other machines of the host


class MachineWatch:
    """Looks again and again while it is open; a context manager."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Watch nothing yet.

        Args:
            pids: processes that are no others, as they are now.
        """
        self._ours = [psutil.Process(pid) for pid in pids]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine_watch", daemon=True)
        self.seen: list[Used] = []

    def __enter__(self) -> MachineWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.seen.append(self._look())

    def _look(self) -> Used:
        times = psutil.cpu_times()
        ours_s = 0.0
        for process in self._ours:
            own = process.cpu_times()
            ours_s += own.user + own.system
        return Used(
            at_ns=time.time_ns(),
            all_s=times.user + times.nice + times.system + times.irq + times.softirq,
            ours_s=ours_s,
            stolen_s=times.steal,
        )


def used_between(seen: Sequence[Used], start_ns: int, end_ns: int) -> tuple[float, float] | None:
    """Return what others used in a span of time, and what the host took, s of one core.

    None: it was not watched then.
    """
    at = [used.at_ns for used in seen]
    first, last = bisect.bisect_right(at, start_ns) - 1, bisect.bisect_left(at, end_ns)
    if first < 0 or last >= len(seen):
        return None
    before, after = seen[first], seen[last]
    others_s = (after.all_s - before.all_s) - (after.ours_s - before.ours_s)
    return max(others_s, 0.0), after.stolen_s - before.stolen_s
