"""Reads ahead in a thread: decompression and hashing run beside inference."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

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
