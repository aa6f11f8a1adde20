"""Boxes in space: what the detectors of LiDARs do once their outputs are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import UNKNOWN, DetectedObject
from edge_perception.models.adapters import Decisions

MAX_LOG_SIZE = 4.0  # e^4 = 55 m, longer than any road user
_MAX_CANDIDATES = 500


@dataclass(frozen=True, kw_only=True)
class Box3dOptions:
    """What `postprocessing` says for every detector of boxes in space."""

    score_threshold: float = parameter(0.35, low=0.001, high=1.0)
    class_thresholds: Mapping[str, float] = field(default_factory=dict)  # instead, by label
    # A box dies when its centre lies within that of a stronger one, or in its footprint.
    circle_m: float = parameter(0.5, unit="m", low=0.0, high=20.0)
    suppression_scale: float = parameter(1.0, low=0.0, high=10.0)
    max_objects: int = parameter(128, low=1, high=1000)


def thresholds(options: Box3dOptions, labels: tuple[str, ...], where: str) -> NDArray[np.float64]:
    """Return the least score of each label.

    Raises:
        ManifestError: there are no labels, or a threshold is of none of them.
    """
    if not labels:
        raise ManifestError(f"{where}: manifest.labels: expected class names, got none")
    for name in options.class_thresholds:
        if name not in labels:
            raise ManifestError(f"{where}.class_thresholds.{name}: expected one of {labels}")
    return np.array([options.class_thresholds.get(n, options.score_threshold) for n in labels])


def decisions(
    options: Box3dOptions,
    names: tuple[str, ...],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    values: NDArray[np.float64],
    origin_m: Any,
) -> Decisions:
    """Suppress and return boxes.

    Args:
        options: how.
        names: of the labels.
        labels: (N,).
        scores: (N,).
        values: (N, 9) x, y, z of the centre, length, width, height (m), yaw, velocity x, y.
        origin_m: of the model's frame in the base frame; None: they are the same.
    """
    if not np.isfinite(values[:, :7]).all():
        raise InvalidOutputError("a box holds NaN or Inf")
    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    labels, scores, values = labels[order], scores[order], values[order]
    kept = _suppress(values, options)[: options.max_objects]
    origin = np.zeros(3) if origin_m is None else np.asarray(origin_m, np.float64)
    found = []
    for i in kept:
        x, y, z = (values[i, :3] + origin).tolist()
        length, width, height, yaw, speed_x, speed_y = values[i, 3:].tolist()
        known = np.isfinite((speed_x, speed_y)).all()
        found.append(
            DetectedObject(
                class_name=names[labels[i]],
                score=float(scores[i]),
                center_m=(x, y, z),
                size_m=(length, width, height),
                yaw_rad=float(np.arctan2(np.sin(yaw), np.cos(yaw))),
                velocity_mps=(speed_x, speed_y, 0.0) if known else (UNKNOWN,) * 3,
            )
        )
    return Decisions(objects=tuple(found))


def _suppress(values: NDArray[np.float64], options: Box3dOptions) -> NDArray[np.int64]:
    delta = values[:, None, :2] - values[None, :, :2]  # (j, i): centre j seen from box i
    cos, sin = np.cos(values[:, 6]), np.sin(values[:, 6])
    along = np.abs(delta[..., 0] * cos + delta[..., 1] * sin)
    across = np.abs(delta[..., 1] * cos - delta[..., 0] * sin)
    half = values[:, 3:5] * (0.5 * options.suppression_scale)
    inside = (along < half[:, 0]) & (across < half[:, 1])
    inside |= np.hypot(delta[..., 0], delta[..., 1]) < options.circle_m
    keep = np.ones(len(values), bool)
    for i in range(len(values)):
        if keep[i]:
            keep[i + 1 :] &= ~inside[i + 1 :, i]
    return np.flatnonzero(keep)
