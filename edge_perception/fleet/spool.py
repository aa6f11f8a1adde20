"""Telemetry on disk until it was taken: SQLite, one transaction a change, so that no end harms it.

Where the room is used up the oldest of the least important goes, and is counted.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError
from edge_perception.fleet.readings import LEAST, Reading, encode_reading

_ROW_BYTES = 64  # what a row takes beside its body
_TABLES = """
CREATE TABLE IF NOT EXISTS readings (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, priority INTEGER NOT NULL, bytes INTEGER NOT NULL,
  body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_priority ON readings (priority, sequence);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value);
INSERT OR IGNORE INTO facts VALUES ('bytes', 0);
"""
# Of the room that is used: from here on the least important are thinned, and below here no more.
_THIN_ABOVE, _THIN_BELOW = 0.5, 0.25
_ONE_OF = 10


class Spool:
    """One writer. Numbers go up for ever; a spool that was lost gets another id."""

    def __init__(
        self,
        path: Path,
        quota_bytes: int,
        *,
        point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open the spool; a damaged one is set aside.

        Args:
            path: of the database.
            quota_bytes: room for readings.
            point: called by name around every write, for tests.

        Raises:
            FleetError: it cannot be written.
        """
        self._path, self._quota, self._point = path, quota_bytes, point
        self.damaged = ""  # why an old one was set aside
        self.thinned = 0  # readings that were not taken, as the link is too slow
        self._thinning = False
        self.link_slow = False  # thins too, before the disk fills
        self._seen = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                self.damaged = str(error)
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    aside = path.with_name(name)
                    if aside.exists():
                        aside.replace(aside.with_name(f"damaged-{name}"))
                self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise FleetError(f"spool {path}: {error}") from error
        self.id = str(self._fact("id"))

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit is on the disk
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        db.executescript(_TABLES)
        db.execute("INSERT OR IGNORE INTO facts VALUES ('id', ?)", (secrets.token_hex(8),))
        return db

    def close(self) -> None:
        """Close; what is kept stays."""
        self._db.close()

    # -- in --

    def add(self, readings: Iterable[Reading], *, teller: str = "", kept: int = 0) -> None:
        """Keep readings, on the disk when this returns.

        Args:
            readings: what is told.
            teller: who hands them over by number; empty: nobody asks what of it is here.
            kept: number of the last of them.

        Raises:
            FleetError: the disk fails; none of them is kept.
        """
        rows: list[tuple[int, int, bytes]] = []
        for reading in readings:
            if self.thinning and reading.priority == LEAST:
                self._seen += 1
                if self._seen % _ONE_OF:
                    self.thinned += 1
                    continue
            body = encode_reading(reading)
            rows.append((reading.priority, len(body) + _ROW_BYTES, body))
        if not rows:
            return
        with self._change("add"):
            self._db.executemany(
                "INSERT INTO readings (priority, bytes, body) VALUES (?, ?, ?)", rows
            )
            if teller:
                self._db.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                    (("teller", teller), ("kept", kept)),
                )
            used = self._grow(sum(row[1] for row in rows))
            if used > self._quota:
                used = self._drop(used)
        share = used / self._quota
        self._thinning = share > (_THIN_BELOW if self._thinning else _THIN_ABOVE)

    def _drop(self, used: int) -> int:
        """Delete the oldest of the least important until the rest has room."""
        gone: dict[int, int] = {}
        for priority in range(LEAST, -1, -1):
            rows = self._db.execute(
                "SELECT sequence, bytes FROM readings WHERE priority = ? ORDER BY sequence",
                (priority,),
            )
            last, freed = 0, 0
            for sequence, size in rows:
                if used - freed <= self._quota:
                    break
                last, freed = sequence, freed + size
                gone[priority] = gone.get(priority, 0) + 1
            if last:
                self._db.execute(
                    "DELETE FROM readings WHERE priority = ? AND sequence <= ?", (priority, last)
                )
                used = self._grow(-freed)
            if used <= self._quota:
                break
        for priority, count in gone.items():
            self._db.execute(
                "INSERT INTO facts VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (f"dropped {priority}", count),
            )
        return used

    # -- out --

    def waiting(
        self, most_bytes: int, *, but: Sequence[int] = (), most: int = 1000
    ) -> list[tuple[int, bytes]]:
        """Return the most important readings that are not under way, the oldest first.

        Args:
            most_bytes: of their bodies together; one is returned in any case.
            but: sequences that are under way.
            most: readings.
        """
        skip, size = set(but), 0
        rows: list[tuple[int, bytes]] = []
        found = self._db.execute(
            "SELECT sequence, body FROM readings ORDER BY priority, sequence LIMIT ?",
            (most + len(skip),),
        )
        for sequence, body in found:
            if sequence in skip:
                continue
            size += len(body)
            if (rows and size > most_bytes) or len(rows) >= most:
                break
            rows.append((sequence, body))
        return rows

    def taken(self, sequences: Sequence[int]) -> None:
        """Forget readings that the other side has on its disk."""
        with self._change("taken"):
            freed = 0
            for start in range(0, len(sequences), 500):
                part = tuple(sequences[start : start + 500])
                marks = ",".join("?" * len(part))
                found = f"FROM readings WHERE sequence IN ({marks})"
                rows = self._db.execute(f"SELECT COALESCE(SUM(bytes), 0) {found}", part)
                freed += rows.fetchone()[0]
                self._db.execute(f"DELETE {found}", part)
            used = self._grow(-freed)
        self._thinning = self._thinning and used / self._quota > _THIN_BELOW

    # -- state --

    @property
    def thinning(self) -> bool:
        """Whether of the least important only one in ten is kept."""
        return self._thinning or self.link_slow

    @property
    def used_bytes(self) -> int:
        """Room that readings take."""
        return int(self._fact("bytes"))

    def kept_of(self, teller: str) -> int:
        """Return the number of the last reading that is here of who handed some over; 0: none."""
        rows = self._db.execute("SELECT name, value FROM facts WHERE name IN ('teller', 'kept')")
        facts = dict(rows)
        return int(facts["kept"]) if facts.get("teller") == teller else 0

    def counts(self) -> dict[int, int]:
        """Return how many wait, by priority."""
        return dict(self._db.execute("SELECT priority, COUNT(*) FROM readings GROUP BY priority"))

    def dropped(self) -> dict[int, int]:
        """Return how many there was no room for since the spool began, by priority."""
        rows = self._db.execute("SELECT name, value FROM facts WHERE name LIKE 'dropped %'")
        return {int(name.split()[1]): int(value) for name, value in rows}

    # -- steps --

    def _fact(self, name: str) -> Any:
        return self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]

    def _grow(self, count: int) -> int:
        row = self._db.execute(
            "UPDATE facts SET value = MAX(0, value + ?) WHERE name = 'bytes' RETURNING value",
            (count,),
        )
        return int(row.fetchone()[0])

    @contextmanager
    def _change(self, name: str) -> Any:
        try:
            self._point(f"{name}: begin")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._point(f"{name}: commit")
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._point(f"{name}: done")
        except sqlite3.Error as error:
            raise FleetError(f"spool {self._path}: {error}") from error
