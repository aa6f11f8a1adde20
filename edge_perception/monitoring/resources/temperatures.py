"""Temperatures: thermal zones and hardware monitors.

https://docs.kernel.org/driver-api/thermal/sysfs-api.html and hwmon/sysfs-interface.html: both tell
thousandths of a degree Celsius.
"""

from __future__ import annotations

from pathlib import Path

from edge_perception.monitoring.resources.reading import (
    COLDEST_C,
    HOTTEST_C,
    Missing,
    Reading,
    UnreadableError,
    folders,
    number_of,
    text_or,
)

KIND = "temperature_c"


def temperatures(root: Path) -> tuple[list[Reading], list[Missing]]:
    """Return all temperatures that a machine tells.

    Args:
        root: of the file system, `/` on a real machine.
    """
    files = [
        (f"{text_or(zone / 'type', zone.name)}", zone / "temp")
        for zone in folders(root / "sys/class/thermal", "thermal_zone*")
    ]
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        for file in sorted(chip.glob("temp*_input")):
            label = chip / file.name.replace("_input", "_label")
            name = text_or(label, file.name.removesuffix("_input"))
            files.append((f"{text_or(chip / 'name', chip.name)} {name}", file))
    if not files:
        why = "this machine has neither thermal zones nor hwmon"
        return [], [Missing(what="temperatures", why=why)]
    readings, missing = [], []
    for name, file in files:
        try:
            value = number_of(file) / 1000.0
        except UnreadableError as error:
            missing.append(Missing(what=f"temperature {name}", why=str(error)))
            continue
        if not COLDEST_C <= value <= HOTTEST_C:
            why = f"it tells {value:g} °C, expected {COLDEST_C:g} to {HOTTEST_C:g}"
            missing.append(Missing(what=f"temperature {name}", why=why))
            continue
        readings.append(Reading(kind=KIND, name=name, value=value))
    return readings, missing
