"""The table of candidates as people read it: an interval is one cell, sizes are in kB."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

TITLE = "candidates"  # of the table in an outcome
_NUMBERS = {
    "kB": ("bytes", "{:.0f}", 1e-3),
    "score": ("score_points", "{:.2f}", 1.0),
    "p50 ms": ("p50_ms", "{:.2f}", 1.0),
    "memory MB": ("memory_mb", "{:.0f}", 1.0),
}


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of `Candidate.row` or of a comparison in few columns of text.

    `loss` is in points with its 95 % interval, `time` of the first model's with that of the
    quickest and the slowest turn.
    """
    made = []
    for row in rows:
        cells = {"candidate": str(row["candidate"])}
        for name, (key, form, factor) in _NUMBERS.items():
            cells[name] = _number(row.get(key), form, factor)
        cells["loss (95 %)"] = _spread(row, "loss_points", "loss_low", "loss_high")
        cells["time (turns)"] = _spread(row, "ratio", "ratio_low", "ratio_high")
        if "within_gate" in row:
            cells["gate"] = "within" if row["within_gate"] else "beyond"
        cells["note"] = str(row.get("note") or "")
        made.append(cells)
    return [{k: v for k, v in cells.items() if any(c[k] for c in made)} for cells in made]


def _number(value: Any, form: str, factor: float = 1.0) -> str:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "-"
    return form.format(value * factor)


def _spread(row: Mapping[str, Any], *keys: str) -> str:
    middle, low, high = (_number(row.get(key), "{:.2f}") for key in keys)
    return middle if low == high else f"{middle} ({low} to {high})"
