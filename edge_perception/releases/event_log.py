"""What happened to the models of a machine, for people; survives restarts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import StoreError
from edge_perception.core.schema import decode
from edge_perception.releases.filesystem import FileSystem

_MAX_BYTES = 4 * 2**20  # then the file is set aside once


@dataclass(frozen=True, kw_only=True)
class Event:
    """One step."""

    stamp_ns: int
    sequence: int
    event: str
    transaction_id: str = ""
    error: bool = False
    reason: str = ""
    models: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)  # role, name, version, …


class EventLog:
    """Lines of JSON, made durable one by one."""

    def __init__(self, path: Path, files: FileSystem) -> None:
        self._path, self._files = path, files
        self.problem = ""  # why the newest event is not in the file; empty: it is
        history = self.history(limit=1)
        self._sequence = history[-1].sequence if history else 0

    def add(
        self,
        *,
        stamp_ns: int,
        event: str,
        transaction_id: str = "",
        error: bool = False,
        reason: str = "",
        models: Sequence[Mapping[str, Any]] = (),
    ) -> Event:
        """Write an event; a disk that cannot take it does not stop what the event tells of.

        Returns:
            The event; its reason says where it could not be written.
        """
        self._sequence += 1
        entry = Event(
            stamp_ns=stamp_ns,
            sequence=self._sequence,
            event=event,
            transaction_id=transaction_id,
            error=error,
            reason=reason,
            models=tuple(models),
        )
        try:
            if self._path.exists() and self._path.stat().st_size > _MAX_BYTES:
                self._files.rename(self._path, self._path.with_suffix(".old"))
            self._files.append(self._path, json.dumps(asdict(entry)).encode("utf-8") + b"\n")
            self._files.sync(self._path)
        except OSError as problem:
            self.problem = f"not in the log: {problem}"
            reason = f"{reason}; {self.problem}".lstrip("; ")
            return Event(**{**asdict(entry), "reason": reason})
        self.problem = ""
        return entry

    def history(self, *, limit: int = 1000) -> list[Event]:
        """Return the newest events; a torn line is left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        events = []
        for line in lines[-limit:]:
            try:
                events.append(decode(Event, json.loads(line), "event", error=StoreError))
            except (ValueError, StoreError):
                continue
        return events
