"""YOLO detectors without suppression inside: v5, v6, v7 (rows), v8, v9, v11, v12 (columns).

Layouts of the output:

- `rows`, v5, v6 and v7: (1, N, 5 + classes): centre, size (px of the input), objectness, classes;
- `columns`, v8 and later: (1, 4 + classes, N): centre, size, classes, without objectness; some
  exporters give corners in the place of centre and size;
- `levels`, v5 and v7 without their detection layer: for each stride (1, A, rows, columns,
  5 + classes) logits, which take anchors; a map (1, A * (5 + classes), rows, columns) is turned
  into that when it is imported. Of darknet (YOLOv3 and v4) offsets become boxes in another way.

Sources: the exporters of github.com/ultralytics/yolov5, github.com/WongKinYiu/yolov7 and yolov9,
github.com/ultralytics/ultralytics, github.com/meituan/YOLOv6, onnx/models (formats; no code
of theirs is here).
With suppression inside they are of the adapter `detections`.
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
    centered,
    declared,
    grid_cells,
    input_size,
    output_of,
    sigmoid,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._yolo_graph import recognise
from edge_perception.models.adapters._yolo_levels_graph import recognise_levels
from edge_perception.models.foreign import ForeignModel, Reading
from edge_perception.models.manifest import Manifest

_LARGEST = 20.0  # logarithm of a size to its anchor's: beyond that exp overflows in no picture


@dataclass(frozen=True, kw_only=True)
class YoloOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    layout: str = parameter("columns", choices=("rows", "columns", "levels"))
    outputs: tuple[str, ...]  # one; of `levels` one for each stride
    objectness: bool = False  # a column after the box, which the classes are multiplied by
    box: str = parameter("cxcywh", choices=("cxcywh", "xyxy"))  # of rows and columns
    box_unit: str = parameter("px", choices=("px", "share"))  # share of the input
    strides: tuple[int, ...] = (8, 16, 32)  # px, of `levels`
    # Of `levels`: for each stride width and height of its anchors in a row, px.
    anchors: tuple[tuple[float, ...], ...] = ()
    decoding: str = parameter("v5", choices=("v5", "darknet"))  # of `levels`: offsets to boxes
    scale_xy: tuple[float, ...] = ()  # of darknet, for each stride (scale_x_y); empty: 1
    raised: bool = False  # of `levels`: objectness and classes are 0 to 1 already


class YoloDecoder(BoxDecoder):
    """Decodes one model's outputs."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(YoloOptions, manifest.postprocessing, where, error=ManifestError)
        self._yolo = options
        self._columns = 4 + options.objectness + len(manifest.labels)
        self._size = input_size(manifest, where)
        self._shapes = {
            name: declared(manifest, name, f"{where}.outputs") for name in options.outputs
        }
        read = self._levels if options.layout == "levels" else self._flat
        super().__init__(manifest, options, read, where)
        self._check(where)

    def _check(self, where: str) -> None:
        options, axis = self._yolo, 1 if self._yolo.layout == "columns" else -1
        rank = 5 if options.layout == "levels" else 3
        wanted = len(options.strides) if options.layout == "levels" else 1
        if len(options.outputs) != wanted:
            raise ManifestError(f"{where}.outputs: expected {wanted}, got {len(options.outputs)}")
        for name, shape in self._shapes.items():
            if len(shape) != rank or shape[axis] != self._columns:
                raise ManifestError(
                    f"{where}: layout '{options.layout}' with objectness {options.objectness} "
                    f"expects {self._columns} values a box in output '{name}', it has {shape}"
                )
        if options.layout == "levels":
            counts = {len(row) for row in options.anchors} | {
                2 * s[1] for s in self._shapes.values()
            }
            if len(options.anchors) != len(options.strides) or len(counts) != 1:
                raise ManifestError(
                    f"{where}.anchors: expected for each stride width and height of the anchors, "
                    f"got {options.anchors}"
                )
            if options.scale_xy and len(options.scale_xy) != len(options.strides):
                raise ManifestError(
                    f"{where}.scale_xy: expected one for each of {options.strides}, got "
                    f"{options.scale_xy}"
                )
            if not options.objectness:
                raise ManifestError(f"{where}.objectness: expected true with layout 'levels'")

    def _flat(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options = self._yolo
        name = options.outputs[0]
        raw = output_of("yolo", outputs, name, self._shapes[name])[0]
        values = raw.T if options.layout == "columns" else raw
        if options.objectness:
            values = values[values[:, 4] >= least]  # class scores only lower it
            rows, scores, labels = best_of(values[:, 5:] * values[:, 4:5], least)
        else:
            rows, scores, labels = best_of(values[:, 4:], least)
        boxes = values[rows, :4].astype(np.float64)
        if options.box == "cxcywh":
            boxes = centered(boxes)
        if options.box_unit == "share":
            boxes *= np.tile(self._size, 2)
        return Candidates(boxes=boxes, scores=scores, labels=labels)

    def _levels(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options, found = self._yolo, []
        scales = options.scale_xy or (1.0,) * len(options.strides)
        for name, stride, anchors, scale in zip(
            options.outputs, options.strides, options.anchors, scales, strict=True
        ):
            shape = self._shapes[name]
            raw = output_of("yolo", outputs, name, shape)[0].reshape(shape[1], -1, shape[4])
            values = sigmoid(raw)
            cells, _ = grid_cells(self._size, (stride,))
            sizes = np.asarray(anchors, np.float64).reshape(-1, 1, 2)
            if options.decoding == "darknet":
                middle = values[..., :2] * scale - (scale - 1.0) / 2.0
                size = np.exp(np.minimum(raw[..., 2:4].astype(np.float64), _LARGEST)) * sizes
            else:
                middle = values[..., :2] * 2 - 0.5
                size = (values[..., 2:4] * 2) ** 2 * sizes
            boxes = np.concatenate([(middle + cells) * stride, size], axis=-1).reshape(-1, 4)
            flat = (raw if options.raised else values).reshape(-1, shape[4])
            rows, scores, labels = best_of(flat[:, 5:] * flat[:, 4:5], least)
            found.append((centered(boxes[rows]), scores, labels))
        boxes, scores, labels = (np.concatenate(part) for part in zip(*found, strict=True))
        return Candidates(boxes=boxes, scores=scores, labels=labels)


def _recognise(foreign: ForeignModel) -> list[Reading]:
    return recognise(foreign) or recognise_levels(foreign)


SPEC = AdapterSpec(
    name="yolo",
    roles=("camera",),
    make_decoder=YoloDecoder,
    recognise=_recognise,
    spelling=coco_spelling,
)
