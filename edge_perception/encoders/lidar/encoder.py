"""The LiDAR encoder: sweep to bird's-eye features, 3-D boxes and obstacle points."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import ManifestError
from edge_perception.core.native import library
from edge_perception.core.schema import decode
from edge_perception.core.scratch import Scratch
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.checked_model import CheckedModel
from edge_perception.encoders.device_input import DeviceInput
from edge_perception.encoders.lidar.conversion import cloud_from_msg
from edge_perception.encoders.lidar.coverage import SEEN, seen_cells
from edge_perception.encoders.lidar.intensity import model_intensity
from edge_perception.encoders.lidar.native import MAX_SLICES, native
from edge_perception.encoders.lidar.obstacles import OBSTACLE_POINTS, to_base, to_base_matrix
from edge_perception.encoders.lidar.pillar_encoder import PillarEncoder, takes_pillars
from edge_perception.encoders.lidar.preprocess import (
    LidarPreprocessing,
    bin_points,
    obstacle_points,
    raised_points,
    rasterize,
    returns_of,
    sweep_plan,
    thinned,
)
from edge_perception.encoders.lidar.sweep_program import (
    DENSITY,
    RESULTS,
    points_of,
    raised_of,
    sweep_program,
)
from edge_perception.models.manifest import Manifest

_LEAST_ROOM = 65536  # points; more than most sensors have in a sweep


class LidarIntake:
    """Latest sweep only: the callback keeps the message, the worker converts it."""

    def __init__(self) -> None:
        self._scratch = Scratch()

    def accept(self, message: Any) -> Any:
        """Return the message as it is."""
        return message

    def frame(self, item: Any) -> PointCloud:
        """Convert a sensor_msgs/PointCloud2; the next call overwrites it.

        Raises:
            InvalidFrameError: the message cannot be used.
        """
        return cloud_from_msg(item, with_ring_and_time=False, scratch=self._scratch)


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What preprocessing found, kept for the postprocessing of the same frame."""

    frame: PointCloud
    geometry: Geometry
    # Points above the ground, in the order of the raster's cells; None: the device still has them.
    raised: NDArray[np.integer] | None = None
    density: NDArray[np.float32] | None = None  # channel of the raster, until the next sweep
    notes: tuple[str, ...]


class LidarEncoder(CheckedModel):
    """One LiDAR model. Not thread-safe.

    Beside the features of the manifest it gives `obstacle_points`, float32 (K, 3), m, base frame:
    a thinned set of returns above the ground, which places camera boxes in space. A model with
    features on a grid also gives `seen`, float32 (1, 1, H, W): how densely each place was measured.
    """

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(manifest, backend)
        self._config = lidar_preprocessing(manifest)
        compiled = native()
        self._sweeper = None if compiled is None else compiled.sweeper(sweep_plan(self._config))
        self._scratch = Scratch()
        self._sweep: _Sweep | None = None
        self._device: DeviceInput | None = None
        self._most = _LEAST_ROOM  # points of a sweep that the device has memory for

    def use_device(self, device: DeviceInput) -> None:
        """Make the raster by kernels, which are compiled now."""
        self._device = device
        self._on_device(0)

    def _on_device(self, points: int) -> bool:
        if self._device is None:
            return False
        if points > self._most:
            self._most = int(points * 1.25)
        return self._device.ready(self._most, lambda: sweep_program(self._config, self._most))

    def preprocess(self, frame: PointCloud, geometry: Geometry) -> dict[str, NDArray]:
        """Return the graph inputs; the next call overwrites them.

        On a device the points are in the place of the raster.
        """
        intensity, note = model_intensity(
            frame.intensity,
            geometry.intensity_factor,
            self._config.intensity_median,
            self._scratch,
            limit=self._config.intensity_limit,
        )
        notes = (note,) if note else ()
        if self._on_device(len(frame.xyz_m)):
            self._sweep = _Sweep(frame=frame, geometry=geometry, notes=notes)
            return points_of(frame.xyz_m, intensity, to_base_matrix(geometry))
        raised: NDArray[np.integer]
        if self._sweeper is None:
            xyz_base = to_base(frame.xyz_m, geometry)
            binned = bin_points(xyz_base, self._config)
            raised = raised_points(binned, self._config)
            raster = rasterize(xyz_base, intensity, self._config, binned=binned)
        else:
            raised = self._sweeper(
                np.ascontiguousarray(frame.xyz_m),
                to_base_matrix(geometry),
                None if intensity is None else np.ascontiguousarray(intensity),
            )
            raster = self._sweeper.raster
        density = raster[self._config.channels.index("density")]
        self._sweep = _Sweep(
            frame=frame, geometry=geometry, raised=raised, density=density, notes=notes
        )
        return {self._config.input: raster[None]}

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model; what the kernels found of the sweep is kept for `postprocess`."""
        outputs = super().infer(inputs)
        if DENSITY not in outputs or self._sweep is None:
            return outputs
        self._sweep = replace(self._sweep, raised=raised_of(outputs), density=outputs[DENSITY])
        return {name: array for name, array in outputs.items() if name not in RESULTS}

    def in_range(self, xyz_m: NDArray[np.float32], geometry: Geometry) -> NDArray[np.bool_]:
        """Return which points, (N, 3), sensor frame, the model can use: those in its raster."""
        return in_raster(xyz_m, geometry, self._config)

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: PointCloud, geometry: Geometry
    ) -> EncoderOutput:
        """Return feature tensors with the obstacle points, and objects in the base frame."""
        decisions = self.decide(outputs)
        last = self._sweep
        notes: tuple[str, ...] = ()
        tensors = self.features(outputs)
        known = last is not None and last.frame is frame and last.geometry is geometry
        if last is not None and known and last.raised is not None and last.density is not None:
            obstacles = to_base(frame.xyz_m[thinned(last.raised)], geometry)
            notes = last.notes
            tensors |= _seen(last.density, tensors)
        else:
            obstacles = obstacle_points(to_base(frame.xyz_m, geometry), self._config)
        return EncoderOutput(
            tensors={**tensors, OBSTACLE_POINTS: obstacles},
            objects=decisions.objects,
            notes=notes,
        )


def _seen(density: NDArray[np.float32], tensors: Mapping[str, NDArray]) -> dict[str, NDArray]:
    returns = returns_of(density)
    grids = (seen_cells(returns, tensor.shape) for tensor in tensors.values())
    found = next((grid for grid in grids if grid is not None), None)
    return {} if found is None else {SEEN: found}


def lidar_preprocessing(manifest: Manifest) -> LidarPreprocessing:
    """Read and check `preprocessing` of a LiDAR manifest.

    Raises:
        ManifestError: a field is wrong, or does not fit the input of the graph.
    """
    where = f"{manifest.name}: manifest.preprocessing"
    config = decode(LidarPreprocessing, manifest.preprocessing, where, error=ManifestError)
    expected = {config.input: ((1, len(config.channels), *config.shape), "float32")}
    declared = {spec.name: (spec.shape, spec.dtype) for spec in manifest.inputs}
    if declared != expected:
        raise ManifestError(f"{where}: expects inputs {expected}, manifest.inputs has {declared}")
    if len(config.height_edges_m) > MAX_SLICES + 1:
        raise ManifestError(
            f"{where}.height_edges_m: expected at most {MAX_SLICES + 1}, "
            f"got {len(config.height_edges_m)}"
        )
    return config


def make_intake(manifest: Manifest) -> LidarIntake:  # noqa: ARG001
    """Return the intake; sweeps need nothing of the manifest."""
    return LidarIntake()


def in_raster(
    xyz_m: NDArray[np.float32], geometry: Geometry, config: LidarPreprocessing
) -> NDArray[np.bool_]:
    """Return which points, (N, 3), sensor frame, lie inside a model's raster."""
    compiled = library()
    if compiled is None or xyz_m.dtype != np.float32:
        return in_raster_numpy(xyz_m, geometry, config)
    points = np.ascontiguousarray(xyz_m)
    low, high = _limits(config.x_range_m, config.y_range_m, config.z_range_m)
    inside = np.empty(len(points), np.bool_)
    compiled.held.ep_in_box(
        points.ctypes, ctypes.c_int64(len(points)), to_base_matrix(geometry).ctypes,
        low.ctypes, high.ctypes, inside.ctypes,
    )  # fmt: skip
    return inside


@lru_cache(maxsize=8)
def _limits(*ranges_m: tuple[float, float]) -> NDArray[np.float32]:
    """Return the lower ends of ranges, then the upper ones, contiguous."""
    return np.ascontiguousarray(np.array(ranges_m, np.float32).T)


def in_raster_numpy(
    xyz_m: NDArray[np.float32], geometry: Geometry, config: LidarPreprocessing
) -> NDArray[np.bool_]:
    """Return the same, by NumPy alone."""
    base = to_base(xyz_m, geometry)
    low, high = _limits(config.x_range_m, config.y_range_m, config.z_range_m)
    return np.asarray(((base > low) & (base < high)).all(axis=1))


def make_encoder(manifest: Manifest, backend: Backend) -> LidarEncoder | PillarEncoder:
    """Return the encoder of a manifest.

    Raises:
        ManifestError: preprocessing or postprocessing do not fit the model.
    """
    if takes_pillars(manifest):
        return PillarEncoder(manifest, backend)
    return LidarEncoder(manifest, backend)
