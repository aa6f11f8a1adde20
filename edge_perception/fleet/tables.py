"""What a fleet told, in SQL: SQLite by default, PostgreSQL for many robots; the same statements."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError
from edge_perception.core.extras import extra
from edge_perception.fleet.batches import Batch, Unread
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
_SEEN = (
    "INSERT INTO devices VALUES (?, ?, 0, '', '', '{}') ON CONFLICT (device) DO UPDATE SET "
    "seen_ns = excluded.seen_ns WHERE excluded.seen_ns > devices.seen_ns"
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
        self._lock = threading.Lock()
        self._postgres = url.startswith(("postgresql://", "postgres://"))
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
        try:
            if self._postgres:
                with extra("postgresql"):
                    import psycopg
                self._errors = (psycopg.Error, OSError)
                # A database made without a locale is SQL_ASCII, and its texts came as bytes.
                self._db: Any = psycopg.connect(url, client_encoding="UTF8")
            else:
                path = Path(url.removeprefix("sqlite://")).expanduser()
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, check_same_thread=False, timeout=30.0)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._write([(statement, [()]) for statement in _TABLES])
        except self._errors as error:
            raise FleetError(f"database {url.split('@')[-1]}: {error}") from error

    def close(self) -> None:
        """Close."""
        self._db.close()

    def take(self, batch: Batch, now_ns: int) -> None:
        """Keep a batch, on the disk when this returns; what is known already is left.

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
                json.dumps(dict(item.reading.data), sort_keys=True),
            )
            for item in batch.readings
        ]
        work: list[tuple[str, Sequence[Sequence[Any]]]] = [
            ("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows),
            (
                "INSERT INTO spools VALUES (?, ?, ?) ON CONFLICT (device, spool) DO UPDATE SET "
                "dropped = excluded.dropped WHERE excluded.dropped > spools.dropped",
                [(batch.device, batch.spool, batch.dropped)],
            ),
            (_SEEN, [(batch.device, now_ns)]),
        ]
        work.append(
            (
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (batch.device, *_sample(i.reading), now_ns)
                    for i in batch.readings
                    if i.reading.kind == "sample"
                ],
            )
        )
        told = [i.reading for i in batch.readings if i.reading.kind == "versions"]
        if told:
            newest = max(told, key=lambda reading: reading.stamp_ns)
            work.append(
                (
                    "UPDATE devices SET stamp_ns = ?, device_class = ?, device_groups = ?, "
                    "models = ? WHERE device = ? AND stamp_ns <= ?",
                    [
                        (
                            newest.stamp_ns,
                            str(newest.data.get("device_class", "")),
                            ",".join(newest.data.get("groups", ())),
                            json.dumps(newest.data.get("models", {}), sort_keys=True),
                            batch.device,
                            newest.stamp_ns,
                        )
                    ],
                )
            )
        self._keep(work)

    def put_aside(self, device: str, unread: Sequence[Unread], now_ns: int) -> None:
        """Keep what cannot be read yet, on the disk when this returns.

        Raises:
            FleetError: the database fails.
        """
        rows = [(device, u.key, u.schema, u.reason, now_ns, u.body) for u in unread]
        work: list[tuple[str, Sequence[Sequence[Any]]]] = [
            ("INSERT INTO aside VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows),
            (_SEEN, [(device, now_ns)]),
        ]
        self._keep(work)

    def aside(self) -> list[tuple[str, str, int, str]]:
        """Return what is aside: robot, key, when it came, and the batch as JSON."""
        found = self.rows("SELECT device, batch, received_ns, body FROM aside ORDER BY received_ns")
        return [(str(d), str(key), int(at), str(body)) for d, key, at, body in found]

    def drop_aside(self, device: str, key: str) -> None:
        """Forget what was read in the end."""
        self._keep([("DELETE FROM aside WHERE device = ? AND batch = ?", [(device, key)])])

    def _keep(self, work: Iterable[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        try:
            self._write(work)
        except self._errors as error:
            raise FleetError(f"database: {error}") from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement with ? for values finds.

        Raises:
            FleetError: the database fails.
        """
        with self._lock:
            try:
                cursor = self._db.cursor()
                cursor.execute(self._said(statement), tuple(values))
                found = [tuple(row) for row in cursor.fetchall()]
                self._db.commit()
                return found
            except self._errors as error:
                self._db.rollback()
                raise FleetError(f"database: {error}") from error

    def _write(self, work: Iterable[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        """Run statements as one transaction."""
        with self._lock:
            try:
                cursor = self._db.cursor()
                for statement, rows in work:
                    if rows:
                        cursor.executemany(self._said(statement), rows)
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    def _said(self, statement: str) -> str:
        return statement.replace("?", "%s") if self._postgres else statement


def _sample(reading: Reading) -> tuple[str, str, int, str, int]:
    data = reading.data
    return data["sha256"], data["name"], data["bytes"], data["storage"], reading.stamp_ns


def models_of(text: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the models of a row of `devices` by role."""
    data = json.loads(text)
    return data if isinstance(data, dict) else {}
