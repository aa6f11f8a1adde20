"""What a step of `optimize` says at its end: findings for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from edge_perception.optimize.candidate_table import TITLE as CANDIDATES
from edge_perception.optimize.candidate_table import readable
from edge_perception.optimize.findings import ERROR, Outcome, save_outcome, write_text

_ROWS, _BEFORE = 12, 4


def repeated() -> str:
    """Return the command line that is running, to be repeated."""
    return shlex.join(["edge-perception", *sys.argv[1:]])


def tell(outcome: Outcome, args: argparse.Namespace) -> int:
    """Keep an outcome, print it, and return the exit status."""
    save_outcome(outcome, args.work)
    text = json.dumps(outcome.as_json(), indent=2)
    if args.json and args.json != "-":
        write_text(Path(args.json), text + "\n")
    if args.json == "-":
        print(text)
    else:
        _print(outcome)
    return 0 if outcome.passed else 1


def _print(outcome: Outcome) -> None:
    verdict = "passed" if outcome.passed else "FAILED"
    print(f"{outcome.step} of {outcome.subject}: {verdict}")
    for finding in sorted(outcome.findings, key=lambda item: item.level != ERROR):
        print(f"  {finding.level}: {finding.text}")
        if finding.change:
            print(f"      change: {finding.change}")
    for title, rows in outcome.tables.items():
        if title == CANDIDATES:
            _markdown(readable(rows))
        elif title == "layers" or title.startswith("layers of "):
            _table(title, _telling(rows))
        else:
            _table(title, rows)


def _telling(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the layers that say something: around the first that parts, or collapsed."""
    first = next((i for i, row in enumerate(rows) if row.get("parts")), None)
    if first is not None:
        return rows[max(0, first - _BEFORE) : first + _BEFORE]
    return [row for row in rows if row.get("collapsed")]


def _table(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows[:_ROWS]]
    widths = [max(len(n), *(len(c[i]) for c in cells)) for i, n in enumerate(names)]
    print(f"{title}:")
    for line in (names, *cells):
        print("  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
    if len(rows) > _ROWS:
        print(f"  and {len(rows) - _ROWS} more, all of them in the JSON")


def _markdown(rows: list[dict[str, str]]) -> None:
    """Print all rows as a table that can be put into a document as it is."""
    if not rows:
        return
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    lines = [names, ["-" * width for width in widths], *([row[n] for n in names] for row in rows)]
    for line in lines:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
