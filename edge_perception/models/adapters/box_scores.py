"""Detectors with the boxes of all cells and their class scores in two outputs, not suppressed.

Boxes (1, N, 4) or (1, N, 1, 4), scores (1, N, classes) or turned: YOLO-NAS, PP-YOLOE exported
without suppression, YOLOv4, and what is left of YOLOv6, v7, v8 or YOLOX when TensorRT's suppression
plug-in is taken off their end.

Sources: super-gradients, PaddleDetection, Tianxiaomo/pytorch-YOLOv4, NVIDIA/TensorRT's
efficientNMSPlugin (formats).
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
from edge_perception.models.adapters._box_scores_graph import recognise
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
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class BoxScoresOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    boxes: str  # graph outputs
    scores: str
    turned: bool = False  # scores come (1, classes, N)
    box: str = parameter("xyxy", choices=("xyxy", "cxcywh"))
    box_unit: str = parameter("px", choices=("px", "share"))  # share of the input
    activation: str = parameter("none", choices=("none", "sigmoid"))


class BoxScoresDecoder(BoxDecoder):
    """Decodes one model's outputs."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(BoxScoresOptions, manifest.postprocessing, where, error=ManifestError)
        super().__init__(manifest, options, self._pair, where)
        self._pairs = options
        self._size = np.tile(input_size(manifest, where), 2)
        self._boxes = declared(manifest, options.boxes, f"{where}.boxes")
        self._scores = declared(manifest, options.scores, f"{where}.scores")
        count, classes = int(np.prod(self._boxes)) // 4, len(manifest.labels)
        wanted = (1, classes, count) if options.turned else (1, count, classes)
        if self._boxes[-1:] != (4,) or self._scores != wanted:
            raise ManifestError(
                f"{where}: with {classes} labels expected boxes (1, {count}, 4) and scores "
                f"{wanted}, the graph has {self._boxes} and {self._scores}"
            )

    def _pair(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options = self._pairs
        boxes = output_of("box_scores", outputs, options.boxes, self._boxes).reshape(-1, 4)
        scores = output_of("box_scores", outputs, options.scores, self._scores)[0]
        if options.turned:
            scores = scores.T
        if options.activation == "sigmoid":
            scores = sigmoid(scores)
        rows, best, labels = best_of(scores, least)
        found = boxes[rows].astype(np.float64)
        if options.box == "cxcywh":
            found = centered(found)
        if options.box_unit == "share":
            found = found * self._size
        return Candidates(boxes=found, scores=best, labels=labels)


SPEC = AdapterSpec(
    name="box_scores",
    roles=("camera",),
    make_decoder=BoxScoresDecoder,
    recognise=recognise,
    spelling=coco_spelling,
)
