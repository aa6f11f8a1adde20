"""Models loaded when they are needed, within a limit of memory; the least recently used leave."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge_perception.core.errors import ModelError

T = TypeVar("T")
_MB = 2**20


@dataclass(frozen=True, kw_only=True)
class CacheFigures:
    """What a cache holds and how well it serves."""

    hits: int
    misses: int
    evictions: int
    loaded: tuple[str, ...]  # the least recently used first
    used_bytes: int  # with what is loaded beside it
    limit_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of uses that found the model loaded; NaN: there were none."""
        uses = self.hits + self.misses
        return self.hits / uses if uses else float("nan")


@dataclass(kw_only=True)
class _Entry(Generic[T]):
    size_bytes: int
    model: T | None = None  # None: it is being loaded
    users: int = 0


class ModelCache(Generic[T]):
    """Loads by name, keeps what fits, never evicts what is in use. From any thread.

    What a model takes is asked before it is loaded, so that the limit holds while it loads too.
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        size_bytes: Callable[[str], int],
        load: Callable[[str], T],
        release: Callable[[T], None],
        beside_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Hold nothing.

        Args:
            limit_bytes: of all models together.
            size_bytes: measured peak memory of the model of a name.
            load: loads it.
            release: gives its memory back.
            beside_bytes: what models outside the cache take of the limit; they stay.
        """
        self._limit_bytes, self._size_bytes = limit_bytes, size_bytes
        self._load, self._release, self._beside_bytes = load, release, beside_bytes
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # one at a time: half the memory on the way
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def use(self, name: str) -> T:
        """Return the model of a name, loaded if it is not; it stays until `done`.

        Raises:
            ModelError: it does not fit beside what serves, or cannot be loaded.
        """
        with self._loading:
            found = self._found(name)
            if found is not None:
                return found
            size = self._size_bytes(name)
            leaving = self._reserve(name, size)
            try:
                self._release_all(leaving)
                model = self._load(name)
            except BaseException:
                with self._lock:
                    del self._entries[name]
                raise
            with self._lock:
                self._entries[name].model = model
            return model

    def done(self, name: str) -> None:
        """Say that a use has ended; the model stays loaded while there is room."""
        with self._lock:
            entry = self._entries[name]
            if entry.users <= 0:
                raise ModelError(f"model cache: {name} is not in use")
            entry.users -= 1

    def make_room(self, size_bytes: int) -> None:
        """Let unused models leave, the least recently used first, until so much is free."""
        with self._lock:
            leaving = self._evicted(size_bytes)
        self._release_all(leaving)

    def drop(self) -> None:
        """Release all; nobody may use them any more."""
        with self._loading, self._lock:
            models = [entry.model for entry in self._entries.values() if entry.model is not None]
            self._entries.clear()
        self._release_all(models)

    def figures(self) -> CacheFigures:
        """Return what is held now."""
        with self._lock:
            return CacheFigures(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                loaded=tuple(name for name, e in self._entries.items() if e.model is not None),
                used_bytes=self._used_bytes(),
                limit_bytes=self._limit_bytes,
            )

    def _release_all(self, models: list[T]) -> None:
        """Release models; one that cannot be closed keeps no other from it, and is raised then."""
        with ExitStack() as stack:
            for model in reversed(models):
                stack.callback(self._release, model)

    def _found(self, name: str) -> T | None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            entry.users += 1
            self._entries.move_to_end(name)
            return entry.model

    def _reserve(self, name: str, size_bytes: int) -> list[T]:
        with self._lock:
            serving = {n: e.size_bytes for n, e in self._entries.items() if e.users}
            kept = self._beside_bytes() + sum(serving.values())
            if size_bytes > self._limit_bytes - kept:
                others = ", ".join(serving) or "the model of the node"
                raise ModelError(
                    f"model cache: {name} needs {_mb(size_bytes)} MB, the limit is "
                    f"{_mb(self._limit_bytes)} MB of which {_mb(kept)} MB serve ({others})"
                )
            leaving = self._evicted(size_bytes)
            self._entries[name] = _Entry(size_bytes=size_bytes, users=1)
            return leaving

    def _evicted(self, size_bytes: int) -> list[T]:
        leaving: list[T] = []
        for name, entry in list(self._entries.items()):
            if self._used_bytes() + size_bytes <= self._limit_bytes:
                break
            if entry.users or entry.model is None:
                continue
            del self._entries[name]
            self._evictions += 1
            leaving.append(entry.model)
        return leaving

    def _used_bytes(self) -> int:
        own = sum(entry.size_bytes for entry in self._entries.values())
        return own + self._beside_bytes()


def _mb(size_bytes: int) -> int:
    return -(-size_bytes // _MB)
