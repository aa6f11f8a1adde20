"""CenterPoint on pillars (Yin et al., 2021) as Autoware, mmdetection3d and OpenPCDet export it.

The heads are outputs of their own, rows along +y and columns along +x: `heatmap` logits
(1, classes, H, W), offset of the centre in its cell, height of the centre (m), log sizes, sine and
cosine of the yaw, velocity. Conventions differ:

- `autoware` (mmdetection3d before 1.0): sizes are width, length, height; rotation sine, cosine,
  clockwise from -y, so yaw = -r - pi / 2;
- `mmdet3d` (1.0 and later): length, width, height; sine, cosine; yaw = r;
- `openpcdet`: length, width, height; cosine, sine; yaw = r.
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
from edge_perception.models.adapters._centerpoint_graph import CONVENTIONS, recognise
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class CenterPointOptions(Box3dOptions):
    """`postprocessing` of a manifest with this adapter."""

    heatmap: str = "heatmap"  # graph outputs
    reg: str = "reg"
    height: str = "height"
    dim: str = "dim"
    rot: str = "rot"
    vel: str = "vel"  # empty: none
    corner_m: tuple[float, float]  # x and y of the grid's first corner, model frame
    cell_m: tuple[float, float]  # of the heads
    convention: str = parameter("autoware", choices=CONVENTIONS)
    # Length of (sine, cosine) below which a box of that label is none; empty: 0.
    yaw_norms: tuple[float, ...] = ()


class CenterPointDecoder:
    """Decodes one model's heads."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        options = decode(CenterPointOptions, manifest.postprocessing, where, error=ManifestError)
        self._options, self._labels = options, manifest.labels
        self._least = thresholds(options, manifest.labels, where)
        if options.yaw_norms and len(options.yaw_norms) != len(manifest.labels):
            raise ManifestError(f"{where}.yaw_norms: expected one for each label")
        self._yaw_norms = np.asarray(options.yaw_norms or np.zeros(len(manifest.labels)))
        grid = declared(manifest, options.heatmap, f"{where}.heatmap")[-2:]
        wanted = {
            options.heatmap: len(manifest.labels), options.reg: 2, options.height: 1,
            options.dim: 3, options.rot: 2, **({options.vel: 2} if options.vel else {}),
        }  # fmt: skip
        self._shapes = {name: (1, channels, *grid) for name, channels in wanted.items()}
        for name, shape in self._shapes.items():
            got = declared(manifest, name, where)
            if got != shape:
                raise ManifestError(f"{where}: output '{name}' expects {shape}, got {got}")

    def __call__(self, outputs: Mapping[str, NDArray], context: Any = None) -> Decisions:
        """Return the objects, strongest first.

        Args:
            outputs: of the graph.
            context: origin of the model's frame in the base frame, m.

        Raises:
            InvalidOutputError: an output is missing, has another shape or gives no boxes.
        """
        options = self._options
        heads = {n: output_of("centerpoint", outputs, n, s)[0] for n, s in self._shapes.items()}
        heatmap = heads[options.heatmap]
        labels = heatmap.argmax(axis=0)
        best = sigmoid(heatmap.max(axis=0))
        norm = np.hypot(*heads[options.rot])
        row, column = np.nonzero((best >= self._least[labels]) & (norm >= self._yaw_norms[labels]))
        at = {name: head[:, row, column].astype(np.float64) for name, head in heads.items()}
        values = np.full((len(row), 9), UNKNOWN)
        values[:, 0] = options.corner_m[0] + (column + at[options.reg][0]) * options.cell_m[0]
        values[:, 1] = options.corner_m[1] + (row + at[options.reg][1]) * options.cell_m[1]
        values[:, 2] = at[options.height][0]
        sizes = np.exp(np.clip(at[options.dim], -MAX_LOG_SIZE, MAX_LOG_SIZE))
        first, second = at[options.rot]
        if options.convention == "autoware":
            sizes = sizes[[1, 0, 2]]
            values[:, 6] = -np.arctan2(first, second) - np.pi / 2
        elif options.convention == "mmdet3d":
            values[:, 6] = np.arctan2(first, second)
        else:
            values[:, 6] = np.arctan2(second, first)
        values[:, 3:6] = sizes.T
        if options.vel:
            values[:, 7:9] = at[options.vel].T
        found = labels[row, column].astype(np.int64)
        return decisions(options, self._labels, found, best[row, column], values, context)


SPEC = AdapterSpec(
    name="centerpoint",
    roles=("lidar",),
    make_decoder=CenterPointDecoder,
    recognise=recognise,
    spelling=str.lower,
)
