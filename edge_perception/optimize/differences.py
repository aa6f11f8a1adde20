"""How far one tensor is from another, and what is still the same for each kind of output."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is still the same."""

    text: str
    relative: float  # largest difference, of the largest value
    cosine: float  # at least
    sqnr_db: float  # signal to difference, at least
    top1: float = 0.0  # share of frames whose greatest value is at the same place, at least


PRESETS = {
    "exact": Preset(
        text="the same arithmetic in another order: an export",
        relative=1e-3, cosine=0.99999, sqnr_db=60.0,
    ),
    "class_scores": Preset(
        text="logits or scores of classes", relative=0.2, cosine=0.99, sqnr_db=17.0, top1=0.98
    ),
    "regression": Preset(text="values with a unit", relative=0.1, cosine=0.995, sqnr_db=20.0),
    "boxes": Preset(text="box parameters of every cell", relative=0.5, cosine=0.99, sqnr_db=17.0),
    "bev_heatmap": Preset(
        text="centre heat map, logits", relative=0.3, cosine=0.99, sqnr_db=17.0
    ),
    "embedding": Preset(
        text="features that another model takes", relative=0.3, cosine=0.98, sqnr_db=14.0
    ),
    "lidar": Preset(text="rasters and maps of sweeps", relative=0.3, cosine=0.99, sqnr_db=17.0),
    "radar": Preset(text="sparse maps of few returns", relative=0.3, cosine=0.97, sqnr_db=12.0),
}  # fmt: skip
CLASS_KINDS = ("class_scores", "bev_heatmap")  # logits, of which decisions are made
_KINDS = (
    (r"heat", "bev_heatmap"),
    (r"box|bbox|dim|rot|reg", "boxes"),
    (r"embed|bev|feature|neck", "embedding"),
    (r"logit|score|class|cls|prob", "class_scores"),
)


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in PRESETS:
        raise UnknownNameError(kind="preset", name=name, known=sorted(PRESETS))
    return PRESETS[name]


def kind_of(output: str) -> str:
    """Return the preset that fits the name of an output."""
    found = (kind for pattern, kind in _KINDS if re.search(pattern, output, re.IGNORECASE))
    return next(found, "regression")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Figures of one tensor over all frames."""

    max_absolute: float
    max_relative: float  # of the largest value
    cosine: float  # the least of a frame
    sqnr_db: float  # over all frames
    top1: float  # share of frames with the greatest value at the same place
    frames: int

    def why_not(self, allowed: Preset) -> str:
        """Return what is beyond a preset; empty: nothing."""
        reasons = []
        if not self.max_relative <= allowed.relative:
            reasons.append(
                f"differs by {self.max_relative:.3g} of the largest value > {allowed.relative:g}"
            )
        if not self.cosine >= allowed.cosine:
            reasons.append(f"cosine {self.cosine:.5f} < {allowed.cosine:g}")
        if not self.sqnr_db >= allowed.sqnr_db:
            reasons.append(f"SQNR {self.sqnr_db:.1f} dB < {allowed.sqnr_db:g}")
        if not self.top1 >= allowed.top1:
            reasons.append(f"first class the same in {self.top1:.1%} < {allowed.top1:.0%}")
        return ", ".join(reasons)

    def row(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class Differences:
    """Collects one tensor over frames."""

    def __init__(self) -> None:
        self._absolute = self._largest = 0.0
        self._cosine = 1.0
        self._signal = self._noise = 0.0
        self._same = self._frames = 0

    def add(self, got: NDArray, expected: NDArray) -> None:
        """Take a frame."""
        one, other = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        self._frames += 1
        if one.shape != other.shape or not np.all(np.isfinite(one) == np.isfinite(other)):
            self._absolute = self._noise = math.inf
            self._cosine = -1.0
            return
        one, other = np.nan_to_num(one), np.nan_to_num(other)
        gap = np.abs(one - other)
        self._absolute = max(self._absolute, float(gap.max(initial=0.0)))
        self._largest = max(self._largest, float(np.abs(other).max(initial=0.0)))
        norm = float(np.linalg.norm(one) * np.linalg.norm(other))
        cosine = float(one @ other) / norm if norm else float(np.array_equal(one, other))
        self._cosine = min(self._cosine, cosine)
        self._signal += float(other @ other)
        self._noise += float(gap @ gap)
        self._same += int(one.size > 0 and one.argmax() == other.argmax())

    def result(self) -> Difference:
        """Return the figures."""
        sqnr = math.inf
        if self._noise > 0:
            share = self._signal / self._noise if math.isfinite(self._noise) else 0.0
            sqnr = 10 * math.log10(share) if share > 0 else -math.inf
        relative = 0.0 if self._absolute == 0 else math.inf
        if self._largest > 0:
            relative = self._absolute / self._largest
        return Difference(
            max_absolute=self._absolute, max_relative=relative, cosine=self._cosine, sqnr_db=sqnr,
            top1=self._same / max(self._frames, 1), frames=self._frames,
        )  # fmt: skip


def compare(pairs: Iterable[tuple[NDArray, NDArray]]) -> Difference:
    """Return the figures of (got, expected) over frames."""
    collected = Differences()
    for got, expected in pairs:
        collected.add(got, expected)
    return collected.result()
