"""A connection to SQLite or PostgreSQL that outlives a restart of the server."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edge_perception.core.errors import FleetError
from edge_perception.core.extras import extra

_LOCK = 0x666C656574  # of PostgreSQL, while tables are made
_TIMEOUT_S = 10
_T = TypeVar("_T")
# Statements with ? for values, and the rows of values for each.
Work = Sequence[tuple[str, Sequence[Sequence[Any]]]]


class Database:
    """Statements are the same for both."""

    def __init__(self, url: str, make: Sequence[str], tables: Iterable[str]) -> None:
        """Connect, and make the tables where one is missing.

        Args:
            url: postgresql://… or the path of a SQLite file.
            make: statements that make what is missing.
            tables: their names.

        Raises:
            FleetError: it cannot be opened.
        """
        self._lock, self._url = threading.Lock(), url
        self._postgres = url.startswith(("postgresql://", "postgres://"))
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
        try:
            self._db: Any = self._connected()
            if not self._has(tables):
                self._make(make)
        except self._errors as error:
            raise FleetError(f"database {url.split('@')[-1]}: {error}") from error

    def close(self) -> None:
        """Close."""
        self._db.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement with ? for values finds.

        Raises:
            FleetError: the database fails.
        """

        def find(cursor: Any) -> list[tuple[Any, ...]]:
            cursor.execute(self._said(statement), tuple(values))
            return [tuple(row) for row in cursor.fetchall()]

        try:
            return self._in_transaction(find)
        except self._errors as error:
            raise FleetError(f"database: {error}") from error

    def write(self, work: Work) -> list[int]:
        """Run statements as one transaction, on the disk when this returns.

        Returns:
            How many rows each of them changed.

        Raises:
            FleetError: the database fails; none of it is kept.
        """
        try:
            return self._write(work)
        except self._errors as error:
            raise FleetError(f"database: {error}") from error

    # -- connection --

    def _connected(self) -> Any:
        if self._postgres:
            with extra("postgresql"):
                import psycopg
            self._errors = (psycopg.Error, OSError)
            options: dict[str, Any] = {}
            if "connect_timeout" not in psycopg.conninfo.conninfo_to_dict(self._url):
                options["connect_timeout"] = _TIMEOUT_S
            # A database made without a locale is SQL_ASCII, and its texts came as bytes.
            return psycopg.connect(self._url, client_encoding="UTF8", **options)
        path = Path(self._url.removeprefix("sqlite://")).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, timeout=30.0)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        return db

    def _has(self, tables: Iterable[str]) -> bool:
        """Whether tables are there: who may only read them is asked for no more."""
        try:
            for name in tables:
                self._db.execute(f"SELECT 1 FROM {name} LIMIT 0")
        except self._errors:
            return False
        finally:
            self._db.rollback()
        return True

    def _make(self, statements: Sequence[str]) -> None:
        work: list[tuple[str, Sequence[Sequence[Any]]]] = [(text, [()]) for text in statements]
        if self._postgres:  # several may start at once, and IF NOT EXISTS does not stand that
            work.insert(0, ("SELECT pg_advisory_xact_lock(?)", [(_LOCK,)]))
        self._write(work)

    # -- transactions --

    def _write(self, work: Work) -> list[int]:
        def write(cursor: Any) -> list[int]:
            counts = []
            for statement, rows in work:
                if rows:
                    cursor.executemany(self._said(statement), rows)
                counts.append(cursor.rowcount if rows else 0)
            return counts

        return self._in_transaction(write)

    def _in_transaction(self, act: Callable[[Any], _T]) -> _T:
        """Act and commit; once more where the server has ended the connection.

        What is written twice is there once, so a commit whose answer was lost does no harm.
        """
        with self._lock:
            try:
                return self._once(act)
            except self._errors:
                if not (self._postgres and self._db.closed):
                    raise
                return self._once(act)

    def _once(self, act: Callable[[Any], _T]) -> _T:
        if self._postgres and self._db.closed:
            self._db = self._connected()
        try:
            found = act(self._db.cursor())
            self._db.commit()
            return found
        except BaseException:
            with contextlib.suppress(*self._errors):
                self._db.rollback()
            raise

    def _said(self, statement: str) -> str:
        return statement.replace("?", "%s") if self._postgres else statement
