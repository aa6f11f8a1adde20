"""Batteries as the kernel tells them, and how long they last.

https://docs.kernel.org/power/power_supply_class.html: microwatt hours and microwatts, or
microampere hours and microamperes.
"""

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


@dataclass(frozen=True, kw_only=True)
class Battery:
    """One battery."""

    name: str
    charge_share: float
    status: str  # `Discharging`, `Charging`, `Full`, ...
    left_s: float | None  # at the present draw; None: it is not discharging, or draws nothing


def batteries(root: Path) -> tuple[list[Battery], list[Missing]]:
    """Return the batteries that feed the machine.

    Args:
        root: of the file system, `/` on a real machine.
    """
    found, missing = [], []
    for folder in folders(root / "sys/class/power_supply", "*"):
        # One of `Device` scope is a mouse's.
        kind, scope = text_or(folder / "type", ""), text_or(folder / "scope", "System")
        if kind != "Battery" or scope == "Device":
            continue
        try:
            found.append(_battery(folder))
        except UnreadableError as error:
            missing.append(Missing(what=f"battery {folder.name}", why=str(error)))
    if not found and not missing:
        missing.append(Missing(what="battery", why="the kernel tells of none"))
    return found, missing


def _battery(folder: Path) -> Battery:
    """Read one; energy and charge are told by different makers."""
    what, flow = ("energy", "power") if (folder / "energy_now").exists() else ("charge", "current")
    now, full = number_of(folder / f"{what}_now"), number_of(folder / f"{what}_full")
    if full <= 0 or not 0 <= now <= 1.5 * full:
        raise UnreadableError(f"it tells {now} of {full} {what}")
    status = text_or(folder / "status", "Unknown")
    left_s = None
    if status == "Discharging":
        drawn = abs(number_of(folder / f"{flow}_now"))  # some tell it below 0
        left_s = now / drawn * 3600.0 if drawn else None
    return Battery(
        name=folder.name, charge_share=min(now / full, 1.0), status=status, left_s=left_s
    )
