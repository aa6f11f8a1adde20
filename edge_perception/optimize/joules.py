"""Energy of what runs: the machine's own counters and sensors, read around it.

What is told is the whole machine, whoever else is at work on it. So that a figure is of the work,
the draw of the idle machine is measured in turns with it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edge_perception.monitoring.resources.nvml import Gpus
from edge_perception.monitoring.resources.power import INA, PowerMeter

_PERIOD_S = 0.05  # of sensors, which tell watts of a moment
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """What was drawn while something ran."""

    joules: float  # NaN: not known
    seconds: float
    of: str = ""  # which parts of the machine
    why_not: str = ""  # why parts of it, or all, are not known


@dataclass(frozen=True, kw_only=True)
class SetEnergy:
    """Joules of sets, measured in turns with each other and with the idle machine."""

    set_j: float = math.nan  # of the setting, idle draw included
    base_set_j: float = math.nan  # of the one that it is compared with
    idle_w: float = math.nan
    of: str = ""
    why_not: str = ""
    role_j: Mapping[str, float] = field(default_factory=dict)  # one run alone, idle draw taken off

    @property
    def known(self) -> bool:
        """Whether the machine tells anything."""
        return math.isfinite(self.set_j)


NOT_MEASURED = SetEnergy(why_not="it was not measured")


class EnergyMeter:
    """Reads RAPL, power sensors and GPUs.

    Args:
        root: of the file system, `/` on a real machine.
        gpus: reader of GPUs; None: that of NVIDIA's driver.
        period_s: between readings.
    """

    def __init__(
        self, root: Path = Path("/"), gpus: Any = None, period_s: float = _PERIOD_S
    ) -> None:
        self._power, self._gpus = PowerMeter(root), gpus if gpus is not None else Gpus()
        self._period_s = period_s

    def why_not(self) -> str:
        """Return why this machine tells no joules; empty: it does."""
        found = self.measure(lambda: time.sleep(2 * self._period_s))[1]
        return "" if math.isfinite(found.joules) else found.why_not

    def measure(self, work: Callable[[], T]) -> tuple[T, Energy]:
        """Do something and return what it gave and what was drawn meanwhile."""
        began_ns = time.monotonic_ns()
        sums = _Sums(began_ns)
        self._sample(began_ns)  # counters count from here on
        done = threading.Event()

        def watch() -> None:
            while not done.wait(self._period_s):
                now_ns = time.monotonic_ns()
                sums.add(now_ns, *self._sample(now_ns))

        reader = threading.Thread(target=watch, name="joules", daemon=True)
        reader.start()
        try:
            result = work()
        finally:
            done.set()
            reader.join()
        now_ns = time.monotonic_ns()
        sums.add(now_ns, *self._sample(now_ns))
        return result, sums.told()

    def _sample(self, now_ns: int) -> tuple[dict[str, float], list[str]]:
        """Return watts by part of the machine, and why others are not known."""
        power = self._power.sample(now_ns)
        readings, missing, _ = self._gpus.sample()
        watts: dict[str, float] = {}
        if math.isfinite(power.total_w):
            watts[power.total_of] = power.total_w
        # The input of a module feeds its GPU too.
        if not power.total_of.startswith(INA):
            watts |= {item.name: item.value for item in readings if item.kind == "watts"}
        why = [item.text for item in power.missing]
        if power.rails and not math.isfinite(power.total_w):
            why.append("watts: no rail is known that feeds all others")
        return watts, [*why, *(m.text for m in missing if m.what.split()[0] in ("watts", "GPU"))]


class _Sums:
    def __init__(self, began_ns: int) -> None:
        self._began_ns = self._last_ns = began_ns
        self._joules: dict[str, float] = {}
        self._told_ns: dict[str, int] = {}  # of the time, how much each part told
        self._why: list[str] = []

    def add(self, now_ns: int, watts: Mapping[str, float], why: list[str]) -> None:
        """Add what was drawn since the last call."""
        passed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        for name, value in watts.items():
            self._joules[name] = self._joules.get(name, 0.0) + value * passed_ns / 1e9
            self._told_ns[name] = self._told_ns.get(name, 0) + passed_ns
        self._why += [text for text in why if text not in self._why]

    def told(self) -> Energy:
        """Return the sum; a part that was silent for a while is left out."""
        all_ns = self._last_ns - self._began_ns
        whole = {n: j for n, j in self._joules.items() if self._told_ns[n] == all_ns}
        return Energy(
            joules=sum(whole.values()) if whole else math.nan,
            seconds=all_ns / 1e9,
            of=" + ".join(whole),
            why_not="; ".join(self._why) or ("" if whole else "watts: the readers fell silent"),
        )
