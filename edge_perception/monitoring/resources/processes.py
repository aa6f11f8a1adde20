"""What single processes use: processor time and memory (PSS), from /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_perception.monitoring.resources.reading import (
    Missing,
    Reading,
    UnreadableError,
    text_of,
    text_or,
)

_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
PROCESS = "process"  # value of diagnostics under which a node says which process it is


def own_process(root: Path = Path("/")) -> str:
    """Return the id of this process with where it counts: the start of the machine, the namespace.

    Another machine, and another container, has other processes of the same number.
    """
    return f"{os.getpid()} {_where(root)}"


def pid_here(process: str, root: Path = Path("/")) -> int | None:
    """Return the process id of what `own_process` said; None: it is of elsewhere."""
    pid, _, where = process.partition(" ")
    return int(pid) if pid.isdigit() and where == _where(root) else None


def _where(root: Path) -> str:
    start = text_or(root / "proc/sys/kernel/random/boot_id", "unknown")[:8]
    try:
        namespace = os.readlink(root / "proc/self/ns/pid")
    except OSError:
        namespace = "unknown"
    return f"{start} {namespace}"


@dataclass(frozen=True, kw_only=True)
class _Times:
    started: int  # ticks since the start of the machine: a number may be used again
    used_ticks: int
    steady_ns: int


class ProcessWatch:
    """Reads again and again; shares are those since the sample before.

    Args:
        root: of the file system, `/` on a real machine.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._times: dict[int, _Times] = {}
        self._ticks_hz = os.sysconf("SC_CLK_TCK")
        self.cores: dict[int, float] = {}  # that a process kept busy, by id

    def sample(
        self, processes: Mapping[str, int], steady_ns: int
    ) -> tuple[list[Reading], list[Missing]]:
        """Read what each process uses.

        Args:
            processes: ids by the name that readings get; several names may share one.
            steady_ns: now.
        """
        readings: list[Reading] = []
        missing: list[Missing] = []
        ids = set(processes.values())
        self._times = {pid: item for pid, item in self._times.items() if pid in ids}
        self.cores = {}
        pss: dict[int, int | str] = {}
        for pid in sorted(ids):
            try:
                self._read_times(pid, steady_ns)
                pss[pid] = self._pss_bytes(pid)
            except UnreadableError as error:
                pss[pid] = str(error)
        for name, pid in sorted(processes.items()):
            if pid in self.cores:
                readings.append(Reading(kind="node_cpu_cores", name=name, value=self.cores[pid]))
            held = pss[pid]
            if isinstance(held, str):
                missing.append(Missing(what=f"memory of {name}", why=held))
            else:
                readings.append(Reading(kind="node_pss_bytes", name=name, value=held))
        return readings, missing

    def _read_times(self, pid: int, steady_ns: int) -> None:
        # The name in brackets may hold anything.
        fields = text_of(self._root / f"proc/{pid}/stat").rpartition(")")[2].split()
        try:
            used, started = int(fields[11]) + int(fields[12]), int(fields[19])
        except (IndexError, ValueError):
            raise UnreadableError(f"stat of {pid} has another form") from None
        before = self._times.get(pid)
        self._times[pid] = _Times(started=started, used_ticks=used, steady_ns=steady_ns)
        if before is None or before.started != started or steady_ns <= before.steady_ns:
            return
        passed_s = (steady_ns - before.steady_ns) / 1e9
        self.cores[pid] = max(used - before.used_ticks, 0) / self._ticks_hz / passed_s

    def _pss_bytes(self, pid: int) -> int:
        found = _PSS.search(text_of(self._root / f"proc/{pid}/smaps_rollup"))
        if found is None:
            raise UnreadableError(f"smaps_rollup of {pid} tells no PSS")
        return int(found[1]) * 1024
