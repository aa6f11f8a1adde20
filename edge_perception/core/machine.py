"""What machine this is, as far as a measured figure depends on it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_ACCEL = Path("/sys/class/accel")  # NPUs, by the kernel's accel subsystem


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware that a device plan is measured on."""

    processor: str
    architecture: str
    cores: int  # that this process may use
    accelerators: tuple[str, ...] = ()

    def differs(self, other: Machine) -> str:
        """Say in what another machine differs; empty: a figure measured there holds here."""
        pairs = (
            ("processor", self.processor, other.processor),
            ("architecture", self.architecture, other.architecture),
            ("cores", self.cores, other.cores),
            ("accelerators", self.accelerators, other.accelerators),
        )
        return "; ".join(
            f"{name} {_text(there)}, here {_text(here)}"
            for name, here, there in pairs
            if here != there
        )


@cache
def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(
        processor=_processor(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        accelerators=tuple(sorted([*_nvidia(_NVIDIA), *_npus(_ACCEL)])),
    )


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    keys = ("model name", "Model", "Hardware", "cpu model")  # x86; Arm boards; others
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), value.strip())
    return next((values[key] for key in keys if values.get(key)), platform.processor() or "unknown")


def _nvidia(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*/information")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                found.append(line.partition(":")[2].strip())
    return found


def _npus(folder: Path) -> list[str]:
    return [f"npu {path.name}" for path in sorted(folder.glob("accel*"))]


def _text(value: object) -> str:
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)
