"""How a fleet is: figures from the database, and a page that needs no server and no network."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_perception.core.whole_file import write_whole
from edge_perception.fleet.documents import PAUSED, RUNNING, Rollout
from edge_perception.fleet.figures import is_drift
from edge_perception.fleet.membership import Device, in_stage
from edge_perception.fleet.tables import Tables, models_of

_MOST_FAILURES = _MOST_ROBOTS = 500  # of a list on the page
_DAY_NS = 86_400 * 10**9
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:20px;color:#1f2937}
h1{font-size:22px}h2{font-size:18px;margin-top:36px;border-top:1px solid #d7dce2;padding-top:18px}
table{border-collapse:collapse;margin:8px 0}td,th{padding:3px 12px 3px 0;text-align:left;
vertical-align:top}th{color:#5b6573;font-weight:500}.stopped,.failed{color:#b42318}
.done{color:#1f7a44}.map{display:flex;flex-wrap:wrap;gap:2px;max-width:900px}
.map i{width:10px;height:10px;background:#9fc5a8}.map i.failed{background:#b42318}
.map i.silent{background:#c6ccd4}
"""


def overview(
    tables: Tables, rollouts: Sequence[Rollout], now_ns: int, *, silent_s: float
) -> dict[str, Any]:
    """Return how the robots are, as plain data.

    Args:
        tables: what they told.
        rollouts: of the registry; empty: not asked for.
        now_ns: wall clock.
        silent_s: a robot that said nothing for longer is silent.
    """
    devices = tables.rows(
        "SELECT device, seen_ns, models, device_class, device_groups FROM devices ORDER BY device"
    )
    versions: Counter[tuple[str, str]] = Counter()
    for _, _, models, _, _ in devices:
        for role, item in models_of(models).items():
            versions[role, str(item.get("version") or item.get("sha256", ""))] += 1
    limit_ns = now_ns - round(silent_s * 1e9)
    dropped = tables.rows("SELECT COALESCE(SUM(dropped), 0) FROM spools")
    return {
        "at": _iso(now_ns),
        "robots": len(devices),
        "silent": [device for device, seen_ns, *_ in devices if seen_ns < limit_ns],
        "dropped": int(dropped[0][0]),
        "aside": _aside(tables),
        "doubled": _doubled(tables, now_ns),
        "versions": [
            {"role": role, "version": version, "robots": count}
            for (role, version), count in sorted(versions.items())
        ],
        "objectives": _objectives(tables, now_ns),
        "drift": _drift(tables),
        "samples": _samples(tables),
        "rollouts": [
            {
                "id": r.id,
                "state": r.state,
                "stage": r.stage + 1,
                "stages": len(r.stages),
                "reason": r.reason,
                "evidence": [f"{e.at} {e.verdict}: {e.text}" for e in r.evidence],
            }
            for r in rollouts
        ],
        "failures": _failures(tables),
        "devices": [
            {
                "robot": device,
                "heard": _iso(seen_ns),
                "models": _served(models),
                "stages": _stages(
                    Device(id=device, device_class=kind, groups=tuple(groups.split(","))), rollouts
                ),
            }
            for device, seen_ns, models, kind, groups in devices
        ],
    }


def _served(models: str) -> str:
    """Return what serves on a robot, by role."""
    found = models_of(models)
    return ", ".join(
        f"{role} {item.get('version') or str(item.get('sha256', ''))[:12]}"
        for role, item in sorted(found.items())
    )


def _stages(device: Device, rollouts: Sequence[Rollout]) -> str:
    """Return in which stage of each rollout that goes on a robot is."""
    return ", ".join(
        f"{r.id}: "
        + next(
            (str(n + 1) for n in range(len(r.stages)) if in_stage(device, r.salt, r.stages, n)),
            "in none",
        )
        for r in rollouts
        if r.state in (RUNNING, PAUSED)
    )


def _objectives(tables: Tables, now_ns: int) -> list[dict[str, Any]]:
    """Return the share of good views of the last day, by objective and set of models."""
    views: Counter[str] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    rows = tables.rows(
        "SELECT body FROM readings WHERE kind = 'slo' AND received_ns >= ?", (now_ns - _DAY_NS,)
    )
    for (body,) in rows:
        data = json.loads(body)
        models = data.get("models", {})
        names = sorted({str(m.get("version", "")) for m in models.values()})
        version = ", ".join(names) or "as delivered"
        views[version] += int(data.get("views", 0))
        for name, count in data.get("bad", {}).items():
            bad[version, name] += int(count)
    return [
        {
            "version": version,
            "objective": name,
            "good": 1.0 - count / views[version],
            "views": views[version],
        }
        for (version, name), count in sorted(bad.items())
        if views[version]
    ]


def _drift(tables: Tables) -> list[dict[str, Any]]:
    """Return what drifts now, by robot and source: the newest that each told of it."""
    newest: dict[tuple[str, str], tuple[str, int, int, str]] = {}
    rows = tables.rows(
        "SELECT device, spool, sequence, stamp_ns, body FROM readings WHERE kind = 'drift' "
        "ORDER BY received_ns"
    )
    for device, spool, sequence, stamp_ns, body in rows:
        data = json.loads(body)
        key = (device, str(data.get("source", "")))
        # By the numbers of its spool: its clock may have been a year ahead for a while.
        if key in newest and newest[key][0] == spool and newest[key][1] > sequence:
            continue  # it came late
        newest[key] = (spool, sequence, stamp_ns, str(data.get("drift", "")))
    return [
        {"robot": device, "source": source, "drift": said, "since": _iso(stamp_ns)}
        for (device, source), (_, _, stamp_ns, said) in sorted(newest.items())
        if is_drift(said)
    ]


def _samples(tables: Tables) -> list[dict[str, Any]]:
    """Return what robots uploaded of doubtful moments, by robot."""
    rows = tables.rows(
        "SELECT device, COUNT(*), SUM(bytes), MAX(stamp_ns) FROM samples GROUP BY device "
        "ORDER BY device"
    )
    return [
        {"robot": device, "samples": int(count), "bytes": int(size), "newest": _iso(stamp_ns)}
        for device, count, size, stamp_ns in rows
    ]


def _aside(tables: Tables) -> list[dict[str, Any]]:
    """Return what robots told that this version cannot read, by robot and schema."""
    rows = tables.rows(
        "SELECT device, schema_version, COUNT(*), MIN(reason) FROM aside "
        "GROUP BY device, schema_version ORDER BY device, schema_version"
    )
    return [
        {"robot": device, "schema": schema, "kept": int(count), "reason": reason}
        for device, schema, count, reason in rows
    ]


def _doubled(tables: Tables, now_ns: int) -> list[dict[str, Any]]:
    """Return the names under which more than one robot told something in the last day."""
    rows = tables.rows(
        "SELECT device, spool, MIN(received_ns), MAX(received_ns) FROM readings "
        "WHERE kind = 'versions' AND received_ns >= ? GROUP BY device, spool "
        "ORDER BY device, MIN(received_ns)",
        (now_ns - _DAY_NS,),
    )
    found: dict[str, list[str]] = {}
    last_ns: dict[str, int] = {}
    for device, spool, first, last in rows:
        # A spool that was lost is silent once the next one tells.
        if first < last_ns.get(device, 0):
            found.setdefault(device, []).append(str(spool))
        last_ns[device] = max(last, last_ns.get(device, 0))
    return [{"robot": device, "robots": 1 + len(more)} for device, more in sorted(found.items())]


def _failures(tables: Tables) -> list[dict[str, Any]]:
    rows = tables.rows(
        "SELECT device, stamp_ns, body FROM readings WHERE kind = 'event' "
        "ORDER BY received_ns DESC, sequence DESC LIMIT 5000"
    )
    found = []
    for device, stamp_ns, body in rows:
        data = json.loads(body)
        if data.get("error"):
            found.append(
                {
                    "device": device,
                    "at": _iso(stamp_ns),
                    "event": data.get("event", ""),
                    "reason": data.get("reason", ""),
                }
            )
    return found[:_MOST_FAILURES]


def write_page(found: Mapping[str, Any], path: Path) -> None:
    """Write the page; it appears whole or not at all."""
    failed = {row["device"] for row in found["failures"]}
    silent = set(found["silent"])
    cells = "".join(
        f"<i class='{'failed' if d in failed else 'silent' if d in silent else ''}' "
        f"title='{html.escape(d, quote=True)}'></i>"
        for d in (row["robot"] for row in found["devices"])
    )
    robots = found["devices"][:_MOST_ROBOTS]
    more = len(found["devices"]) - len(robots)
    rollouts = [{**row, "evidence": "\n".join(row["evidence"])} for row in found["rollouts"]]
    objectives = [{**row, "good": f"{row['good']:.2%}"} for row in found["objectives"]]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>Fleet</title><style>{_STYLE}</style>",
        f"<h1>Fleet: {found['robots']} robots, {len(silent)} silent</h1>",
        f"<p>{found['at']}; readings without room on robots: {found['dropped']}</p>",
        f"<div class=map>{cells}</div><p>Red: told of a failure. Grey: silent.</p>",
        "<h2>Versions</h2>" + _table(found["versions"]),
        "<h2>Objectives, last day</h2>" + _table(objectives),
        "<h2>Rollouts</h2>" + _table(rollouts),
        "<h2>Drift</h2>" + _table(found["drift"]),
        "<h2>Samples for labelling</h2>" + _table(found["samples"]),
        "<h2>Kept aside: of a schema or kind that this version cannot read</h2>"
        + _table(found["aside"]),
        "<h2>Names under which more than one robot tells</h2>" + _table(found["doubled"]),
        "<h2>Robots</h2>" + _table(robots) + (f"<p>and {more} more</p>" if more else ""),
        "<h2>Silent</h2>" + _table([{"robot": name} for name in sorted(silent)]),
        "<h2>Failures, the newest first</h2>" + _table(found["failures"]),
    ]
    write_whole(path, ("\n".join(parts) + "\n").encode())


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr class='{html.escape(str(row.get('state', '')), quote=True)}'>"
        + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values())
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _iso(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc).isoformat(timespec="seconds")
