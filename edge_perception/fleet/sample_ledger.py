"""What a robot has uploaded, told, and spent of its day: SQLite, one transaction a change."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError

_DAY_NS = 86_400 * 10**9
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
  name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (
  sha256 TEXT PRIMARY KEY, told INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spent (day INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
"""


class SampleLedger:
    """One process writes, from any thread. If it is lost, the storage knows what it has."""

    def __init__(self, path: Path) -> None:
        """Open or make it; a damaged one is begun anew.

        Raises:
            FleetError: it cannot be written.
        """
        self._path, self._lock = path, threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError:
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)
                self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise FleetError(f"samples {path}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        db.executescript(_TABLES)
        return db

    def close(self) -> None:
        """Close."""
        self._db.close()

    def done(self, file: Path) -> bool:
        """Whether this file, as it is now, was uploaded."""
        status = file.stat()
        with self._safe():
            row = self._db.execute(
                "SELECT 1 FROM files JOIN uploads USING (sha256) "
                "WHERE name = ? AND size = ? AND mtime_ns = ?",
                (file.name, status.st_size, status.st_mtime_ns),
            ).fetchone()
        return row is not None

    def has(self, sha256: str) -> bool:
        """Whether a recording with this hash was uploaded."""
        with self._safe():
            found = self._db.execute("SELECT 1 FROM uploads WHERE sha256 = ?", (sha256,)).fetchone()
        return found is not None

    def uploaded(self, file: Path, sha256: str, facts: Mapping[str, Any]) -> None:
        """Remember that a file is in the storage; what is known of it already stays."""
        status = file.stat()
        with self._safe(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO uploads VALUES (?, 0, ?) ON CONFLICT DO NOTHING",
                (sha256, json.dumps(dict(facts), sort_keys=True)),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                (file.name, status.st_size, status.st_mtime_ns, sha256),
            )

    def untold(self) -> dict[str, dict[str, Any]]:
        """Return the uploads that the fleet does not know of yet, by hash."""
        with self._safe():
            rows = self._db.execute("SELECT sha256, facts FROM uploads WHERE told = 0").fetchall()
        return {sha256: json.loads(facts) for sha256, facts in rows}

    def told(self, sha256: str) -> None:
        """Remember that the fleet will know of an upload."""
        with self._safe():
            self._db.execute("UPDATE uploads SET told = 1 WHERE sha256 = ?", (sha256,))

    def spend(self, count: int, now_ns: int, most: int) -> bool:
        """Take bytes from what this day (UTC) may cost; False: they are no longer there."""
        day = now_ns // _DAY_NS
        with self._safe(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute("SELECT bytes FROM spent WHERE day = ?", (day,)).fetchone()
            spent = row[0] if row else 0
            if most and spent + count > most:
                return False
            self._db.execute("DELETE FROM spent WHERE day <> ?", (day,))
            self._db.execute("INSERT OR REPLACE INTO spent VALUES (?, ?)", (day, spent + count))
        return True

    @contextmanager
    def _safe(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise FleetError(f"samples {self._path}: {error}") from error
