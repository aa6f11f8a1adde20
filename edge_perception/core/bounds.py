"""Bounds of what foreign messages may bring: counters saturate, texts are cut."""

from __future__ import annotations

MOST_COUNT = 2**64 - 1  # of a uint64
MOST_TEXT = 2000  # characters of a reason or a warning
MOST_NAME = 256  # characters of a name
# Of a frame: more than any sensor sees.
MOST_DECISIONS = {"objects": 5000, "image_objects": 5000, "sound_events": 1000}


def saturated(count: int) -> int:
    """Return a count as a uint64 holds it: a sum above its range stays at the end of it."""
    return min(max(count, 0), MOST_COUNT)


def sendable(text: str) -> str:
    """Return a text that a message can hold.

    Half pairs of UTF-16 are question marks: Python has them in names of files that are no UTF-8.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def clipped(text: str, most: int = MOST_TEXT) -> str:
    """Return a `sendable` text of at most so many characters; a cut one says how long it was."""
    text = sendable(text)
    if len(text) <= most:
        return text
    tail = f"… ({len(text)} characters)"
    return text[: most - len(tail)] + tail
