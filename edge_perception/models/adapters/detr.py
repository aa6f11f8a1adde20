"""DETR and RT-DETR without postprocessing: class logits and boxes of a fixed set of queries.

- two outputs, classes (1, Q, C) and boxes (1, Q, 4): DETR and YOLOS (softmax, the last class is
  "none"), RT-DETR, D-FINE, deformable DETR and RF-DETR of transformers and roboflow (sigmoid);
- one output (1, Q, 4 + C): RT-DETR of Ultralytics, classes already 0 to 1.

Boxes are centre and size, share of the input. There is no suppression: each object has one query,
so the threshold of overlap is high. Of a query its best class counts. transformers takes the
strongest pairs of query and class where there is a sigmoid, which tells one object several times:
as car and as truck, in the same box. RT-DETR with its postprocessing is of `detections`.

Sources: github.com/facebookresearch/detr, huggingface/transformers, lyuwenyu/RT-DETR,
ultralytics/ultralytics, roboflow/rf-detr (formats).
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
    input_size,
    output_of,
    sigmoid,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._detr_graph import recognise
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class DetrOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    classes_output: str = ""  # empty: they follow the box in `boxes_output`
    boxes_output: str
    activation: str = parameter("sigmoid", choices=("none", "sigmoid", "softmax"))
    none_class: bool = False  # the last class is "no object"


class DetrDecoder(BoxDecoder):
    """Decodes one model's outputs."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(DetrOptions, manifest.postprocessing, where, error=ManifestError)
        super().__init__(manifest, options, self._queries, where)
        self._detr = options
        self._size = np.tile(input_size(manifest, where), 2)
        boxes = declared(manifest, options.boxes_output, f"{where}.boxes_output")
        count = len(manifest.labels) + options.none_class
        if options.classes_output:
            classes = declared(manifest, options.classes_output, f"{where}.classes_output")
            wanted = ((*boxes[:2], 4), (*boxes[:2], count))
        else:
            classes, wanted = boxes, ((*boxes[:2], 4 + count),) * 2
        if (boxes, classes) != wanted:
            raise ManifestError(
                f"{where}: with {len(manifest.labels)} labels and none_class {options.none_class} "
                f"expected outputs {wanted}, the graph has {(boxes, classes)}"
            )
        self._shapes = (boxes, classes)

    def _queries(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options = self._detr
        boxes = output_of("detr", outputs, options.boxes_output, self._shapes[0])[0]
        if options.classes_output:
            logits = output_of("detr", outputs, options.classes_output, self._shapes[1])[0]
        else:
            boxes, logits = boxes[:, :4], boxes[:, 4:]
        scores = _activated(logits, options.activation)
        if options.none_class:
            scores = scores[:, :-1]
        rows, best, labels = best_of(scores, least)
        return Candidates(boxes=centered(boxes[rows]) * self._size, scores=best, labels=labels)


def _activated(logits: NDArray, activation: str) -> NDArray:
    if activation == "sigmoid":
        return sigmoid(logits)
    if activation == "softmax":
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return logits


SPEC = AdapterSpec(
    name="detr",
    roles=("camera",),
    make_decoder=DetrDecoder,
    recognise=recognise,
    spelling=coco_spelling,
)
