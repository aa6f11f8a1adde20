"""Colours and sizes that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence

from edge_perception.core.types import Mode, SourceState

WIDTH_PX = 1600
DPI = 100

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
PAPER = "#ffffff"

STATE = {
    SourceState.OK: "#3f9b5f",
    SourceState.LATE: "#f2c14e",
    SourceState.STALE: "#f08a24",
    SourceState.MISSING: "#d1495b",
    SourceState.INVALID: "#7d53a8",
}
MODE = {
    Mode.FULL: "#3f9b5f",
    Mode.DEGRADED: "#f2c14e",
    Mode.MINIMAL: "#f08a24",
    Mode.NONE: "#9aa5b1",
}
CUT = "#d1495b"
EMERGENCY = "#c2185b"
LATENCY = "#2b6cb0"
SOUND = {"siren": "#2b6cb0", "car_horn": "#c05621"}
OTHER_SOUND = "#718096"

# Who saw an object.
EVIDENCE = {
    "camera + lidar": "#1f9d55",
    "lidar": "#2b6cb0",
    "camera": "#dd6b20",
    "other": "#7d53a8",
}


def evidence(sources: Sequence[str]) -> str:
    """Return the key of EVIDENCE for the sources of an object."""
    kinds = {kind for kind in ("camera", "lidar") for source in sources if kind in source}
    if kinds == {"camera", "lidar"}:
        return "camera + lidar"
    return kinds.pop() if len(kinds) == 1 else "other"


def bgr(color: str) -> tuple[int, int, int]:
    """Return a #rrggbb colour as OpenCV wants it."""
    red, green, blue = (int(color[index : index + 2], 16) for index in (1, 3, 5))
    return blue, green, red


def spoken(name: str) -> str:
    """Return a class or source name as words."""
    return name.replace("_", " ")
