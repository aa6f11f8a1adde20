"""What a fleet told, in SQL: SQLite by default, PostgreSQL for many robots; the same statements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edge_perception.fleet.batches import Batch, Unread
from edge_perception.fleet.database import Database, Work
from edge_perception.fleet.readings import Reading

_TABLES = (
    """CREATE TABLE IF NOT EXISTS readings (
      device TEXT NOT NULL, spool TEXT NOT NULL, sequence BIGINT NOT NULL, stamp_ns BIGINT NOT NULL,
      received_ns BIGINT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
      PRIMARY KEY (device, spool, sequence))""",
    "CREATE INDEX IF NOT EXISTS readings_by_kind ON readings (kind, received_ns)",
    """CREATE TABLE IF NOT EXISTS devices (
      device TEXT PRIMARY KEY, seen_ns BIGINT NOT NULL, stamp_ns BIGINT NOT NULL,
      device_class TEXT NOT NULL, device_groups TEXT NOT NULL, models TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS spools (
      device TEXT NOT NULL, spool TEXT NOT NULL, dropped BIGINT NOT NULL,
      PRIMARY KEY (device, spool))""",
    """CREATE TABLE IF NOT EXISTS samples (
      device TEXT NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL, bytes BIGINT NOT NULL,
      storage TEXT NOT NULL, stamp_ns BIGINT NOT NULL, received_ns BIGINT NOT NULL,
      PRIMARY KEY (device, sha256))""",
    """CREATE TABLE IF NOT EXISTS aside (
      device TEXT NOT NULL, batch TEXT NOT NULL, schema_version TEXT NOT NULL,
      reason TEXT NOT NULL, received_ns BIGINT NOT NULL, body TEXT NOT NULL,
      PRIMARY KEY (device, batch))""",
)
_NAMES = ("readings", "devices", "spools", "samples", "aside")
_SEEN = (
    "INSERT INTO devices VALUES (?, ?, 0, '', '', '{}') ON CONFLICT (device) DO UPDATE SET "
    "seen_ns = excluded.seen_ns WHERE excluded.seen_ns > devices.seen_ns"
)
# What a robot told last serves there. By the numbers of its spool: its clock may have been set back
# by a year since. What came before already, and is sent again, is no news.
_SERVING = (
    "UPDATE devices SET stamp_ns = ?, device_class = ?, device_groups = ?, models = ? "
    "WHERE device = ? AND EXISTS (SELECT 1 FROM readings WHERE device = ? AND spool = ? "
    "AND sequence = ? AND received_ns = ?) AND NOT EXISTS (SELECT 1 FROM readings "
    "WHERE device = ? AND spool = ? AND sequence > ? AND kind = 'versions')"
)


class Tables:
    """The database of a fleet. Any number of processes may write; each reading is there once."""

    def __init__(self, url: str) -> None:
        """Open or make it.

        Args:
            url: postgresql://… or the path of a SQLite file.

        Raises:
            FleetError: it cannot be opened.
        """
        self._database = Database(url, _TABLES, _NAMES)

    def close(self) -> None:
        """Close."""
        self._database.close()

    def take(self, batch: Batch, now_ns: int) -> tuple[int, ...]:
        """Keep a batch, on the disk when this returns; what is known already is left.

        Returns:
            Numbers under which something else is known: two robots have the same name and spool.

        Raises:
            FleetError: the database fails; none of it is kept.
        """
        rows = [
            (
                batch.device,
                batch.spool,
                item.sequence,
                item.reading.stamp_ns,
                now_ns,
                item.reading.kind,
                _body(item.reading),
            )
            for item in batch.readings
        ]
        samples = [
            (batch.device, *_sample(item.reading), now_ns)
            for item in batch.readings
            if item.reading.kind == "sample"
        ]
        written = self._database.write(
            [
                ("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows),
                (
                    "INSERT INTO spools VALUES (?, ?, ?) ON CONFLICT (device, spool) DO UPDATE SET "
                    "dropped = excluded.dropped WHERE excluded.dropped > spools.dropped",
                    [(batch.device, batch.spool, batch.dropped)],
                ),
                (_SEEN, [(batch.device, now_ns)]),
                (
                    "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    samples,
                ),
                (_SERVING, _serving(batch, now_ns)),
            ]
        )
        return () if written[0] == len(rows) else self._otherwise(batch)

    def _otherwise(self, batch: Batch) -> tuple[int, ...]:
        """Return the numbers of readings that are known as something else."""
        numbers = [item.sequence for item in batch.readings]
        known = {
            int(number): (int(stamp_ns), str(kind), str(body))
            for number, stamp_ns, kind, body in self.rows(
                "SELECT sequence, stamp_ns, kind, body FROM readings "
                "WHERE device = ? AND spool = ? AND sequence BETWEEN ? AND ?",
                (batch.device, batch.spool, min(numbers), max(numbers)),
            )
        }
        return tuple(
            item.sequence
            for item in batch.readings
            if known.get(item.sequence)
            != (item.reading.stamp_ns, item.reading.kind, _body(item.reading))
        )

    def put_aside(self, device: str, unread: Sequence[Unread], now_ns: int) -> None:
        """Keep what cannot be read yet, on the disk when this returns.

        Raises:
            FleetError: the database fails.
        """
        rows = [(device, u.key, u.schema, u.reason, now_ns, u.body) for u in unread]
        work: Work = [
            ("INSERT INTO aside VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows),
            (_SEEN, [(device, now_ns)]),
        ]
        self._database.write(work)

    def aside(self) -> list[tuple[str, str, int, str]]:
        """Return what is aside: robot, key, when it came, and the batch as JSON."""
        found = self.rows("SELECT device, batch, received_ns, body FROM aside ORDER BY received_ns")
        return [(str(d), str(key), int(at), str(body)) for d, key, at, body in found]

    def drop_aside(self, device: str, key: str) -> None:
        """Forget what was read in the end."""
        self._database.write(
            [("DELETE FROM aside WHERE device = ? AND batch = ?", [(device, key)])]
        )

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement with ? for values finds.

        Raises:
            FleetError: the database fails.
        """
        return self._database.rows(statement, values)


def _serving(batch: Batch, now_ns: int) -> list[tuple[Any, ...]]:
    """Return the values of `_SERVING`; none: the batch does not tell what serves."""
    told = [item for item in batch.readings if item.reading.kind == "versions"]
    if not told:
        return []
    newest = max(told, key=lambda item: item.sequence)
    data, where = newest.reading.data, (batch.device, batch.spool, newest.sequence)
    return [
        (
            newest.reading.stamp_ns,
            str(data.get("device_class", "")),
            ",".join(data.get("groups", ())),
            json.dumps(data.get("models", {}), sort_keys=True),
            batch.device,
            *where,
            now_ns,
            *where,
        )
    ]


def _body(reading: Reading) -> str:
    return json.dumps(dict(reading.data), sort_keys=True)


def _sample(reading: Reading) -> tuple[str, str, int, str, int]:
    data = reading.data
    return data["sha256"], data["name"], data["bytes"], data["storage"], reading.stamp_ns


def models_of(text: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the models of a row of `devices` by role."""
    data = json.loads(text)
    return data if isinstance(data, dict) else {}
