"""Figures as the bytes of a PNG, of no window and no global state."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any


def png(draw: Callable[[Any], None], *, size_in: tuple[float, float]) -> bytes:
    """Return the PNG of a figure of matplotlib.

    Args:
        draw: puts axes into the figure and draws in them.
        size_in: width and height, inches of 100 pixels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, dpi=100)
    draw(figure)
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
