"""Boxes in an image: what all detectors of cameras do once their outputs are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.types import ImageObject
from edge_perception.fusion.classes import common_name
from edge_perception.models.adapters import Decisions
from edge_perception.models.manifest import Manifest

MAX_CANDIDATES = 512  # strongest boxes that suppression looks at


@dataclass(frozen=True, kw_only=True)
class BoxOptions:
    """What `postprocessing` says for every detector of boxes in the image."""

    score_threshold: float = parameter(0.3, low=0.001, high=1.0)
    overlap_threshold: float = parameter(0.45, low=0.0, high=1.0)  # IoU
    # Boxes of two classes that overlap that much are one object (a van: car and truck).
    duplicate_threshold: float = parameter(0.8, low=0.0, high=1.0)  # IoU
    max_objects: int = parameter(100, low=1, high=1000)
    # Label -> published class; labels that are not listed are left out. Empty: all, as they are.
    classes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Boxes as a family's outputs give them, before suppression."""

    boxes: NDArray[np.float64]  # (N, 4) x_min, y_min, x_max, y_max, px of the input, continuous
    scores: NDArray[np.float64]  # (N,)
    labels: NDArray[np.int64]  # (N,) into the manifest's labels


# (outputs, least score) to candidates; those with a lower score may be left out.
Read = Callable[[Mapping[str, NDArray], float], Candidates]


class BoxDecoder:
    """Turns a family's candidates into the objects of an image."""

    def __init__(self, manifest: Manifest, options: BoxOptions, read: Read, where: str) -> None:
        for label in options.classes:
            if label not in manifest.labels:
                raise ManifestError(f"{where}.classes.{label}: expected a label of the model")
        if not manifest.labels:
            raise ManifestError(f"{manifest.name}: manifest.labels: expected class names, got none")
        self._options = options
        self._read = read
        self._adapter = manifest.adapter
        self._labels = len(manifest.labels)
        names = [
            options.classes.get(label, "") if options.classes else label
            for label in manifest.labels
        ]
        self._names = sorted({name for name in names if name})
        index = {name: position for position, name in enumerate(self._names)}
        self._class_of_label = np.array([index.get(name, -1) for name in names])

    @property
    def names_road_users(self) -> bool:
        """Whether fusion makes objects of any class that is published."""
        return any(common_name(name) for name in self._names)

    def candidates(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        """Return the boxes with a score of at least `least`, of all labels, strongest first.

        Raises:
            InvalidOutputError: an output is missing or has another shape.
        """
        found = self._read(outputs, least)
        order = np.argsort(-found.scores, kind="stable")
        order = order[found.scores[order] >= least]
        return Candidates(
            boxes=found.boxes[order], scores=found.scores[order], labels=found.labels[order]
        )

    def __call__(self, outputs: Mapping[str, NDArray], context: Any) -> Decisions:
        """Return the boxes of the image, strongest first.

        Args:
            outputs: graph outputs by name.
            context: the letterbox of the image: `to_image` maps points (px of the input) to it,
                `image_size` is its width and height.

        Raises:
            InvalidOutputError: an output is missing, has another shape, or names a class that
                there is not.
        """
        found = self.candidates(outputs, self._options.score_threshold)
        unknown = (found.labels < 0) | (found.labels >= self._labels)
        if unknown.any():
            raise InvalidOutputError(
                f"{self._adapter}: expected classes 0 to {self._labels - 1}, "
                f"got {int(found.labels[unknown][0])}"
            )
        published = self._class_of_label[found.labels]
        order = np.flatnonzero(published >= 0)[:MAX_CANDIDATES]
        boxes, scores, classes = found.boxes[order], found.scores[order], published[order]
        boxes = context.to_image(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        width, height = context.image_size
        np.clip(boxes, -0.5, np.tile([width - 0.5, height - 0.5], 2), out=boxes)
        kept = suppress(
            boxes, classes, self._options.overlap_threshold, self._options.duplicate_threshold
        )
        # What lay in the padding has no area left.
        kept = kept[np.all(boxes[kept, 2:] > boxes[kept, :2], axis=1)]
        return Decisions(
            image_objects=tuple(
                ImageObject(
                    class_name=self._names[classes[i]],
                    score=float(scores[i]),
                    x_min=float(boxes[i, 0]),
                    y_min=float(boxes[i, 1]),
                    x_max=float(boxes[i, 2]),
                    y_max=float(boxes[i, 3]),
                )
                for i in kept[: self._options.max_objects]
            )
        )


def output_of(
    adapter: str, outputs: Mapping[str, NDArray], name: str, shape: tuple[int, ...]
) -> NDArray:
    """Return an output of the graph.

    Raises:
        InvalidOutputError: it is missing or has another shape.
    """
    raw = outputs.get(name)
    if raw is None or raw.shape != shape:
        got = sorted(outputs) if raw is None else raw.shape
        raise InvalidOutputError(f"{adapter}: output '{name}' expects {shape}, got {got}")
    return raw


def declared(manifest: Manifest, name: str, where: str) -> tuple[int, ...]:
    """Return the shape of an output that an option names.

    Raises:
        ManifestError: the manifest has no such output.
    """
    shapes = {spec.name: spec.shape for spec in manifest.outputs}
    if name not in shapes:
        raise ManifestError(f"{where}: expected one of {sorted(shapes)}, got '{name}'")
    return shapes[name]


def input_size(manifest: Manifest, where: str) -> tuple[int, int]:
    """Return width and height of the image input, px.

    Raises:
        ManifestError: the model's first input is no image.
    """
    shape = manifest.inputs[0].shape if manifest.inputs else ()
    if len(shape) != 4:
        raise ManifestError(f"{where}: expected an image input (1, 3, H, W), got {shape}")
    return shape[3], shape[2]


def centered(values: NDArray) -> NDArray[np.float64]:
    """Centre and size, (N, 4), to corners, (N, 4)."""
    values = np.asarray(values, np.float64)
    half = values[:, 2:] / 2
    return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)


def best_of(scores: NDArray, least: float) -> tuple[NDArray[np.intp], NDArray, NDArray[np.int64]]:
    """Return rows of (N, C) whose best score is at least `least`, with it and its column."""
    best = scores.max(axis=1)
    rows = np.flatnonzero(best >= least)
    return rows, best[rows].astype(np.float64), scores[rows].argmax(axis=1).astype(np.int64)


def sigmoid(values: NDArray) -> NDArray[np.float64]:
    """Return 1 / (1 + e^-x)."""
    return 1.0 / (1.0 + np.exp(-np.clip(np.asarray(values, np.float64), -80.0, 80.0)))


def grid_cells(
    input_size: tuple[int, int], strides: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return column and row of each cell, (N, 2), and its stride, (N,), in the output's order."""
    corners, cell_strides = [], []
    for stride in strides:
        columns, rows = -(-input_size[0] // stride), -(-input_size[1] // stride)
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        corners.append(grid.reshape(-1, 2).astype(np.float64))
        cell_strides.append(np.full(rows * columns, float(stride)))
    return np.concatenate(corners), np.concatenate(cell_strides)


def cells_of(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    """Return how many cells the grids of all strides have."""
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def suppress(
    boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    overlap_threshold: float,
    duplicate_threshold: float = 1.0,
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4), x_min, y_min, x_max, y_max, strongest first.
        classes: (N,).
        overlap_threshold: intersection over union above which the weaker box of a class dies.
        duplicate_threshold: the same for boxes of different classes.

    Returns:
        Indices of the boxes that stay, strongest first.
    """
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)
    union = np.maximum(area[:, None] + area[None] - shared, 1e-9)
    same_class = classes[:, None] == classes[None]
    rivals = shared > np.where(same_class, overlap_threshold, duplicate_threshold) * union
    keep = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if keep[i]:
            keep[i + 1 :] &= ~rivals[i, i + 1 :]
    return np.flatnonzero(keep)
