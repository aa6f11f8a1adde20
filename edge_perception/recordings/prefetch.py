"""Threads beside inference: one reads ahead, one writes behind.

Inference lets go of Python's lock most of the time, so that decompression, hashing and the text of
what was published cost it little.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(items: Iterator[T], *, depth: int = 12) -> Iterator[T]:
    """Yield the items of an iterator that a thread runs, at most `depth` ahead.

    An error of the iterator is raised at its place; ending early ends the thread.
    """
    ahead: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stopping = threading.Event()

    def put(item: T | _End) -> None:
        while not stopping.is_set():
            try:
                ahead.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(item)
                if stopping.is_set():
                    return
        except BaseException as error:  # raised again where the items are used
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ahead.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopping.set()
        thread.join()


class Behind(Generic[T]):
    """Hands items to a function in a thread, in their order; a context manager.

    An error of the function is raised by the next `put`, or at the end.

    Args:
        take: is called for each item.
        depth: items that may wait; `put` waits when there are more.
    """

    def __init__(self, take: Callable[[T], object], *, depth: int = 32) -> None:
        self._take = take
        self._waiting: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item."""
        self._raise()
        self._waiting.put(item)

    def __enter__(self) -> Behind[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.put(_End(None))
        self._thread.join()
        if kind is None:
            self._raise()

    def _run(self) -> None:
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is None:  # after an error the rest is thrown away, nobody waits
                try:
                    self._take(item)
                except BaseException as error:  # raised again where the items come from
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
