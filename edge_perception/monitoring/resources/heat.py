"""Whether a machine is too hot or throttles, as load control asks; with hysteresis."""

from __future__ import annotations

from pathlib import Path

from edge_perception.monitoring.resources.temperatures import temperatures
from edge_perception.monitoring.resources.throttling import ThrottleWatch

COOLER_C = 5.0  # below the limit, until it counts as cool again


class HeatWatch:
    """Looks again and again; `reason` is empty while nothing is wrong, as far as it is told.

    Args:
        hottest_c: of any sensor; 0: temperatures are not asked.
        throttling: whether a machine that slows itself is a reason.
        root: of the file system, `/` on a real machine.
    """

    def __init__(self, *, hottest_c: float, throttling: bool, root: Path = Path("/")) -> None:
        self._hottest_c, self._root = hottest_c, root
        self._throttling = ThrottleWatch(root) if throttling else None
        self._hot = False
        self.reason = ""
        self.not_told = ""  # why an input that was asked for cannot be had

    def look(self) -> None:
        """Read the files of the kernel."""
        reasons: list[str] = []
        not_told: list[str] = []
        if self._hottest_c > 0.0:
            readings, missing = temperatures(self._root)
            not_told += [item.text for item in missing]
            limit_c = self._hottest_c - (COOLER_C if self._hot else 0.0)
            hottest = max(readings, key=lambda item: item.value, default=None)
            # A sensor that fell silent has not become cool.
            if hottest is not None:
                self._hot = hottest.value > limit_c
            if self._hot and hottest is not None:
                reasons.append(f"{hottest.name} {hottest.value:.0f} °C > {limit_c:.0f} °C")
            elif self._hot:
                reasons.append("it was too hot, and no temperature is told any more")
        if self._throttling is not None:
            seen = self._throttling.look()
            reasons += seen.reasons
            not_told += [item.text for item in seen.missing]
        self.reason, self.not_told = "; ".join(reasons), "; ".join(not_told)
