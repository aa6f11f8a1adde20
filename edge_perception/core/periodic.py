"""A function called again and again in a thread of its own, on the steady clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Periodic:
    """Calls `function` every `period_s` from `start` to `stop`.

    Args:
        period_s: time from call to call; a call that takes longer delays the next one.
        function: what to call.
        on_error: takes what it raises; the next call comes all the same.
        name: of the thread.
    """

    def __init__(
        self,
        period_s: float,
        function: Callable[[], None],
        *,
        on_error: Callable[[Exception], None],
        name: str,
    ) -> None:
        self._period_s, self._function, self._on_error = period_s, function, on_error
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the call in progress; more than once is fine."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._period_s
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period_s, time.monotonic())
            try:
                self._function()
            except Exception as error:
                self._on_error(error)
