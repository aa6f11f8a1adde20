"""From the results of drives to the tables `tracks` and `emergency`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edge_perception.evaluation.drives import WAYS, DriveResult
from edge_perception.evaluation.following import (
    Counts,
    Drive,
    Gap,
    Step,
    all_drives,
    averages,
    gaps_of,
)
from edge_perception.evaluation.matching import CLASSES
from edge_perception.evaluation.resampling import interval
from edge_perception.evaluation.sirens import REASONS, RIGHT, SirenMoment, share, siren_table

_GAPS_S = {"up to 0.5 s": (0.15, 0.55), "0.5 to 1.2 s": (0.55, 1.25)}
RIGHT_TARGET = 0.85
_SHORT = {"siren not heard": "not heard", "no object of it": "no object"}


def track_table(results: Sequence[DriveResult]) -> dict[str, Any]:
    """Return the figures of tracks by rig and by what is lost."""
    table: dict[str, Any] = {}
    for rig in dict.fromkeys(item.rig for item in results):
        mine = [item for item in results if item.rig == rig]
        table[rig] = {"drives": len(mine)} | {
            way.name: _tracks([item.ways[way.name].steps for item in mine])
            for way in WAYS
            if all(way.name in item.ways for item in mine)
        }
    return table


def _tracks(drives: Sequence[Mapping[str, Sequence[Step]]]) -> dict[str, Any]:
    """Return AMOTA and AMOTP as the mean over the classes, the counts of all objects as told."""
    by_class: dict[str, Any] = {}
    everything, gaps = Counts(), list[Gap]()
    for name in CLASSES:
        steps = [Drive.of(drive[name]) for drive in drives if name in drive]
        counts = all_drives(steps)
        everything.add(counts)
        gaps += [gap for drive in steps for gap in gaps_of(drive)]
        if counts.wanted:
            amota, amotp_m = averages(steps)
            by_class[name] = {"amota": amota, "amotp_m": amotp_m, **_plain(counts)}
    return {
        "amota": float(np.mean([entry["amota"] for entry in by_class.values()] or [math.nan])),
        "amotp_m": float(np.mean([entry["amotp_m"] for entry in by_class.values()] or [math.nan])),
        **_plain(everything),
        "ids_kept": {name: _kept(gaps, *span) for name, span in _GAPS_S.items()},
        "classes": by_class,
    }


def _plain(counts: Counts) -> dict[str, Any]:
    return {
        "mota": counts.mota,
        "motp_m": counts.motp_m,
        "recall": counts.found / counts.wanted if counts.wanted else math.nan,
        "false": counts.false,
        "id_switches": counts.switches,
        "fragmentations": counts.fragments,
        "wanted": counts.wanted,
    }


def _kept(gaps: Sequence[Gap], low_s: float, high_s: float) -> dict[str, Any]:
    mine = [gap for gap in gaps if low_s <= gap.seconds < high_s]
    kept = sum(gap.kept for gap in mine)
    return {"gaps": len(mine), "kept": kept / len(mine) if mine else math.nan}


def emergency_table(results: Sequence[DriveResult]) -> dict[str, Any]:
    """Return by rig and by what is lost whether the vehicle of a siren is named."""
    table: dict[str, Any] = {}
    for rig in dict.fromkeys(item.rig for item in results):
        mine = [item for item in results if item.rig == rig]
        table[rig] = {"drives": len(mine), "with_siren": sum(item.has_siren for item in mine)} | {
            way.name: _sirens([item.ways[way.name].sirens for item in mine])
            for way in WAYS
            if all(way.name in item.ways for item in mine)
        }
    return table


def _sirens(drives: Sequence[Sequence[SirenMoment]]) -> dict[str, Any]:
    """Return the table with intervals over drives: views of one drive are alike."""
    found = siren_table(_joined(drives))
    for name, counts in (("visible", _is_visible), ("visible_and_known", _is_known)):
        some = [[item for item in drive if counts(item)] for drive in drives]
        seen = [drive for drive in some if drive]
        found[name]["drives"] = len(seen)
        found[name]["interval"] = interval(seen, lambda picked: share(_joined(picked), RIGHT))
    return found


def _is_visible(item: SirenMoment) -> bool:
    return item.visible


def _is_known(item: SirenMoment) -> bool:
    return item.visible and item.known


def _joined(drives: Sequence[Sequence[SirenMoment]]) -> list[SirenMoment]:
    return [item for drive in drives for item in drive]


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield both tables as text."""
    for rig, entry in report["tracks"].items():
        yield ""
        title = f"tracks: {rig}, {entry['drives']} drives"
        yield f"{title:34} AMOTA  AMOTP m   MOTA  switches  fragments  ids kept over a gap"
        for name, row in _ways(entry):
            kept = ", ".join(
                f"{_percent(gap['kept'])} of {gap['gaps']} {span}"
                for span, gap in row["ids_kept"].items()
            )
            yield (
                f"{name:34} {row['amota']:5.3f}  {row['amotp_m']:7.3f}  {row['mota']:5.3f}  "
                f"{row['id_switches']:8}  {row['fragmentations']:9}  {kept}"
            )
    for rig, entry in report["emergency"].items():
        yield ""
        yield f"emergency: {rig}, {entry['drives']} drives, {entry['with_siren']} with a siren"
        for name, row in _ways(entry):
            yield from _siren_lines(name, row)


def _ways(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, row) for name, row in entry.items() if isinstance(row, Mapping))


def _siren_lines(name: str, row: Mapping[str, Any]) -> Iterator[str]:
    seen, known, hidden = row["visible"], row["visible_and_known"], row["not_visible"]
    nobody = ", ".join(f"{_SHORT.get(why, why)} {_percent(seen['nobody'][why])}" for why in REASONS)
    yield (
        f"{name:26} visible: right {_percent(seen['right'])} of {seen['views']} views"
        f"{_between(seen['interval'])}, wrong {_percent(seen['wrong'])}; nobody: {nobody}"
    )
    yield (
        f"{'':26} among the objects and heard from a direction: right {_percent(known['right'])} "
        f"of {known['views']}{_between(known['interval'])}; of all named "
        f"{_percent(row['named_right'])} right"
    )
    yield (
        f"{'':26} not visible: heard, not seen {_percent(hidden['said_heard_not_seen'])} of "
        f"{hidden['views']}, somebody else named {_percent(hidden['somebody_else_named'])}; "
        f"no siren: somebody named {_percent(row['no_siren']['somebody_named'])} of "
        f"{row['no_siren']['views']}"
    )


def _between(interval_: Sequence[float] | None) -> str:
    return "" if interval_ is None else f" ({interval_[0]:.0%} to {interval_[1]:.0%})"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}%"
