"""Processor, memory, disk and network of the whole machine, from /proc.

https://docs.kernel.org/filesystems/proc.html and admin-guide/iostats.html.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge_perception.monitoring.resources.reading import Missing, Reading, UnreadableError, text_of

_SECTOR_BYTES = 512  # of /proc/diskstats, whatever the disk
# Whole disks; their partitions, loops and memory would count twice or are none.
_DISK = re.compile(r"(sd[a-z]+|vd[a-z]+|xvd[a-z]+|hd[a-z]+|nvme\d+n\d+|mmcblk\d+)")


class MachineWatch:
    """Reads again and again; the share of the processor is that since the sample before.

    Args:
        root: of the file system, `/` on a real machine.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._times: tuple[int, int] | None = None  # busy, all; ticks
        self.busy_cores: float | None = None  # since the sample before; None: not known

    def sample(self) -> tuple[list[Reading], list[Missing]]:
        """Read everything."""
        readings: list[Reading] = []
        missing: list[Missing] = []
        for what, read in (
            ("processor", self._processor),
            ("memory", self._memory),
            ("disk", self._disk),
            ("disk traffic", self._disk_traffic),
            ("network", self._network),
        ):
            try:
                readings += read()
            except UnreadableError as error:
                missing.append(Missing(what=what, why=str(error)))
            except (ValueError, IndexError, KeyError) as error:
                missing.append(Missing(what=what, why=f"/proc has another form: {error!r}"))
        return readings, missing

    def _processor(self) -> list[Reading]:
        lines = text_of(self._root / "proc/stat").splitlines()
        ticks = [int(word) for word in lines[0].split()[1:9]]
        cores = sum(bool(re.match(r"cpu\d", line)) for line in lines)
        idle = ticks[3] + ticks[4]  # idle, iowait
        now, before = (sum(ticks) - idle, sum(ticks)), self._times
        self._times, self.busy_cores = now, None
        if before is None or now[1] <= before[1]:
            return []
        share = max(now[0] - before[0], 0) / (now[1] - before[1])
        self.busy_cores = share * cores
        return [Reading(kind="cpu_share", name="", value=share)]

    def _memory(self) -> list[Reading]:
        text = text_of(self._root / "proc/meminfo")
        kilobytes = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
        return [
            Reading(kind=kind, name="", value=kilobytes[name] * 1024)
            for kind, name in (
                ("memory_bytes", "MemTotal"),
                ("memory_available_bytes", "MemAvailable"),
            )
        ]

    def _disk(self) -> list[Reading]:
        try:
            found = os.statvfs(self._root)
        except OSError as error:
            raise UnreadableError(f"{self._root}: {error.strerror}") from error
        return [
            Reading(kind="disk_bytes", name="", value=found.f_blocks * found.f_frsize),
            Reading(kind="disk_free_bytes", name="", value=found.f_bavail * found.f_frsize),
        ]

    def _disk_traffic(self) -> list[Reading]:
        rows = [line.split() for line in text_of(self._root / "proc/diskstats").splitlines()]
        disks = [row for row in rows if _DISK.fullmatch(row[2])]
        if not disks:
            raise UnreadableError("diskstats of proc names no disk")
        return [
            Reading(
                kind="disk_traffic_bytes",
                name=name,
                value=sum(int(row[column]) for row in disks) * _SECTOR_BYTES,
            )
            for name, column in (("read", 5), ("written", 9))
        ]

    def _network(self) -> list[Reading]:
        text = text_of(self._root / "proc/net/dev")
        rows = re.findall(r"^\s*([^\s:]+):\s*(.*)$", text, re.MULTILINE)
        counts = [values.split() for name, values in rows if name != "lo"]
        if not counts:
            raise UnreadableError("dev of net names no interface but loopback")
        return [
            Reading(kind="network_bytes", name=name, value=sum(int(row[column]) for row in counts))
            for name, column in (("received", 0), ("sent", 8))
        ]
