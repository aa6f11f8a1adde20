"""PointPillars with anchors (Lang et al., 2019) as OpenPCDet and mmdetection3d export it.

For each cell of the map and each anchor: class logits, seven offsets to the anchor (x, y, z of the
centre, log length, width, height, yaw) and two logits of the direction. Anchors are listed class
by class and in each by rotation, their centres evenly from one end of the range to the other.

- `hwc`, OpenPCDet: cls_preds (1, H, W, anchors * classes), box_preds, dir_cls_preds;
- `chw`, mmdeploy: cls_score (1, anchors * classes, H, W), bbox_pred, dir_cls_pred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import UNKNOWN
from edge_perception.models.adapters import AdapterSpec, Decisions
from edge_perception.models.adapters._boxes import declared, output_of, sigmoid
from edge_perception.models.adapters._boxes3d import (
    MAX_LOG_SIZE,
    Box3dOptions,
    decisions,
    thresholds,
)
from edge_perception.models.adapters._pointpillars_graph import recognise
from edge_perception.models.manifest import Manifest

_BINS = 2


@dataclass(frozen=True, kw_only=True)
class AnchorOptions:
    """Anchors of one class and size."""

    size_m: tuple[float, float, float]  # length, width, height
    bottom_m: float  # z of the lower side, model frame
    yaws_rad: tuple[float, ...] = (0.0, 1.57)


@dataclass(frozen=True, kw_only=True)
class PointPillarsOptions(Box3dOptions):
    """`postprocessing` of a manifest with this adapter."""

    classes: str = "cls_preds"  # graph outputs
    boxes: str = "box_preds"
    directions: str = "dir_cls_preds"  # empty: none
    layout: str = parameter("hwc", choices=("hwc", "chw"))
    range_m: tuple[float, float, float, float]  # x and y min, then max
    anchors: tuple[AnchorOptions, ...]
    aligned: bool = False  # anchors in the middles of the cells, not from end to end
    direction_offset_rad: float = 0.78539
    direction_limit: float = parameter(0.0, low=0.0, high=1.0)


class PointPillarsDecoder:
    """Decodes one model's outputs."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(PointPillarsOptions, manifest.postprocessing, where, error=ManifestError)
        self._options, self._labels = options, manifest.labels
        self._least = thresholds(options, manifest.labels, where)
        per_cell = sum(len(anchor.yaws_rad) for anchor in options.anchors)
        shape = declared(manifest, options.classes, f"{where}.classes")
        if len(shape) != 4:
            raise ManifestError(f"{where}.classes: expected four axes, got {shape}")
        rows, columns = shape[1:3] if options.layout == "hwc" else shape[2:]
        widths = {options.classes: len(manifest.labels), options.boxes: 7}
        if options.directions:
            widths[options.directions] = _BINS
        self._shapes = {}
        for name, width in widths.items():
            last = per_cell * width
            wanted = (
                (1, rows, columns, last) if options.layout == "hwc" else (1, last, rows, columns)
            )
            if declared(manifest, name, where) != wanted:
                raise ManifestError(
                    f"{where}: {per_cell} anchors a cell and {len(manifest.labels)} labels expect "
                    f"{wanted} of output '{name}', got {declared(manifest, name, where)}"
                )
            self._shapes[name] = wanted
        self._anchors = anchors_of(options, (rows, columns))

    def __call__(self, outputs: Mapping[str, NDArray], context: Any = None) -> Decisions:
        """Return the objects, strongest first.

        Args:
            outputs: of the graph.
            context: origin of the model's frame in the base frame, m.

        Raises:
            InvalidOutputError: an output is missing, has another shape or gives no boxes.
        """
        options = self._options
        logits = self._rows(outputs, options.classes, len(self._labels))
        labels = logits.argmax(axis=1)
        scores = sigmoid(logits.max(axis=1))
        found = np.flatnonzero(scores >= self._least[labels])
        offsets = self._rows(outputs, options.boxes, 7)[found].astype(np.float64)
        anchors = self._anchors[found]
        diagonal = np.hypot(anchors[:, 3], anchors[:, 4])
        values = np.full((len(found), 9), UNKNOWN)
        values[:, :2] = offsets[:, :2] * diagonal[:, None] + anchors[:, :2]
        values[:, 2] = offsets[:, 2] * anchors[:, 5] + anchors[:, 2]
        sizes = np.clip(offsets[:, 3:6], -MAX_LOG_SIZE, MAX_LOG_SIZE)
        values[:, 3:6] = np.exp(sizes) * anchors[:, 3:6]
        yaw = offsets[:, 6] + anchors[:, 6]
        if options.directions:
            bins = self._rows(outputs, options.directions, _BINS)[found].argmax(axis=1)
            yaw = self._turned(yaw, bins)
        values[:, 6] = yaw
        return decisions(
            options, self._labels, labels[found].astype(np.int64), scores[found], values, context
        )

    def _rows(self, outputs: Mapping[str, NDArray], name: str, width: int) -> NDArray:
        raw = output_of("pointpillars", outputs, name, self._shapes[name])[0]
        if self._options.layout == "chw":
            raw = raw.transpose(1, 2, 0)
        return raw.reshape(-1, width)

    def _turned(self, yaw: NDArray[np.float64], bins: NDArray) -> NDArray[np.float64]:
        """The regression tells the yaw up to half a turn, the direction which half."""
        period = 2 * np.pi / _BINS
        value = yaw - self._options.direction_offset_rad
        value = value - np.floor(value / period + self._options.direction_limit) * period
        return np.asarray(value + self._options.direction_offset_rad + period * bins)


def anchors_of(options: PointPillarsOptions, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return x, y, z of the centre, length, width, height and yaw of every anchor, (N, 7)."""
    rows, columns = grid
    x_min, y_min, x_max, y_max = options.range_m
    if options.aligned:
        xs = x_min + (np.arange(columns) + 0.5) * (x_max - x_min) / columns
        ys = y_min + (np.arange(rows) + 0.5) * (y_max - y_min) / rows
    else:
        xs, ys = np.linspace(x_min, x_max, columns), np.linspace(y_min, y_max, rows)
    kinds = np.array(
        [
            (anchor.bottom_m + anchor.size_m[2] / 2, *anchor.size_m, yaw)
            for anchor in options.anchors
            for yaw in anchor.yaws_rad
        ]
    )
    full = np.empty((rows, columns, len(kinds), 7))
    full[..., 0] = xs[None, :, None]
    full[..., 1] = ys[:, None, None]
    full[..., 2:] = kinds
    return full.reshape(-1, 7)


SPEC = AdapterSpec(
    name="pointpillars",
    roles=("lidar",),
    make_decoder=PointPillarsDecoder,
    recognise=recognise,
    spelling=str.lower,
)
