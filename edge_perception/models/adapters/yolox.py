"""YOLOX detectors (Ge et al., 2021; Apache-2.0): raw heads to boxes in the image.

The graph gives (1, N, 5 + classes): for each cell of the grids of strides 8, 16 and 32 the centre
(cells, from the cell's corner), log of width and height (log cells), objectness and class
scores, both already 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.schema import decode
from edge_perception.models.adapters import AdapterSpec
from edge_perception.models.adapters._boxes import (
    BoxDecoder,
    BoxOptions,
    Candidates,
    cells_of,
    centered,
    grid_cells,
    output_of,
)
from edge_perception.models.adapters._coco import coco_spelling
from edge_perception.models.adapters._yolox_graph import describe, recognise
from edge_perception.models.manifest import Manifest

_MAX_LOG_CELLS = 8.0  # e^8 cells of stride 8 are 24,000 px, wider than any input


@dataclass(frozen=True, kw_only=True)
class YoloxOptions(BoxOptions):
    """`postprocessing` of a manifest with this adapter."""

    output: str = "output"  # graph output
    strides: tuple[int, ...] = (8, 16, 32)  # px
    decoded: bool = False  # the graph gives boxes in px of its input already


class YoloxDecoder(BoxDecoder):
    """Decodes one model's output."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(YoloxOptions, manifest.postprocessing, where, error=ManifestError)
        _check(manifest, options, where)
        super().__init__(manifest, options, self._cells, where)
        height, width = manifest.inputs[0].shape[2:]
        self._yolox = options
        self._corners, self._strides = grid_cells((width, height), options.strides)
        self._shape = (1, len(self._strides), 5 + len(manifest.labels))

    def _cells(self, outputs: Mapping[str, NDArray], least: float) -> Candidates:
        raw = output_of("yolox", outputs, self._yolox.output, self._shape)[0]
        found = np.flatnonzero(raw[:, 4] >= least)  # class scores only lower it
        cells = raw[found].astype(np.float64)
        labels = cells[:, 5:].argmax(axis=1)
        scores = cells[:, 4] * cells[np.arange(len(cells)), 5 + labels]
        if not self._yolox.decoded:
            stride = self._strides[found, None]
            cells[:, :2] = (cells[:, :2] + self._corners[found]) * stride
            cells[:, 2:4] = np.exp(np.minimum(cells[:, 2:4], _MAX_LOG_CELLS)) * stride
        return Candidates(boxes=centered(cells[:, :4]), scores=scores, labels=labels)


def _check(manifest: Manifest, options: YoloxOptions, where: str) -> None:
    outputs = {spec.name: spec.shape for spec in manifest.outputs}
    if options.output not in outputs:
        raise ManifestError(f"{where}.output: expected one of {sorted(outputs)}")
    shape = manifest.inputs[0].shape
    if len(shape) != 4 or min(options.strides, default=0) < 1:
        raise ManifestError(f"{where}.strides: expected positive strides of an image input")
    cells = cells_of((shape[3], shape[2]), options.strides)
    expected = (1, cells, 5 + len(manifest.labels))
    if outputs[options.output] != expected:
        raise ManifestError(
            f"{where}: with {len(manifest.labels)} labels and strides {options.strides} output "
            f"'{options.output}' is {expected}, the graph has {outputs[options.output]}"
        )


SPEC = AdapterSpec(
    name="yolox",
    roles=("camera",),
    make_decoder=YoloxDecoder,
    describe=describe,
    recognise=recognise,
    spelling=coco_spelling,
)
