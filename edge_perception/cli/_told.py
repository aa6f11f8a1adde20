"""Text of files that others wrote, as it is shown in a terminal."""

from __future__ import annotations


def told(text: str) -> str:
    """Return a text without what a terminal would obey: a model's names may hold such codes."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
