"""Newest-wins hand-over between a callback and a worker thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds the newest items, usually one; one that is pushed out unread counts as dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: deque[T] = deque()
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items pushed out before they were read."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Items that are not read yet."""
        return len(self._items)

    def put(self, item: T, *, depth: int = 1) -> None:
        """Store `item`; of the unread ones the newest `depth - 1` stay. Ignored once closed."""
        with self._condition:
            if self._closed:
                return
            while len(self._items) >= depth:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._condition.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Wait for an item and take the oldest; None once closed or after `timeout_s`."""
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._closed, timeout_s)
            return self._items.popleft() if self._items else None

    @property
    def closed(self) -> bool:
        """Whether the mailbox was closed."""
        return self._closed

    def close(self) -> None:
        """Wake the reader; what is unread is discarded."""
        with self._condition:
            self._closed = True
            self._items.clear()
            self._condition.notify_all()
