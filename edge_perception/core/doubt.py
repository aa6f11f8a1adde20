"""How unsure decisions are, by their scores: what is kept for labelling and what a server is asked.

A score is taken for the probability that the decision is right, which calibrated models come near.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol


class _Decided(Protocol):
    @property
    def objects(self) -> Sequence[Any]: ...
    @property
    def image_objects(self) -> Sequence[Any]: ...
    @property
    def sound_events(self) -> Sequence[Any]: ...


def entropy_bits(score: float) -> float:
    """Return the entropy of yes and no with such a score."""
    p = min(max(score, 1e-9), 1.0 - 1e-9)
    return -(p * math.log2(p) + (1.0 - p) * math.log2(1.0 - p))


def mean_entropy_bits(decisions: Sequence[Any]) -> float:
    """Return the mean entropy of decisions with a score, bit; 0 where there are none."""
    return sum(entropy_bits(item.score) for item in decisions) / max(len(decisions), 1)


def doubt_bits(decided: _Decided) -> float:
    """Return how unsure a feature or an encoder's output is, 0 to 1 bit; 0 without a decision.

    Boxes in space and in the image are the same things: those in space count.
    """
    return mean_entropy_bits(decided.objects or decided.image_objects or decided.sound_events)
