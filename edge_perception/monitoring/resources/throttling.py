"""Whether the machine makes itself slower: throttling counters, cooling devices, frequencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_perception.monitoring.resources.reading import (
    Missing,
    UnreadableError,
    folders,
    number_of,
    text_or,
)

_CPUS = "sys/devices/system/cpu"
_COUNTERS = ("core_throttle_count", "package_throttle_count")


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """What slows the machine now; `reasons` is empty where nothing does, as far as it is told."""

    reasons: tuple[str, ...]
    frequency_share: float | None  # mean of the cores' frequencies to their highest; None: not told
    missing: tuple[Missing, ...]

    @property
    def text(self) -> str:
        """One line for people."""
        told = "; ".join(self.reasons) or "none"
        if self.missing:
            told += "; " + "; ".join(item.text for item in self.missing)
        return told


class ThrottleWatch:
    """Looks again and again; counters tell what happened since the look before.

    Args:
        root: of the file system, `/` on a real machine.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counts: dict[str, int] = {}

    def look(self) -> Throttling:
        """Read everything."""
        reasons = [*self._counted(), *self._cooled()]
        missing = []
        if not self._counts and not any(self._devices()):
            why = "this machine has neither throttling counters nor cooling devices"
            missing.append(Missing(what="throttling", why=why))
        return Throttling(
            reasons=tuple(reasons), frequency_share=self._frequency(), missing=tuple(missing)
        )

    def _counted(self) -> list[str]:
        """Name processors that were throttled since the look before."""
        found = 0
        for cpu in folders(self._root / _CPUS, "cpu[0-9]*"):
            for counter in _COUNTERS:
                try:
                    count = number_of(cpu / "thermal_throttle" / counter)
                except UnreadableError:
                    continue
                key = f"{cpu.name} {counter}"
                found += max(count - self._counts.get(key, count), 0)
                self._counts[key] = count
        return [f"processor throttled by heat {found} times"] if found else []

    def _devices(self) -> list[Path]:
        return list(folders(self._root / "sys/class/thermal", "cooling_device*"))

    def _cooled(self) -> list[str]:
        """Name what a cooling device holds back; a fan that runs slows nothing."""
        found = []
        for device in self._devices():
            kind = text_or(device / "type", device.name)
            try:
                now, most = number_of(device / "cur_state"), number_of(device / "max_state")
            except UnreadableError:
                continue
            if now > 0 and "fan" not in kind.lower():
                found.append(f"{kind} held back, step {now} of {most}")
        return found

    def _frequency(self) -> float | None:
        shares = []
        for cpu in folders(self._root / _CPUS, "cpu[0-9]*"):
            try:
                now = number_of(cpu / "cpufreq/scaling_cur_freq")
                shares.append(now / max(number_of(cpu / "cpufreq/cpuinfo_max_freq"), 1))
            except UnreadableError:
                continue
        return sum(shares) / len(shares) if shares else None
