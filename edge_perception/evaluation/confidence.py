"""Whether a score means what it says: calibration error and reliability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.evaluation.matching import CLASSES, COUNTED_AT, Judged

BINS = 10


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Detections by score."""

    score: NDArray[np.float64]  # (B,), mean of each bin, NaN: empty
    precision: NDArray[np.float64]  # (B,), share that is right
    count: NDArray[np.int64]  # (B,)

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al., 2015), NaN without detections."""
        total = self.count.sum()
        if not total:
            return float("nan")
        gap = np.abs(np.nan_to_num(self.score) - np.nan_to_num(self.precision))
        return float((gap * self.count).sum() / total)


def published(judged: Judged, thresholds: Mapping[str, float]) -> NDArray[np.bool_]:
    """Return which detections reach the threshold of their class and count, (N,)."""
    limits = np.array([thresholds[name] for name in CLASSES], np.float32)
    mask: NDArray[np.bool_] = judged.counts[:, COUNTED_AT] & (judged.score >= limits[judged.label])
    return mask


def reliability(judged: Judged, mask: NDArray[np.bool_]) -> Reliability:
    """Sort detections into equal steps of score."""
    score, hit = judged.score[mask].astype(np.float64), judged.hit[mask, COUNTED_AT]
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(
            score=np.bincount(bins, weights=score, minlength=BINS) / count,
            precision=np.bincount(bins, weights=hit, minlength=BINS) / count,
            count=count,
        )


def reliability_rows(found: Reliability) -> list[dict[str, float]]:
    """Return the bins that hold detections: what their scores promise, and what is there."""
    return [
        {
            "from": index / BINS,
            "to": (index + 1) / BINS,
            "promised": float(found.score[index]),
            "found": float(found.precision[index]),
            "count": int(found.count[index]),
        }
        for index in np.flatnonzero(found.count).tolist()
    ]


def confidence_table(judged: Judged, thresholds: Mapping[str, float]) -> dict:
    """Return ece, mean score, precision, recall and F1 of what would be published.

    And `reliability`: the same by score (`reliability_rows`).
    """
    mask = published(judged, thresholds)
    found = int(mask.sum())
    right = int(judged.hit[mask, COUNTED_AT].sum())
    wanted = len(judged.wanted_label)
    precision, recall = right / max(found, 1), right / max(wanted, 1)
    told = reliability(judged, mask)
    return {
        "ece": told.ece,
        "mean_score": float(judged.score[mask].mean()) if found else float("nan"),
        "precision": precision if found else float("nan"),
        "recall": recall,
        "f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "published": found,
        "reliability": reliability_rows(told),
    }
