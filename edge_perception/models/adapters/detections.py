"""Detectors whose graph gives a list of detections: suppression, or a choice of queries, inside.

- `rows`: one output of rows with box, score and class: YOLOv10 and Ultralytics with `nms=True`
  (1, 300, 6); YOLOv7 and v9 end to end (N, 7) with the image's number first; Paddle (N, 6) with
  class and score first;
- `lists`: boxes, scores and classes apart: SSD of TensorFlow and of the ONNX model zoo,
  torchvision, RT-DETR with postprocessing, YOLO end to end with `num_dets`, YOLO-NAS; of
  mmdetection the score is the fifth number of a box.

Lists of any length are padded with zeros when the file is imported; a score of zero is none.

Sources: the exporters of ultralytics, WongKinYiu/yolov7, THU-MIG/yolov10, PaddleDetection,
torchvision, lyuwenyu/RT-DETR; onnx/models (ssd, ssd-mobilenetv1) (formats).
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
    centered,
    declared,
    input_size,
    output_of,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._detections_graph import recognise
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class DetectionsOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    overlap_threshold: float = parameter(0.9, low=0.0, high=1.0)  # suppressed in the graph
    duplicate_threshold: float = parameter(1.0, low=0.0, high=1.0)
    rows: str = ""  # output of rows; empty: the three below
    box_column: int = parameter(0, low=0, high=16)  # of the rows: first of four
    score_column: int = parameter(4, low=0, high=16)
    class_column: int = parameter(5, low=0, high=16)
    boxes: str = ""
    scores: str = ""
    labels: str = ""
    box: str = parameter("xyxy", choices=("xyxy", "yxyx", "cxcywh", "xywh"))
    box_unit: str = parameter("px", choices=("px", "share"))  # share of the input
    first_class: int = parameter(0, low=0, high=1)  # number of the first label


class DetectionsDecoder(BoxDecoder):
    """Decodes one model's list."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(DetectionsOptions, manifest.postprocessing, where, error=ManifestError)
        super().__init__(manifest, options, self._list, where)
        self._list_of = options
        self._size = np.tile(input_size(manifest, where), 2)
        named = [options.rows] if options.rows else [options.boxes, options.scores, options.labels]
        self._shapes = {name: declared(manifest, name, where) for name in named}
        if options.rows:
            columns = self._shapes[options.rows][-1]
            last = max(options.box_column + 3, options.score_column, options.class_column)
            if last >= columns:
                raise ManifestError(
                    f"{where}.rows: expected more than {last} columns in output "
                    f"'{options.rows}', got {columns}"
                )
            return
        # Scores may be the fifth number of a box.
        columns = 5 if options.scores == options.boxes else 4
        counts = {
            int(np.prod(shape)) // (columns if name == options.boxes else 1)
            for name, shape in self._shapes.items()
        }
        if len(counts) != 1 or self._shapes[options.boxes][-1] != columns:
            raise ManifestError(
                f"{where}: expected boxes, scores and labels of one length, got {self._shapes}"
            )

    def _list(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        options = self._list_of
        found = {n: output_of("detections", outputs, n, s) for n, s in self._shapes.items()}
        if options.rows:
            rows = found[options.rows].reshape(-1, self._shapes[options.rows][-1])
            boxes = rows[:, options.box_column : options.box_column + 4]
            scores, labels = rows[:, options.score_column], rows[:, options.class_column]
        else:
            rows = found[options.boxes].reshape(-1, self._shapes[options.boxes][-1])
            boxes, labels = rows[:, :4], found[options.labels].reshape(-1)
            apart = options.scores != options.boxes
            scores = found[options.scores].reshape(-1) if apart else rows[:, 4]
        kept = np.flatnonzero(scores >= least)
        return Candidates(
            boxes=self._corners(boxes[kept].astype(np.float64)),
            scores=scores[kept].astype(np.float64),
            labels=np.rint(labels[kept]).astype(np.int64) - options.first_class,
        )

    def _corners(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        kind = self._list_of.box
        if kind == "yxyx":
            boxes = boxes[:, [1, 0, 3, 2]]
        elif kind == "cxcywh":
            boxes = centered(boxes)
        elif kind == "xywh":
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        return boxes * self._size if self._list_of.box_unit == "share" else boxes


SPEC = AdapterSpec(
    name="detections",
    roles=("camera",),
    make_decoder=DetectionsDecoder,
    recognise=recognise,
    spelling=coco_spelling,
)
