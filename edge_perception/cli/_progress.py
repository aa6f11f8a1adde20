"""A progress bar on stderr; lines instead of a moving bar where that is no terminal."""

from __future__ import annotations

import sys

_WIDTH = 30


class Progress:
    """Shows how much of a known amount is done."""

    def __init__(self, total: int, unit: str) -> None:
        self._total = max(total, 1)
        self._unit = unit
        self._shown = -1

    def __call__(self, done: int) -> None:
        """Show that so much is done."""
        live = sys.stderr.isatty()
        step = done * (100 if live else 10) // self._total
        if step == self._shown:
            return
        self._shown = step
        filled = done * _WIDTH // self._total
        bar = "#" * filled + "-" * (_WIDTH - filled)
        end = "\n" if not live or done >= self._total else ""
        start = "\r" if live else ""
        print(
            f"{start}[{bar}] {done}/{self._total} {self._unit}",
            end=end,
            file=sys.stderr,
            flush=True,
        )
