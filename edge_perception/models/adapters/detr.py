"""DETR and RT-DETR without postprocessing: class logits and boxes of a fixed set of queries.

- two outputs, classes (1, Q, C) and boxes (1, Q, 4): DETR (softmax, the last class is "none"),
  RT-DETR and RF-DETR of transformers and roboflow (sigmoid);
- one output (1, Q, 4 + C): RT-DETR of Ultralytics, classes already 0 to 1.

Boxes are centre and size, share of the input. There is no suppression: each object has one query,
so the threshold of overlap is high. RT-DETR with its postprocessing is of `detections`.

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
    cells_of,
    centered,
    declared,
    input_size,
    output_of,
    sigmoid,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._picture import IMAGENET, STRETCH, UNIT, reading
from edge_perception.models.adapters._yolo_graph import check_task
from edge_perception.models.foreign import ForeignModel, Reading
from edge_perception.models.manifest import Manifest

_QUERIES = (20, 1000)
_NO_SUPPRESSION = {"overlap_threshold": 0.9, "duplicate_threshold": 1.0}


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


def recognise(foreign: ForeignModel) -> list[Reading]:
    """Return what DETR the file may be."""
    if foreign.size is None:
        return []
    shapes = foreign.output_shapes()
    sets = {
        name: shape
        for name, shape in shapes.items()
        if len(shape) == 3 and shape[0] == 1 and _QUERIES[0] <= shape[1] <= _QUERIES[1]
    }
    if len(shapes) == 1 and sets:
        return _ultralytics(foreign, *sets.items())
    boxes = [name for name, shape in sets.items() if shape[2] == 4]
    classes = [n for n, s in sets.items() if n not in boxes and boxes and s[1] == sets[boxes[0]][1]]
    if len(boxes) != 1 or len(classes) != 1 or len(shapes) > 2 + _auxiliary(shapes):
        return []
    return _two_outputs(foreign, classes[0], boxes[0], shapes[classes[0]][2])


def _auxiliary(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count what transformers gives beside: states of encoder and decoder."""
    return sum("hidden_state" in name or "encoder" in name for name in shapes)


def _ultralytics(foreign: ForeignModel, *found: tuple[str, tuple[int, ...]]) -> list[Reading]:
    ((name, shape),) = found
    names = len(foreign.names())
    assert foreign.size is not None
    is_grid = any(
        shape[1] in (cells, 3 * cells)
        for cells in (cells_of(foreign.size, s) for s in ((8, 16, 32), (8, 16, 32, 64)))
    )
    if (shape[2] <= 6 and names != shape[2] - 4) or is_grid:
        return []  # rows of six are detections with suppression inside
    if names and names != shape[2] - 4:
        return []
    check_task(foreign)
    return [
        reading(
            foreign,
            adapter="detr",
            family="RT-DETR of Ultralytics",
            preprocessing={**UNIT, **STRETCH},
            postprocessing={
                "boxes_output": name,
                "activation": "none",
                "none_class": False,
                **_NO_SUPPRESSION,
            },
            classes=shape[2] - 4,
            reasons={
                "scale": "pixels from 0 to 1",
                "resize": "RT-DETR does not keep the shape",
                "activation": "the exporter applies the sigmoid",
                "none_class": "RT-DETR has none",
            },
        )
    ]


def _two_outputs(foreign: ForeignModel, classes: str, boxes: str, columns: int) -> list[Reading]:
    """DETR has one class more than there are; RT-DETR and RF-DETR have not."""
    said = str(foreign.said.get("family", "")).lower().replace("-", "")
    families = {"detr": "DETR", "rtdetr": "RT-DETR", "rfdetr": "RF-DETR"}
    if columns in (92, 251) or said == "detr":
        family, why = "DETR", f"{columns} classes: the last is 'no object'"
    elif {classes, boxes} == {"labels", "dets"} or said == "rfdetr":
        family, why = "RF-DETR", "outputs 'dets' and 'labels'"
    elif columns == 80 or said == "rtdetr":
        family, why = "RT-DETR", f"{columns} classes"
    else:
        family, why = "DETR or RT-DETR", "the number of classes does not tell"
    softmax = family == "DETR"
    preprocessing = {**(UNIT if family == "RT-DETR" else IMAGENET), **STRETCH}
    return [
        reading(
            foreign,
            adapter="detr",
            family=family,
            preprocessing=preprocessing,
            postprocessing={
                "classes_output": classes,
                "boxes_output": boxes,
                "activation": "softmax" if softmax else "sigmoid",
                "none_class": softmax,
                **_NO_SUPPRESSION,
            },
            classes=columns - softmax,
            reasons={
                "scale": "pixels from 0 to 1",
                "mean": "none" if family == "RT-DETR" else "ImageNet's",
                "std": "none" if family == "RT-DETR" else "ImageNet's",
                "resize": "the input has a fixed size",
                "activation": why,
                "none_class": why,
            },
            undecided={}
            if family in families.values()
            else {"family": f"--assume family={'|'.join(families)}"},
        )
    ]


SPEC = AdapterSpec(
    name="detr",
    roles=("camera",),
    make_decoder=DetrDecoder,
    recognise=recognise,
    spelling=coco_spelling,
)
