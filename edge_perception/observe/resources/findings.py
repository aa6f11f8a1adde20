"""What of a machine's resources people should look at."""

from __future__ import annotations

from edge_perception.monitoring.resources.reading import NONSENSE
from edge_perception.monitoring.resources.watch import Resources

LEAST_LEFT = 0.05  # of memory and of the disk


def findings(resources: Resources) -> list[str]:
    """Return what is wrong, a line each: a machine held back, nearly full, or a broken sensor."""
    found = [*resources.held_back]
    for what, left, whole in (
        ("memory", "memory_available_bytes", "memory_bytes"),
        ("disk", "disk_free_bytes", "disk_bytes"),
    ):
        share = resources.value(left) / max(resources.value(whole), 1.0)
        if share < LEAST_LEFT:  # NaN: not known
            found.append(f"{what}: {share:.1%} left < {LEAST_LEFT:.0%}")
    found += [item.text for item in resources.missing if item.why.startswith(NONSENSE)]
    return found
