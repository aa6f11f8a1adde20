"""Numbers of the command line with their limits: a wrong one is named with its option."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a type of `argparse` for numbers from `low` to `high`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:  # also refuses NaN
            raise argparse.ArgumentTypeError(f"expected {low:g} to {high:g}, got '{text}'")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type of `argparse` for whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {low} to {high}, got '{text}'"
            )
        return value

    return read
