"""All that a machine tells of its resources, read again and again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_perception.monitoring.resources.battery import batteries
from edge_perception.monitoring.resources.energy import Inferring, joules
from edge_perception.monitoring.resources.machine import MachineWatch
from edge_perception.monitoring.resources.nvml import Gpus
from edge_perception.monitoring.resources.power import PowerMeter
from edge_perception.monitoring.resources.processes import ProcessWatch
from edge_perception.monitoring.resources.reading import Missing, Reading
from edge_perception.monitoring.resources.temperatures import temperatures
from edge_perception.monitoring.resources.throttling import ThrottleWatch

THROTTLING = "throttling"  # value that says what holds the machine back, or `none`
NOT_AVAILABLE = "not available, because "


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one sample told."""

    readings: tuple[Reading, ...]
    missing: tuple[Missing, ...]
    held_back: tuple[str, ...]  # why the machine is slower than it could be
    total_of: str = ""  # rails that are the total of the watts

    def value(self, kind: str, name: str = "") -> float:
        """Return a reading; NaN: it is not known."""
        found = (r.value for r in self.readings if (r.kind, r.name) == (kind, name))
        return next(found, math.nan)

    def values(self) -> dict[str, str]:
        """Return what diagnostics say: `kind name` and a number, or why there is none."""
        said = {f"{r.kind} {r.name}".strip(): f"{r.value:.10g}" for r in self.readings}
        known = not any(item.what == THROTTLING for item in self.missing)
        if self.held_back or known:
            said[THROTTLING] = "; ".join(self.held_back) or "none"
        if self.total_of:
            said["watts_are_of"] = self.total_of
        for item in self.missing:
            said.setdefault(item.what, f"{NOT_AVAILABLE}{item.why}")
        return said


class ResourceWatch:
    """Reads a machine; what is a difference needs two samples.

    Args:
        root: of the file system, `/` on a real machine.
        gpus: of NVIDIA.
    """

    def __init__(self, root: Path = Path("/"), gpus: Gpus | None = None) -> None:
        self._root = root
        self._machine, self._processes = MachineWatch(root), ProcessWatch(root)
        self._power, self._throttling = PowerMeter(root), ThrottleWatch(root)
        self._gpus = gpus or Gpus()

    def sample(
        self,
        steady_ns: int,
        processes: Mapping[str, int] | None = None,
        inferring: Iterable[Inferring] = (),
        battery: tuple[list[Reading], list[Missing]] = ([], []),
    ) -> Resources:
        """Read everything.

        Args:
            steady_ns: now.
            processes: ids by node.
            inferring: nodes that run a model.
            battery: of the vehicle, as its topic told.
        """
        processes = processes or {}
        power, throttling = self._power.sample(steady_ns), self._throttling.look()
        gpu, no_gpu, gpus_held_back = self._gpus.sample()
        kernel, no_kernel = _kernel_batteries(self._root)
        if battery[0]:
            no_kernel = []  # the vehicle's own is the one that counts
        parts = [
            self._machine.sample(),
            self._processes.sample(processes, steady_ns),
            temperatures(self._root),
            (list(power.rails), list(power.missing)),
            (gpu, no_gpu),
            (kernel, no_kernel),
            battery,
            joules(
                inferring,
                processes,
                self._processes.cores,
                busy_cores=self._machine.busy_cores,
                total_w=power.total_w,
            ),
        ]
        readings = [reading for found, _ in parts for reading in found]
        missing = [*(item for _, lacks in parts for item in lacks), *throttling.missing]
        if math.isfinite(power.total_w):
            readings.append(Reading(kind="watts_total", name="", value=power.total_w))
        if throttling.frequency_share is not None:
            share = throttling.frequency_share
            readings.append(Reading(kind="frequency_share", name="", value=share))
        return Resources(
            readings=tuple(readings),
            missing=tuple(missing),
            held_back=(*throttling.reasons, *gpus_held_back),
            total_of=power.total_of,
        )


def _kernel_batteries(root: Path) -> tuple[list[Reading], list[Missing]]:
    cells, missing = batteries(root)
    readings = []
    for cell in cells:
        share = Reading(kind="battery_charge_share", name=cell.name, value=cell.charge_share)
        readings.append(share)
        if cell.left_s is not None:
            readings.append(Reading(kind="battery_left_s", name=cell.name, value=cell.left_s))
    return readings, missing
