"""The battery of the vehicle as `sensor_msgs/BatteryState` tells it."""

from __future__ import annotations

import math
from typing import Any

from edge_perception.monitoring.resources.reading import MOST_WATTS, Missing, Reading

NAME = "vehicle"
_DISCHARGING = 2  # POWER_SUPPLY_STATUS_DISCHARGING


def battery_readings(message: Any) -> tuple[list[Reading], list[Missing]]:
    """Return charge, watts drawn and the time that is left at the present draw.

    Args:
        message: volts, amperes (below 0: discharging), ampere hours, a share of 0 to 1; NaN where
            the driver does not know.
    """
    readings: list[Reading] = []
    missing: list[Missing] = []
    what = f"{{}} of battery {NAME}"

    def told(name: str, kind: str, value: float, low: float, high: float) -> None:
        if math.isnan(value):
            missing.append(Missing(what=what.format(name), why="its driver does not tell it"))
        elif low <= value <= high:
            readings.append(Reading(kind=kind, name=NAME, value=value))
        else:
            why = f"it tells {value:g}, expected {low:g} to {high:g}"
            missing.append(Missing(what=what.format(name), why=why))

    volts, amperes = float(message.voltage), float(message.current)
    told("charge", "battery_charge_share", float(message.percentage), 0.0, 1.0)
    # Drivers that do not know the sign of the convention tell the status at least.
    draws = amperes < 0.0 or message.power_supply_status == _DISCHARGING
    if not draws and not math.isnan(amperes):
        return readings, missing
    told("watts", "battery_watts", abs(volts * amperes), 0.0, MOST_WATTS)
    left_s = float(message.charge) / abs(amperes) * 3600.0 if amperes else math.nan
    told("time left", "battery_left_s", left_s, 0.0, 30 * 86400.0)
    return readings, missing
