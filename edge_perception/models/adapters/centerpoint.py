"""CenterPoint on pillars (Yin et al., 2021) as Autoware, mmdetection3d and OpenPCDet export it.

The heads are outputs of their own, rows along +y and columns along +x: `heatmap` logits
(1, classes, H, W), offset of the centre in its cell, height of the centre (m), log sizes, sine and
cosine of the yaw, velocity. Conventions differ:

- `autoware` (mmdetection3d before 1.0): sizes are width, length, height; rotation sine, cosine,
  clockwise from -y, so yaw = -r - pi / 2; with `has_variance` every head but the heatmap has its
  variances behind its values, which are not read;
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

_CHANNELS = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}  # of one head


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
    # How many labels each head of several has, in their order; their channels follow one another
    # in every output. Empty: one head has all.
    tasks: tuple[int, ...] = ()
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
        self._tasks = options.tasks or (len(manifest.labels),)
        if sum(self._tasks) != len(manifest.labels) or min(self._tasks) < 1:
            raise ManifestError(
                f"{where}.tasks: expected numbers of labels that make {len(manifest.labels)}, "
                f"got {options.tasks}"
            )
        heads = len(self._tasks)
        wanted = {options.heatmap: len(manifest.labels)}
        wanted |= {getattr(options, name): count * heads for name, count in _CHANNELS.items()}
        wanted.pop("", None)  # no velocity
        self._shapes = {name: (1, channels, *grid) for name, channels in wanted.items()}
        for name, shape in self._shapes.items():
            got = declared(manifest, name, where)
            spread = heads == 1 and name != options.heatmap
            if spread and got == (1, 2 * shape[1], *grid):
                self._shapes[name] = got  # Autoware's with has_variance: variances come behind
            elif got != shape:
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
        outs = {n: output_of("centerpoint", outputs, n, s)[0] for n, s in self._shapes.items()}
        first, found = 0, []
        for task, count in enumerate(self._tasks):
            heads = {
                name: outs[given][task * channels : (task + 1) * channels]
                for name, channels in _CHANNELS.items()
                if (given := getattr(options, name))
            }
            heatmap = outs[options.heatmap][first : first + count]
            found.append(self._boxes(heatmap, heads, first))
            first += count
        labels, scores, values = (np.concatenate(part) for part in zip(*found, strict=True))
        return decisions(options, self._labels, labels, scores, values, context)

    def _boxes(
        self, heatmap: NDArray, heads: Mapping[str, NDArray], first: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return labels, scores and boxes of one head, whose first label is `first`."""
        options = self._options
        labels = heatmap.argmax(axis=0) + first
        best = sigmoid(heatmap.max(axis=0))
        norm = np.hypot(*heads["rot"])
        row, column = np.nonzero((best >= self._least[labels]) & (norm >= self._yaw_norms[labels]))
        at = {name: head[:, row, column].astype(np.float64) for name, head in heads.items()}
        values = np.full((len(row), 9), UNKNOWN)
        values[:, 0] = options.corner_m[0] + (column + at["reg"][0]) * options.cell_m[0]
        values[:, 1] = options.corner_m[1] + (row + at["reg"][1]) * options.cell_m[1]
        values[:, 2] = at["height"][0]
        sizes = np.exp(np.clip(at["dim"], -MAX_LOG_SIZE, MAX_LOG_SIZE))
        one, other = at["rot"]
        if options.convention == "autoware":
            sizes = sizes[[1, 0, 2]]
            values[:, 6] = -np.arctan2(one, other) - np.pi / 2
        elif options.convention == "mmdet3d":
            values[:, 6] = np.arctan2(one, other)
        else:
            values[:, 6] = np.arctan2(other, one)
        values[:, 3:6] = sizes.T
        if options.vel:
            values[:, 7:9] = at["vel"].T
        return labels[row, column].astype(np.int64), best[row, column], values


SPEC = AdapterSpec(
    name="centerpoint",
    roles=("lidar",),
    make_decoder=CenterPointDecoder,
    recognise=recognise,
    spelling=str.lower,
)
