"""The matrix as a table, as JSON and as a picture of who was called what, when."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.types import SourceState
from edge_perception.faults.judge import Result

_COLORS = {
    SourceState.OK: "#4c9f70",
    SourceState.LATE: "#f2c14e",
    SourceState.STALE: "#f08a4b",
    SourceState.MISSING: "#b23a48",
    SourceState.INVALID: "#7a5195",
}
_DOUBTFUL = "#a9c29b"
_HEAD = (
    f"{'fault':<42} {'layer':<7} {'expected':<44} {'seen':<34} "
    f"{'detect':>7} {'recover':>8} {'gap':>6} {'wrong OK':>8}"
)


def table(results: Sequence[Result]) -> str:
    """Return a row a fault; times in ms, wrong OK in s."""
    lines = [_HEAD]
    for item in results:
        lines.append(
            f"{item.fault:<42} {item.layer:<7} {item.expected:<44} {item.seen:<34} "
            f"{_ms(item.detection_ms):>7} {_ms(item.recovery_ms):>8} "
            f"{_ms(item.longest_gap_ms):>6} {item.wrong_ok_s:>8.2f}"
            + ("" if item.passed else f"  FAILED: {'; '.join(item.problems)}")
        )
    return "\n".join(lines)


def write_json(path: Path, results: Sequence[Result], extra: dict[str, Any]) -> None:
    """Write the rows and what else was measured; NaN and Inf become null."""
    rows = [
        {
            "fault": item.fault,
            "layer": item.layer,
            "passed": item.passed,
            "expected": item.expected,
            "seen": item.seen,
            "problems": list(item.problems),
            "detection_ms": _number(item.detection_ms),
            "recovery_ms": _number(item.recovery_ms),
            "longest_gap_ms": _number(item.longest_gap_ms),
            "wrong_ok_s": round(item.wrong_ok_s, 3),
        }
        for item in results
    ]
    text = json.dumps({"rows": rows, **extra}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def draw(path: Path, results: Sequence[Result]) -> None:
    """Draw a strip a row: the worst state of the sources over time, fault between the lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    shown = [item for item in results if item.observed]
    figure, axes = pyplot.subplots(figsize=(11, 1.5 + 0.17 * len(shown)))
    for row, item in enumerate(shown):
        moments = [seen.at_s - item.start_s for seen in item.observed]
        for index, seen in enumerate(item.observed[:-1]):
            worst = max(view.state for view in seen.sources.values())
            doubtful = worst is SourceState.OK and any(v.warning for v in seen.sources.values())
            begin, end = moments[index], moments[index + 1]
            if end > -1.0 and begin < 5.5:
                color = _DOUBTFUL if doubtful else _COLORS[worst]
                axes.barh(row, end - begin, left=begin, height=0.8, color=color)
        axes.plot([0, 0], [row - 0.5, row + 0.5], "k", lw=1)
        end_s = item.end_s - item.start_s
        axes.plot([end_s, end_s], [row - 0.5, row + 0.5], "k", lw=1)
    axes.set_yticks(range(len(shown)))
    axes.set_yticklabels([f"{item.fault} ({item.layer})" for item in shown], fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-1.0, 5.5)
    axes.set_xlabel("time since the fault began, s; black lines: begin and end of the fault")
    handles = [Patch(color=color, label=state.name) for state, color in _COLORS.items()]
    handles.append(Patch(color=_DOUBTFUL, label="OK, doubtful"))
    axes.legend(handles=handles, ncol=6, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _number(value: float) -> float | None:
    return round(value, 1) if math.isfinite(value) else None


def _ms(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else ("-" if math.isnan(value) else "never")
