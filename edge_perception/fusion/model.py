"""What a feature-level fusion model offers to fusion; its runtime lives elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_perception.core.types import DetectedObject, Feature, ModelVersion


@dataclass(frozen=True, kw_only=True)
class FusionOutput:
    """What a fusion model makes of the features it was given."""

    objects: tuple[DetectedObject, ...]  # base frame; without sources: all that locate are meant
    version: ModelVersion | None = None  # of the model that ran; None: the one that was asked


class FusionModel(Protocol):
    """A model that takes the features of any subset of its sources, with a presence mask."""

    @property
    def version(self) -> ModelVersion:
        """Identity of its bundle."""
        ...

    @property
    def compatible(self) -> Collection[str]:
        """Feature spaces it was trained with."""
        ...

    def misfit(self, feature: Feature) -> str:
        """Why a feature of a space that it was trained with cannot be taken; empty: it can.

        Such a feature alone falls out, with this text, and the model takes the others.
        """
        ...

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse features by source; sources that are absent are masked out.

        Raises:
            Exception: any error makes fusion fall back to the decision level, with its text.
        """
        ...
