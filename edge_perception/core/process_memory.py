"""What the kernel says of the memory of this process."""

from __future__ import annotations

from pathlib import Path

RESIDENT, PEAK, MAPPED = "VmRSS", "VmHWM", "VmSize"


def memory_bytes(figure: str, status: Path = Path("/proc/self/status")) -> int:
    """Return a figure of this process, bytes (proc(5), status).

    Args:
        figure: RESIDENT, PEAK (highest resident) or MAPPED.
        status: where the kernel says so.

    Raises:
        OSError: this machine does not tell.
    """
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{figure}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{status} has no {figure}")
