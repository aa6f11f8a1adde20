"""Latest-only hand-over between a callback and a worker thread."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the newest item only; putting over an unread one counts it as dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items overwritten before they were read."""
        return self._dropped

    def put(self, item: T) -> None:
        """Store `item`, replacing an unread one. A closed mailbox ignores it."""
        with self._condition:
            if self._closed:
                return
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._condition.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Wait for an item and take it; None once closed or after `timeout_s`."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    @property
    def closed(self) -> bool:
        """Whether the mailbox was closed."""
        return self._closed

    def close(self) -> None:
        """Wake the reader; what is unread is discarded."""
        with self._condition:
            self._closed = True
            self._item = None
            self._condition.notify_all()
