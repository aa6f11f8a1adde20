"""Watts: RAPL of x86 processors, INA3221 and other power sensors of hwmon.

https://docs.kernel.org/power/powercap/powercap.html: microjoules that wrap at
`max_energy_range_uj`; hwmon/sysfs-interface.html: microwatts, millivolts, milliamperes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_perception.monitoring.resources.reading import (
    MOST_WATTS,
    Missing,
    Reading,
    UnreadableError,
    folders,
    number_of,
    text_of,
    text_or,
)

KIND = "watts"
INA = "ina3221"
# Rails that all others are fed from: NVIDIA's boards call the input of the module so.
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0")


@dataclass(frozen=True, kw_only=True)
class Power:
    """What was drawn since the sample before (RAPL), or is drawn now (sensors)."""

    rails: tuple[Reading, ...]
    missing: tuple[Missing, ...]
    total_w: float  # NaN: no rail is known to feed all others
    total_of: str  # which rails that is

    @property
    def text(self) -> str:
        """One line for people."""
        if not self.rails:
            return "; ".join(item.text for item in self.missing)
        parts = [f"{item.name} {item.value:.1f} W" for item in self.rails]
        total = f"total {self.total_w:.1f} W ({self.total_of}); " if self.total_of else ""
        return total + ", ".join(parts)


@dataclass(kw_only=True)
class _Counter:
    """Energy of one RAPL zone as it was last read."""

    microjoules: int
    steady_ns: int


class PowerMeter:
    """Reads power again and again; the first sample tells no RAPL, which needs two.

    Args:
        root: of the file system, `/` on a real machine.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counters: dict[str, _Counter] = {}

    def sample(self, steady_ns: int) -> Power:
        """Read everything."""
        rails: list[Reading] = []
        missing: list[Missing] = []
        zones: dict[str, float] = {}
        for zone, name in self._zones():
            try:
                watts = self._zone_watts(zone, steady_ns)
            except UnreadableError as error:
                missing.append(Missing(what=f"watts of {name}", why=str(error)))
                continue
            if watts is None:
                continue
            if _keep(name, watts, rails, missing):
                zones[name] = watts
        inputs: dict[str, float] = {}
        for name, read in self._sensors():
            try:
                watts = read()
            except UnreadableError as error:
                missing.append(Missing(what=f"watts of {name}", why=str(error)))
                continue
            if _keep(name, watts, rails, missing) and name.split()[-1] in _INPUTS:
                inputs[name] = watts
        if not rails and not missing and not self._counters:
            why = "this machine has neither RAPL nor power sensors of hwmon"
            missing.append(Missing(what="watts", why=why))
        total = inputs or _whole(zones)
        return Power(
            rails=tuple(rails),
            missing=tuple(missing),
            total_w=sum(total.values()) if total else math.nan,
            total_of=" + ".join(total),
        )

    def _zones(self) -> Iterator[tuple[Path, str]]:
        """Yield the zones of RAPL and their names; those of a package begin with its name."""
        powercap = self._root / "sys/class/powercap"
        for zone in sorted(powercap.glob("intel-rapl:*")):
            try:
                name = text_of(zone / "name")
            except UnreadableError:
                continue
            parent = powercap / zone.name.rpartition(":")[0]
            above = text_or(parent / "name", "") if zone.name.count(":") > 1 else ""
            yield zone, f"{above} {name}".strip()

    def _zone_watts(self, zone: Path, steady_ns: int) -> float | None:
        """Return the mean since the sample before; None: there was none."""
        now = _Counter(microjoules=number_of(zone / "energy_uj"), steady_ns=steady_ns)
        before = self._counters.get(zone.name)
        self._counters[zone.name] = now
        if before is None or steady_ns <= before.steady_ns:
            return None
        used = now.microjoules - before.microjoules
        if used < 0:
            used += number_of(zone / "max_energy_range_uj")
        return used * 1e-6 / ((steady_ns - before.steady_ns) * 1e-9)

    def _sensors(self) -> Iterator[tuple[str, _Read]]:
        for chip in folders(self._root / "sys/class/hwmon", "hwmon*"):
            name = text_or(chip / "name", chip.name)
            if name == INA:
                yield from _rails(chip)
            for file in sorted(chip.glob("power*_input")):
                label = file.name.removesuffix("_input")
                rail = text_or(chip / f"{label}_label", label)
                yield f"{name} {rail}", _Read(microwatts=file)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Where a rail is read: its power, or its voltage and current."""

    microwatts: Path | None = None
    millivolts: Path | None = None
    milliamperes: Path | None = None

    def __call__(self) -> float:
        if self.microwatts is not None:
            return number_of(self.microwatts) * 1e-6
        assert self.millivolts is not None
        assert self.milliamperes is not None
        return number_of(self.millivolts) * number_of(self.milliamperes) * 1e-6


def _rails(chip: Path) -> Iterator[tuple[str, _Read]]:
    """Yield the channels of an INA3221 that carry a current; inputs above 3 are sums of shunts."""
    for number in (1, 2, 3):
        volts, amperes = chip / f"in{number}_input", chip / f"curr{number}_input"
        if volts.exists() and amperes.exists():
            rail = text_or(chip / f"in{number}_label", f"channel {number}")
            if rail != "NC":  # not connected, as device trees say
                yield f"{INA} {rail}", _Read(millivolts=volts, milliamperes=amperes)


def _keep(name: str, watts: float, rails: list[Reading], missing: list[Missing]) -> bool:
    """Take a rail's watts where they can be true."""
    if 0.0 <= watts <= MOST_WATTS:
        rails.append(Reading(kind=KIND, name=name, value=watts))
        return True
    why = f"it tells {watts:g} W, expected 0 to {MOST_WATTS:g}"
    missing.append(Missing(what=f"watts of {name}", why=why))
    return False


def _whole(zones: dict[str, float]) -> dict[str, float]:
    """Return the zones that together are all that RAPL sees, none within another.

    `psys` is the whole board where there is one; `core` and `uncore` are parts of a package, its
    memory (`dram`) is not.
    """
    if "psys" in zones:
        return {"psys": zones["psys"]}
    packages = {n: w for n, w in zones.items() if n.startswith("package-") and " " not in n}
    memory = {n: w for n, w in zones.items() if n.endswith("dram")}
    return {**packages, **memory} if packages else {}
