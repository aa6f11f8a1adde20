"""Scores that are frequencies: a temperature and a bias for a head, or for each subset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from edge_perception.core.types import DetectedObject
from training.metrics import Region, Truth, best_threshold, matches
from training.samples import CLASSES

_LEAST_MATCHES = 20  # fewer detections that are right teach nothing
Frames = Sequence[tuple[Truth, Sequence[DetectedObject]]]


def calibration(frames: Frames, *, region: Region | None = None) -> dict[str, Any]:
    """Return temperature, bias and the class thresholds with the best F1, of calibrated scores.

    Args:
        frames: truth and detections, down to low scores, of a head with temperature 1 and bias 0.
        region: where objects count.
    """
    region = region or Region()
    found = [matches(label, frames, region=region) for label in range(len(CLASSES))]
    scores = np.concatenate([item.scores for item in found])
    hits = np.concatenate([item.hits for item in found])
    temperature, bias = 1.0, 0.0
    if hits.sum() >= _LEAST_MATCHES:
        temperature, bias = fit(logit(scores), hits)
    thresholds = {
        name: _calibrated(best_threshold(label, frames, region=region), temperature, bias)
        for label, name in enumerate(CLASSES)
    }
    return {
        "temperature": round(temperature, 3),
        "bias": round(bias, 3),
        "class_thresholds": thresholds,
    }


def fit(logits: NDArray, hits: NDArray[np.bool_]) -> tuple[float, float]:
    """Return temperature and bias with the least log loss (Platt, 1999)."""

    def loss(x: NDArray) -> float:
        z = logits * np.exp(x[0]) + x[1]
        return float(np.mean(np.logaddexp(0.0, z) - hits * z))

    slope, bias = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.clip(np.exp(-slope), 0.05, 20.0)), float(np.clip(bias, -10.0, 10.0))


def logit(scores: NDArray) -> NDArray:
    """Return the log-odds of scores."""
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def _calibrated(threshold: float, temperature: float, bias: float) -> float:
    z = float(logit(np.array(threshold))) / temperature + bias
    return float(np.clip(round(1 / (1 + np.exp(-z)), 3), 0.02, 0.9))
