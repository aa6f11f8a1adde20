"""The page of `optimize report` shows each figure as what it is."""

from __future__ import annotations

import re
from typing import Any

from edge_perception.optimize.report import report_page


def _outcome(**tables: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "step": "parity", "subject": "model <small>", "passed": True, "findings": [],
        "figures": {}, "tables": tables, "command": "edge-perception optimize parity",
    }  # fmt: skip


def _bars(page: str) -> list[tuple[float, str]]:
    found = re.findall(r"height='([\d.]+)' fill='(#\w+)'", page)
    return [(float(height), colour) for height, colour in found]


def test_a_layer_without_any_difference_is_a_whole_bar_and_no_gap() -> None:
    rows = [
        {"layer": "equal", "max_absolute": 0.0, "sqnr_db": None},
        {"layer": "close", "max_absolute": 0.1, "sqnr_db": 40.0},
        {"layer": "apart", "max_absolute": 1.0, "sqnr_db": 10.0},
        {"layer": "near", "max_absolute": 0.2, "sqnr_db": 20.0},
        {"layer": "unknown", "max_absolute": None, "sqnr_db": None},
    ]
    page = report_page([_outcome(layers=rows)])
    bars = _bars(page)
    assert [height for height, _colour in bars] == [100.0, 100.0, 25.0, 50.0]
    assert bars[0][1] != bars[1][1] == bars[2][1]
    assert "the tallest bar is 40" in page
    assert "pale: no difference" in page


def test_only_layers_are_drawn_as_bars() -> None:
    rows = [{"output": name, "sqnr_db": 40.0} for name in "abc"]
    assert not _bars(report_page([_outcome(outputs=rows)]))


def test_names_are_text_and_no_markup() -> None:
    page = report_page([_outcome()])
    assert "model &lt;small&gt;" in page
    assert "<small>" not in page
