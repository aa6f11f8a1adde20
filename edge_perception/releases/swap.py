"""The order of a model change in one node: prepare, then commit or abort."""

from __future__ import annotations

import threading
import uuid
from enum import Enum

from edge_perception.core.errors import SwapError


class SwapState(Enum):
    """Where a change stands."""

    IDLE = "idle"
    PREPARING = "preparing"
    PREPARED = "prepared"


class SwapSequence:
    """One change at a time, named by a transaction id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = SwapState.IDLE
        self._transaction_id = ""

    def begin(self) -> str:
        """Start preparing and return the transaction id.

        Raises:
            SwapError: another change is under way.
        """
        with self._lock:
            if self._state is not SwapState.IDLE:
                raise SwapError(
                    f"a change is {self._state.value} already (transaction {self._transaction_id})"
                )
            self._state = SwapState.PREPARING
            self._transaction_id = uuid.uuid4().hex
            return self._transaction_id

    def prepared(self) -> None:
        """Note that the model is loaded and warm."""
        with self._lock:
            self._state = SwapState.PREPARED

    def check(self, transaction_id: str) -> None:
        """Raise SwapError where nothing is prepared, or under another transaction."""
        with self._lock:
            self._check(transaction_id)

    def end(self, transaction_id: str) -> None:
        """Commit or abort the prepared change.

        Raises:
            SwapError: nothing is prepared, or under another transaction.
        """
        with self._lock:
            self._check(transaction_id)
            self._reset()

    def _check(self, transaction_id: str) -> None:
        if self._state is not SwapState.PREPARED or transaction_id != self._transaction_id:
            raise SwapError(
                f"expected the prepared transaction '{self._transaction_id or 'none'}', "
                f"got '{transaction_id}'"
            )

    def drop(self) -> bool:
        """End whatever is prepared, as when its manager died; False: nothing is."""
        with self._lock:
            prepared = self._state is SwapState.PREPARED
            if prepared:
                self._reset()
            return prepared

    def failed(self) -> None:
        """Note that preparing failed."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        self._state, self._transaction_id = SwapState.IDLE, ""
