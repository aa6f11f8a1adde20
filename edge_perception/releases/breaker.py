"""What of the watch must survive the manager: the change that is watched, and the breaker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edge_perception.core.errors import StoreError
from edge_perception.core.schema import decode
from edge_perception.releases.disk import StoreDisk
from edge_perception.releases.past import Past
from edge_perception.releases.slo import WatchGate

T = TypeVar("T")
_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A change whose soak time is not over."""

    transaction_id: str
    before: Mapping[str, str]  # digest by role
    after: Mapping[str, str]
    past: Past


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """A change that the manager undid by itself."""

    stamp_ns: int  # node clock
    transaction_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class BreakerState:
    """Rollbacks since a person looked, and why nothing changes any more; empty: it may."""

    rollbacks: tuple[RolledBack, ...] = ()
    open: str = ""
    resets: tuple[str, ...] = field(default=())  # who let it close again, and why


class WatchNotes:
    """Two small files of the store."""

    def __init__(self, disk: StoreDisk) -> None:
        self._disk = disk
        self._watched, self._breaker = disk.root / "watched.json", disk.root / "breaker.json"

    def watched(self) -> Watched | None:
        """Return the change whose soak time is not over; None: there is none."""
        return self._read(self._watched, Watched)

    def watch(self, watched: Watched | None) -> None:
        """Note the change that is watched; None: its time is over."""
        if watched is None:
            with self._disk.writing():
                self._disk.files.remove(self._watched)
        else:
            self._write(self._watched, watched)

    def breaker(self) -> BreakerState:
        """Return the breaker; a file that cannot be read means open."""
        try:
            return self._read(self._breaker, BreakerState) or BreakerState()
        except StoreError as error:
            return BreakerState(open=str(error))

    def rolled_back(self, rollback: RolledBack, gate: WatchGate) -> BreakerState:
        """Note a rollback of the manager's own; too many in a window open the breaker."""
        before = self.breaker()
        since_ns = rollback.stamp_ns - round(gate.breaker_window_s * 1e9)
        recent = [item for item in before.rollbacks if item.stamp_ns >= since_ns]
        recent.append(rollback)
        why = before.open
        if not why and len(recent) >= gate.breaker_rollbacks:
            why = (
                f"{len(recent)} rollbacks within {gate.breaker_window_s:g} s, "
                f"the last one: {rollback.reason}"
            )
        state = BreakerState(rollbacks=tuple(recent[-_KEPT:]), open=why, resets=before.resets)
        self._write(self._breaker, state)
        return state

    def reset(self, reason: str) -> str:
        """Let models change again; return what had opened the breaker, empty: it was closed."""
        before = self.breaker()
        self._write(self._breaker, BreakerState(resets=(*before.resets, reason)[-_KEPT:]))
        return before.open

    def _read(self, path: Path, cls: type[T]) -> T | None:
        try:
            data: Any = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error
        return decode(cls, data, path.name, error=StoreError)

    def _write(self, path: Path, value: Any) -> None:
        with self._disk.writing():
            self._disk.replace(path, json.dumps(asdict(value), sort_keys=True).encode("utf-8"))
