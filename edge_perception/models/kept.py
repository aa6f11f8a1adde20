"""The session that served before, kept loaded so that going back to it is a commit only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import psutil

from edge_perception.models.manifest import Bundle

T = TypeVar("T")


class KeptModel(Generic[T]):
    """Holds at most one model that left; from any thread."""

    def __init__(
        self,
        *,
        bundle: Callable[[T], Bundle],
        release: Callable[[T], None],
        admits: Callable[[], bool],
    ) -> None:
        """Hold nothing.

        Args:
            bundle: what a model was loaded from.
            release: gives a model's memory back.
            admits: whether there is room to keep one.
        """
        self._bundle, self._release, self._admits = bundle, release, admits
        self._lock = threading.Lock()
        self._model: T | None = None

    @property
    def bundle(self) -> Bundle | None:
        """Where what is held was loaded from; None: nothing is held."""
        with self._lock:
            return self._bundle(self._model) if self._model is not None else None

    def keep(self, model: T) -> None:
        """Hold a model in place of the one held before, or release it where there is no room."""
        self._put(model if self._admits() else None)
        if not self._is(model):
            self._release(model)

    def take(self, sha256: str) -> T | None:
        """Hand over the model of a digest; None: another or nothing is held."""
        with self._lock:
            model = self._model
            if model is None or self._bundle(model).sha256 != sha256:
                return None
            self._model = None
            return model

    def make_room(self) -> None:
        """Release what is held where there is no room for it any more."""
        if not self._admits():
            self.drop()

    def drop(self) -> None:
        """Release what is held."""
        self._put(None)

    def _put(self, model: T | None) -> None:
        with self._lock:
            before, self._model = self._model, model
        if before is not None:
            self._release(before)

    def _is(self, model: T) -> bool:
        with self._lock:
            return self._model is model


def has_room(*, keep: bool, reserve_mb: int) -> bool:
    """Whether a model may stay loaded: it is wanted, and the machine has this much free."""
    return keep and psutil.virtual_memory().available > reserve_mb * 2**20
