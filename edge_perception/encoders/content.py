"""Data that arrives in time and is worthless: what a content check says, and how it is wired.

A modality's folder offers a check as ``ContentSpec`` in its SPEC. The check looks at a small even
sample of each frame, ahead of inference, in the inference thread; its thresholds are parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Geometry


class Verdict(IntEnum):
    """What a frame's content deserves."""

    GOOD = 0
    DOUBTFUL = 1  # used, and said: WARN
    WORTHLESS = 2  # refused: INVALID


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The worst a check found; the text gives value and limit, empty when good."""

    verdict: Verdict = Verdict.GOOD
    text: str = ""


GOOD = Finding()


def doubtful(text: str) -> Finding:
    """Return a finding that leaves the frame in use."""
    return Finding(verdict=Verdict.DOUBTFUL, text=text)


def worthless(text: str) -> Finding:
    """Return a finding that refuses the frame."""
    return Finding(verdict=Verdict.WORTHLESS, text=text)


def worst(*findings: Finding) -> Finding:
    """Return the worst verdict with every text of it."""
    verdict = max(finding.verdict for finding in findings)
    texts = [finding.text for finding in findings if finding.verdict is verdict and finding.text]
    return Finding(verdict=verdict, text="; ".join(texts))


def frozen(what: str, repeats: int, limit: int) -> str:
    """Return the text of a frame that came again; who shows a still on purpose reads how."""
    return (
        f"frozen: the same {what} for {repeats + 1} frames > content.frozen_frames {limit} "
        "(0 for a still on purpose)"
    )


class ContentCheck(Protocol):
    """Looks at the frames of one source in order. One thread uses it.

    A text names the parameter behind its limit in full, as `content.black_level`.
    """

    limits: Any  # thresholds; may be replaced from another thread

    def check(self, frame: Any, encoder: Any = None, geometry: Geometry | None = None) -> Finding:
        """Judge a sensor frame.

        Args:
            frame: of the modality.
            encoder: of the modality, which knows what its model can use; None: not asked.
            geometry: where the sensor sits.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ContentSpec:
    """The content check of a modality."""

    limits: type  # frozen dataclass of thresholds, declared as parameters below "content."
    make: Callable[[Any], ContentCheck]  # limits to a check


class Repeats:
    """Counts frames whose sample equals the one before: a frozen sensor repeats itself exactly.

    The noise of a live sensor makes two equal samples of thousands of values practically
    impossible, also when nothing moves.
    """

    def __init__(self) -> None:
        self._last: NDArray | None = None
        self.count = 0

    def see(self, sample: NDArray) -> int:
        """Take in a sample, which is kept; return how many times it came again in a row."""
        same = self._last is not None and np.array_equal(self._last, sample)
        self.count = self.count + 1 if same else 0
        self._last = sample
        return self.count
