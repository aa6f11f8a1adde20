"""Decoder of bird's-eye centre-heatmap heads: peaks become boxes in the base frame.

The graph gives `heatmap` logits (1, K, H, W), rows along +x and columns along +y, and `boxes`
(1, 8 or 10, H, W): offset of the centre in the cell along x and y (cells, from the cell's
corner), z of the centre (m), log of length, width, height (log m), sine and cosine of the yaw
and, with ten channels, velocity x, y (m/s). The heads are those of CenterPoint
(Yin et al., 2021), the suppression is a simpler one: a box dies when its centre lies in the
footprint of a stronger one.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.native import library
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import UNKNOWN, DetectedObject
from edge_perception.fusion.motion import GroundGrid
from edge_perception.models.adapters import AdapterSpec, Decisions
from edge_perception.models.manifest import Manifest

_BOX_CHANNELS = (8, 10)
_MAX_LOG_SIZE = 4.0  # e^4 = 55 m, longer than any road user
# Rows and columns of a cell's neighbours in the order of the cells: four earlier, four later ones.
_NEIGHBOURS = np.array(
    [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
).T


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a logit becomes a score that is a frequency: sigmoid(logit / temperature + bias).

    Fitted on simulated frames that are neither trained on nor reported (Platt, 1999; Guo et al.,
    2017).
    """

    temperature: float = parameter(1.0, low=0.01, high=100.0)
    bias: float = parameter(0.0, low=-20.0, high=20.0)
    class_thresholds: Mapping[str, float] = field(default_factory=dict)  # scores, by class


@dataclass(frozen=True, kw_only=True)
class PresentModalities:
    """Context of a fusion model's outputs: what it was given, in the order of its inputs."""

    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """As in `subsets`: `camera+lidar`."""
        return "+".join(self.names)


@dataclass(frozen=True, kw_only=True)
class BevCenterOptions:
    """`postprocessing` of a manifest with this adapter."""

    heatmap: str = "heatmap"  # graph outputs
    boxes: str = "boxes"
    x_min_m: float = -25.6
    y_min_m: float = -25.6
    cell_m: float = parameter(0.8, unit="m", low=0.05, high=10.0)
    score_threshold: float = parameter(0.3, low=0.0, high=1.0)
    class_thresholds: Mapping[str, float] = field(default_factory=dict)  # instead, by class
    temperature: float = parameter(1.0, low=0.01, high=100.0)
    bias: float = parameter(0.0, low=-20.0, high=20.0)
    # Of a fusion model: instead of the three above where just these modalities are present. A
    # model that lost a sensor is less often right, and its scores must say so.
    subsets: Mapping[str, Calibration] = field(default_factory=dict)
    max_objects: int = parameter(128, low=1, high=10000)
    suppression_scale: float = parameter(1.0, low=0.0, high=10.0)
    # Objects this close to the base origin are the vehicle itself.
    ego_radius_m: float = parameter(0.0, unit="m", low=0.0, high=20.0)


class BevCenterDecoder:
    """Decodes one model's heads."""

    def __init__(self, options: BevCenterOptions, labels: tuple[str, ...]) -> None:
        self._options = options
        self._labels = labels
        general = Calibration(
            temperature=options.temperature,
            bias=options.bias,
            class_thresholds=options.class_thresholds,
        )
        self._calibrations = {
            key: (calibration, self._logit_thresholds(calibration))
            for key, calibration in {"": general, **options.subsets}.items()
        }

    @property
    def grid(self) -> GroundGrid:
        """Cells of the heads, and of the features they are made from."""
        options = self._options
        return GroundGrid(x_min_m=options.x_min_m, y_min_m=options.y_min_m, cell_m=options.cell_m)

    def _logit_thresholds(self, calibration: Calibration) -> NDArray[np.float32]:
        """Return the thresholds as logits, (K, 1, 1)."""
        default = self._options.score_threshold
        scores = [calibration.class_thresholds.get(name, default) for name in self._labels]
        clipped = np.clip(scores, 1e-6, 1 - 1e-6)
        logits = (np.log(clipped / (1 - clipped)) - calibration.bias) * calibration.temperature
        result: NDArray[np.float32] = logits.astype(np.float32)[:, None, None]
        return result

    def __call__(self, outputs: Mapping[str, NDArray], context: Any = None) -> Decisions:
        """Return the objects, strongest first.

        Args:
            outputs: heatmap and boxes.
            context: PresentModalities from a fusion model; anything else is of no use here.

        Raises:
            InvalidOutputError: an output is missing, or its shape does not fit the labels.
        """
        heatmap, boxes = self._checked(outputs)
        key = context.key if isinstance(context, PresentModalities) else ""
        calibration, thresholds = self._calibrations.get(key, self._calibrations[""])
        peaks = peaks_of(heatmap, thresholds)  # (3, N): class, row, column
        logits = heatmap[peaks[0], peaks[1], peaks[2]]
        order = np.argsort(-logits, kind="stable")[: self._options.max_objects]
        peaks, logits = peaks[:, order], logits[order]
        values = self._boxes(boxes, peaks)  # (N, 10): x y z l w h yaw vx vy, distance
        keep = np.flatnonzero(self._keep(values))
        scores = 1.0 / (1.0 + np.exp(-logits / calibration.temperature - calibration.bias))
        return Decisions(
            objects=tuple(
                map(
                    self._object,
                    peaks[0, keep].tolist(),
                    scores[keep].tolist(),
                    values[keep].tolist(),
                )
            )
        )

    def _checked(self, outputs: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
        options = self._options
        for name in (options.heatmap, options.boxes):
            if name not in outputs:
                raise InvalidOutputError(
                    f"bev_center: expected output '{name}', got {sorted(outputs)}"
                )
        heatmap, boxes = outputs[options.heatmap], outputs[options.boxes]
        if heatmap.ndim != 4 or heatmap.shape[:2] != (1, len(self._labels)):
            raise InvalidOutputError(
                f"bev_center: '{options.heatmap}' expects (1, {len(self._labels)}, H, W), "
                f"got {heatmap.shape}"
            )
        if boxes.shape[1] not in _BOX_CHANNELS or boxes.shape[2:] != heatmap.shape[2:]:
            raise InvalidOutputError(
                f"bev_center: '{options.boxes}' expects (1, 8 or 10, {heatmap.shape[2]}, "
                f"{heatmap.shape[3]}), got {boxes.shape}"
            )
        return heatmap[0], boxes[0]

    def _boxes(self, boxes: NDArray, peaks: NDArray[np.int64]) -> NDArray[np.float64]:
        options = self._options
        raw = boxes[:, peaks[1], peaks[2]].T.astype(np.float64)  # (N, 8 or 10)
        values = np.full((raw.shape[0], 10), UNKNOWN)
        values[:, 0] = options.x_min_m + (peaks[1] + raw[:, 0]) * options.cell_m
        values[:, 1] = options.y_min_m + (peaks[2] + raw[:, 1]) * options.cell_m
        values[:, 2] = raw[:, 2]
        values[:, 3:6] = np.exp(np.minimum(np.maximum(raw[:, 3:6], -_MAX_LOG_SIZE), _MAX_LOG_SIZE))
        values[:, 6] = np.arctan2(raw[:, 6], raw[:, 7])
        if raw.shape[1] == 10:
            values[:, 7:9] = raw[:, 8:10]
        values[:, 9] = np.hypot(values[:, 0], values[:, 1])
        return values

    def _keep(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Greedy suppression, strongest first."""
        delta = values[:, None, :2] - values[None, :, :2]  # (j, i): centre j seen from box i
        cos, sin = np.cos(values[:, 6]), np.sin(values[:, 6])
        along = np.abs(delta[..., 0] * cos + delta[..., 1] * sin)
        across = np.abs(delta[..., 1] * cos - delta[..., 0] * sin)
        half = values[:, 3:5] * (0.5 * self._options.suppression_scale)
        inside = (along < half[:, 0]) & (across < half[:, 1])
        keep = values[:, 9] >= self._options.ego_radius_m
        for i in np.flatnonzero(inside.sum(axis=0) > 1):  # more than its own centre
            if keep[i]:
                keep[i + 1 :] &= ~inside[i + 1 :, i]
        return keep

    def _object(self, label: int, score: float, value: list[float]) -> DetectedObject:
        velocity = (value[7], value[8], UNKNOWN if math.isnan(value[7]) else 0.0)
        return DetectedObject(
            class_name=self._labels[label],
            score=score,
            center_m=(value[0], value[1], value[2]),
            size_m=(value[3], value[4], value[5]),
            yaw_rad=value[6],
            velocity_mps=velocity,
        )


def peaks_of(heatmap: NDArray, thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the cells above the threshold that no neighbour of their class exceeds.

    Of equal neighbours the later cell wins, so that a plateau gives one peak.

    Args:
        heatmap: (K, H, W).
        thresholds: (K, 1, 1).

    Returns:
        (3, N): class, row, column, in the order of the cells.
    """
    compiled = library()
    if compiled is None or heatmap.dtype != np.float32 or not heatmap.flags.c_contiguous:
        return peaks_numpy(heatmap, thresholds)
    classes, rows, columns = heatmap.shape
    found = np.empty((classes * -(-rows // 2) * -(-columns // 2), 3), np.int64)
    count = compiled.held.ep_peaks(
        ctypes.c_void_p(heatmap.ctypes.data),
        *map(ctypes.c_int64, heatmap.shape),
        ctypes.c_void_p(thresholds.ctypes.data),
        ctypes.c_void_p(found.ctypes.data),
    )
    return found[:count].T


def peaks_numpy(heatmap: NDArray, thresholds: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the same, by NumPy alone."""
    above = np.unravel_index(np.flatnonzero(heatmap > thresholds), heatmap.shape)
    found = np.stack(above)
    kind, row, column = (index[:, None] for index in above)
    values = heatmap[kind, row, column]  # (N, 1)
    row, column = row + _NEIGHBOURS[0], column + _NEIGHBOURS[1]  # (N, 8)
    rows, columns = heatmap.shape[1:]
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    near = heatmap[kind, np.where(inside, row, 0), np.where(inside, column, 0)]
    near[~inside] = -np.inf
    earlier, later = near[:, :4], near[:, 4:]
    return found[:, (values >= earlier).all(axis=1) & (values > later).all(axis=1)]


def make_decoder(manifest: Manifest) -> BevCenterDecoder:
    """Make the decoder of a manifest.

    Raises:
        ManifestError: the postprocessing does not fit, or there are no labels.
    """
    where = f"{manifest.name}: manifest.postprocessing"
    options = decode(BevCenterOptions, manifest.postprocessing, where, error=ManifestError)
    if not manifest.labels:
        raise ManifestError(f"{manifest.name}: manifest.labels: expected class names, got none")
    named = {"class_thresholds": options.class_thresholds}
    for key, calibration in options.subsets.items():
        named[f"subsets.{key}.class_thresholds"] = calibration.class_thresholds
    for part, thresholds in named.items():
        for name in thresholds:
            if name not in manifest.labels:
                raise ManifestError(
                    f"{where}.{part}.{name}: expected one of {', '.join(manifest.labels)}"
                )
    _check_subsets(manifest, options, where)
    return BevCenterDecoder(options, manifest.labels)


def _check_subsets(manifest: Manifest, options: BevCenterOptions, where: str) -> None:
    """A key that no presence mask can give would never be used."""
    order = [spec.modality for spec in manifest.inputs if spec.modality not in ("", "presence")]
    known = {
        "+".join(subset)
        for count in range(1, len(order) + 1)
        for subset in itertools.combinations(order, count)
    }
    for key in options.subsets:
        if key not in known:
            raise ManifestError(
                f"{where}.subsets: expected {', '.join(sorted(known)) or 'none'}, got '{key}'"
            )


SPEC = AdapterSpec(
    name="bev_center", roles=("camera", "lidar", "fusion"), make_decoder=make_decoder
)
