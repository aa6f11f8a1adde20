"""Segments become one result: outputs in order, counters going on where the last one stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_perception.validation.accounting import account_for, jumps_at_cuts, to_json
from edge_perception.validation.accounts import counted_remarks
from edge_perception.validation.canonical import FusedWriter
from edge_perception.validation.digest import as_hex
from edge_perception.validation.replaying import FUSED
from edge_perception.validation.same_tracks import SameTracks

_COUNTERS = ("received", "dropped", "refused", "late")


def merge(
    folders: Sequence[Path], accounts: Sequence[dict[str, Any]], target: Path
) -> dict[str, Any]:
    """Write the outputs of all segments to one file and return one account."""
    writer = FusedWriter(target)
    rebase, tracks = _Rebase(), SameTracks()
    for folder, account in zip(folders, accounts, strict=True):
        rebase.start(account["before"])
        tracks.start(account["tracks_before"])
        for record in read_lines(folder / FUSED):
            tracks.apply(record)
            writer.write(rebase.apply(record))
    writer.close()
    first = accounts[0]
    notes = dict.fromkeys(note for account in accounts for note in account["notes"])
    notes |= dict.fromkeys([*jumps_at_cuts(accounts), *counted_remarks(accounts)])
    return {
        **to_json(account_for(accounts)),
        "sha256": writer.sha256,
        "outputs": writer.count,
        "parameters": first["parameters"],
        "models": first["models"],
        "notes": list(notes),
        "recording": {
            "content": as_hex(sum(int(a["digest"]["content"], 16) for a in accounts)),
            "timing": as_hex(sum(int(a["digest"]["timing"], 16) for a in accounts)),
            "messages": sum(a["digest"]["messages"] for a in accounts),
            "start_ns": first["start_ns"],
            "duration_s": (first["end_ns"] - first["start_ns"]) * 1e-9,
        },
        "segments": len(accounts),
        "wall_s": sum(account["wall_s"] for account in accounts),
        "bare_s": sum(account["bare_s"] for account in accounts),
        "work_s": sum(account["work_s"] for account in accounts),
        "replayed_messages": sum(account["messages"] for account in accounts),
        "dropped": _sums(accounts, "dropped"),
        "stages": {
            name: [row for account in accounts for row in account["stages"].get(name, [])][:1024]
            for name in first["stages"]
        },
        "peak_mb": max(account["peak_mb"] for account in accounts),
    }


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of canonical lines."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


class _Rebase:
    """Makes the counters of a segment go on from those of the one before it."""

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None
        self._shift: dict[str, dict[str, int]] = {}
        self._sequence = 0

    def start(self, before: dict[str, Any] | None) -> None:
        """Begin a segment; `before` is the last output of its warm-up."""
        self._shift = {}
        if self._last is None or before is None:
            return
        known = {status["source"]: status for status in self._last["sources"]}
        for status in before["sources"]:
            last = known.get(status["source"])
            if last is not None:
                name = status["source"]
                self._shift[name] = {key: last[key] - status[key] for key in _COUNTERS}

    def apply(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record with counters of the whole recording."""
        record["sequence"] = self._sequence
        self._sequence += 1
        for status in record["sources"]:
            for key, shift in self._shift.get(status["source"], {}).items():
                status[key] += shift
        self._last = record
        return record


def _sums(accounts: Sequence[dict[str, Any]], key: str) -> dict[str, int]:
    return {name: sum(a[key].get(name, 0) for a in accounts) for name in accounts[0][key]}
