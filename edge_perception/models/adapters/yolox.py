"""YOLOX detectors (Ge et al., 2021; Apache-2.0): raw heads to boxes in the image.

The graph gives (1, N, 5 + classes): for each cell of the grids of strides 8, 16 and 32 the centre
(cells, from the cell's corner), log of width and height (log cells), objectness and class
scores, both already 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import ImageObject
from edge_perception.models.adapters import AdapterSpec, Decisions
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._yolox_graph import describe
from edge_perception.models.manifest import Manifest

_MAX_LOG_CELLS = 8.0  # e^8 cells of stride 8 are 24,000 px, wider than any input
_MAX_CANDIDATES = 512  # strongest boxes that suppression looks at


@dataclass(frozen=True, kw_only=True)
class YoloxOptions:
    """`postprocessing` of a manifest with this adapter."""

    output: str = "output"  # graph output
    strides: tuple[int, ...] = (8, 16, 32)  # px
    decoded: bool = False  # the graph gives boxes in px of its input already
    score_threshold: float = parameter(0.3, low=0.001, high=1.0)
    overlap_threshold: float = parameter(0.45, low=0.0, high=1.0)  # IoU
    # Boxes of two classes that overlap that much are one object (a van: car and truck).
    duplicate_threshold: float = parameter(0.8, low=0.0, high=1.0)  # IoU
    max_objects: int = parameter(100, low=1, high=1000)
    # Label -> published class; labels that are not listed are left out. Empty: all, as they are.
    classes: Mapping[str, str] = field(default_factory=dict)


class YoloxDecoder:
    """Decodes one model's output."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(YoloxOptions, manifest.postprocessing, where, error=ManifestError)
        _check(manifest, options, where)
        height, width = manifest.inputs[0].shape[2:]
        self._options = options
        self._corners, self._strides = grid_cells((width, height), options.strides)
        self._shape = (1, len(self._strides), 5 + len(manifest.labels))
        names = [
            options.classes.get(label, "") if options.classes else label
            for label in manifest.labels
        ]
        self._names = sorted({name for name in names if name})
        index = {name: position for position, name in enumerate(self._names)}
        self._class_of_label = np.array([index.get(name, -1) for name in names])

    def __call__(self, outputs: Mapping[str, NDArray], context: Any) -> Decisions:
        """Return the boxes of the image, strongest first.

        Args:
            outputs: graph outputs by name.
            context: the letterbox of the image: `to_image` maps points (px of the input) to it,
                `image_size` is its width and height.

        Raises:
            InvalidOutputError: the output is missing or has another shape.
        """
        raw = outputs.get(self._options.output)
        if raw is None or raw.shape != self._shape:
            got = sorted(outputs) if raw is None else raw.shape
            raise InvalidOutputError(
                f"yolox: output '{self._options.output}' expects {self._shape}, got {got}"
            )
        boxes, scores, classes = self._candidates(raw[0])
        boxes = context.to_image(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
        width, height = context.image_size
        np.clip(boxes, -0.5, np.tile([width - 0.5, height - 0.5], 2), out=boxes)
        kept = suppress(
            boxes,
            classes,
            self._options.overlap_threshold,
            self._options.duplicate_threshold,
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

    def _candidates(
        self, raw: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Corners in px of the input, (N, 4), scores and classes, strongest first."""
        threshold = self._options.score_threshold
        found = np.flatnonzero(raw[:, 4] >= threshold)  # class scores only lower it
        cells = raw[found].astype(np.float64)
        labels = cells[:, 5:].argmax(axis=1)
        scores = cells[:, 4] * cells[np.arange(len(cells)), 5 + labels]
        classes = self._class_of_label[labels]
        order = np.argsort(-scores, kind="stable")
        order = order[(scores[order] >= threshold) & (classes[order] >= 0)][:_MAX_CANDIDATES]
        cells, found = cells[order], found[order]
        if self._options.decoded:
            center, size = cells[:, :2], cells[:, 2:4]
        else:
            stride = self._strides[found, None]
            center = (cells[:, :2] + self._corners[found]) * stride
            size = np.exp(np.minimum(cells[:, 2:4], _MAX_LOG_CELLS)) * stride
        boxes = np.concatenate([center - size / 2, center + size / 2], axis=1)
        return boxes, scores[order], classes[order]


def grid_cells(
    input_size: tuple[int, int], strides: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return column and row of each cell, (N, 2), and its stride, (N,), in the output's order."""
    corners, cell_strides = [], []
    for stride in strides:
        columns, rows = input_size[0] // stride, input_size[1] // stride
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        corners.append(grid.reshape(-1, 2).astype(np.float64))
        cell_strides.append(np.full(rows * columns, float(stride)))
    return np.concatenate(corners), np.concatenate(cell_strides)


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


def _check(manifest: Manifest, options: YoloxOptions, where: str) -> None:
    outputs = {spec.name: spec.shape for spec in manifest.outputs}
    if options.output not in outputs:
        raise ManifestError(f"{where}.output: expected one of {sorted(outputs)}")
    shape = manifest.inputs[0].shape
    if len(shape) != 4 or min(options.strides, default=0) < 1:
        raise ManifestError(f"{where}.strides: expected positive strides of an image input")
    cells = sum((shape[3] // stride) * (shape[2] // stride) for stride in options.strides)
    expected = (1, cells, 5 + len(manifest.labels))
    if outputs[options.output] != expected:
        raise ManifestError(
            f"{where}: with {len(manifest.labels)} labels and strides {options.strides} output "
            f"'{options.output}' is {expected}, the graph has {outputs[options.output]}"
        )
    for label in options.classes:
        if label not in manifest.labels:
            raise ManifestError(f"{where}.classes.{label}: expected a label of the model")


SPEC = AdapterSpec(
    name="yolox",
    roles=("camera",),
    make_decoder=YoloxDecoder,
    describe=describe,
    spelling=coco_spelling,
)
