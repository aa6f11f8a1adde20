"""NanoDet, PicoDet and their kin: classes, and the distances from a cell's point to the four sides.

Each side's distance is the mean of a softmax over `reg_max + 1` bins, in strides (GFL), or a number
of its own: YOLOv6 and RTMDet whose heads were cut into maps. NanoDet gives one output (1, N,
classes + 4 * (reg_max + 1)); PicoDet without postprocessing gives for each stride the classes
(1, N, classes) and the distances (1, N, 4 * (reg_max + 1)).

Sources: github.com/RangiLyu/nanodet (export and priors), github.com/PaddlePaddle/PaddleDetection
(PicoDet); Li et al., Generalized Focal Loss, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.models.adapters import AdapterSpec
from edge_perception.models.adapters._boxes import (
    BoxDecoder,
    BoxOptions,
    Candidates,
    best_of,
    declared,
    grid_cells,
    input_size,
    output_of,
    sigmoid,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._nanodet_graph import REG_MAX, recognise
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class NanodetOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    outputs: tuple[str, ...]  # classes and distances in one, or the classes for each stride
    distances: tuple[str, ...] = ()  # of the strides, where they are outputs of their own
    strides: tuple[int, ...] = (8, 16, 32, 64)  # px
    reg_max: int = parameter(REG_MAX, low=0, high=64)  # 0: a number a side in the place of bins
    bins: str = parameter("logits", choices=("logits", "shares"))  # shares: the softmax is inside
    distance_unit: str = parameter("stride", choices=("stride", "px"))
    cell_offset: float = parameter(0.0, low=0.0, high=1.0)  # of a cell's point, cells
    activation: str = parameter("none", choices=("none", "sigmoid"))


class NanodetDecoder(BoxDecoder):
    """Decodes one model's outputs."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(NanodetOptions, manifest.postprocessing, where, error=ManifestError)
        super().__init__(manifest, options, self._cells_of, where)
        self._gfl = options
        self._classes = len(manifest.labels)
        size = input_size(manifest, where)
        cells, self._strides = grid_cells(size, options.strides)
        self._points = (cells + options.cell_offset) * self._strides[:, None]
        self._shapes = {
            name: declared(manifest, name, where) for name in (*options.outputs, *options.distances)
        }
        sides = 4 * (options.reg_max + 1)
        columns = [self._classes] * len(options.outputs) + [sides] * len(options.distances)
        if not options.distances:
            columns = [self._classes + sides]
        if len(columns) != len(self._shapes):
            raise ManifestError(f"{where}.outputs: expected one output, or distances for each")
        rows = 0
        for (name, shape), wanted in zip(self._shapes.items(), columns, strict=True):
            if len(shape) != 3 or shape[2] != wanted:
                raise ManifestError(
                    f"{where}: output '{name}' expects (1, N, {wanted}), got {shape}"
                )
            rows += shape[1] if name in options.outputs else 0
        if rows != len(cells):
            raise ManifestError(
                f"{where}.strides: {options.strides} have {len(cells)} cells, the outputs {rows}"
            )

    def _cells_of(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options = self._gfl

        def joined(names: tuple[str, ...]) -> NDArray:
            parts = [output_of("nanodet", outputs, name, self._shapes[name])[0] for name in names]
            return np.concatenate(parts)

        classes = joined(options.outputs)
        if options.distances:
            distances = joined(options.distances)
        else:
            classes, distances = classes[:, : self._classes], classes[:, self._classes :]
        if options.activation == "sigmoid":
            classes = sigmoid(classes)
        rows, scores, labels = best_of(classes, least)
        bins = distances[rows].astype(np.float64).reshape(len(rows), 4, options.reg_max + 1)
        reach = _mean(bins, options.bins == "shares") if options.reg_max else bins[..., 0]
        if options.distance_unit == "stride":
            reach = reach * self._strides[rows, None]
        points = self._points[rows]
        boxes = np.concatenate([points - reach[:, :2], points + reach[:, 2:]], axis=1)
        return Candidates(boxes=boxes, scores=scores, labels=labels)


def _mean(bins: NDArray[np.float64], are_shares: bool) -> NDArray[np.float64]:
    """Return the mean of distributions, given as logits or as shares, over the last axis."""
    weights = bins if are_shares else np.exp(bins - bins.max(axis=-1, keepdims=True))
    return np.asarray((weights * np.arange(bins.shape[-1])).sum(axis=-1) / weights.sum(axis=-1))


SPEC = AdapterSpec(
    name="nanodet",
    roles=("camera",),
    make_decoder=NanodetDecoder,
    recognise=recognise,
    spelling=coco_spelling,
)
