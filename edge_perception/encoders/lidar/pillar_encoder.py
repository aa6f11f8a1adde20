"""The encoder of LiDAR models that take pillars: PointPillars and CenterPoint of others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import ManifestError
from edge_perception.core.schema import decode
from edge_perception.core.scratch import Scratch
from edge_perception.core.types import Geometry, PointCloud
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.checked_model import CheckedModel
from edge_perception.encoders.lidar.intensity import model_intensity
from edge_perception.encoders.lidar.obstacles import OBSTACLE_POINTS, to_base
from edge_perception.encoders.lidar.pillars import Pillarizer, PillarPreprocessing, cells_input
from edge_perception.encoders.lidar.preprocess import LidarPreprocessing, obstacle_points
from edge_perception.models.golden import generated_inputs
from edge_perception.models.manifest import Manifest

_GOLDEN_POINTS = 5000
_GROUND = LidarPreprocessing()  # grid by which the ground under obstacle points is found


def takes_pillars(manifest: Manifest) -> bool:
    """Whether a LiDAR manifest is of a model on pillars."""
    return "voxel_m" in manifest.preprocessing


def pillar_preprocessing(manifest: Manifest) -> PillarPreprocessing:
    """Read and check `preprocessing` of a model on pillars.

    Raises:
        ManifestError: a field is wrong, or does not fit the inputs of the graph.
    """
    where = f"{manifest.name}: manifest.preprocessing"
    config = decode(PillarPreprocessing, manifest.preprocessing, where, error=ManifestError)
    pillars = config.max_pillars
    expected = {
        config.voxels: (pillars, config.max_points, config.features),
        config.cells: (pillars, 1 if config.cells_as == "flat" else 4),
    }
    if config.num_points:
        expected[config.num_points] = (pillars,)
    got = {spec.name: spec.shape for spec in manifest.inputs}
    if got != expected:
        raise ManifestError(f"{where}: expects inputs {expected}, manifest.inputs has {got}")
    return config


class PillarEncoder(CheckedModel):
    """One model on pillars. Not thread-safe. Gives `obstacle_points` as every LiDAR encoder."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(manifest, backend)
        self._config = pillar_preprocessing(manifest)
        self._pillarizer = Pillarizer(self._config)
        self._scratch = Scratch()
        self._note = ""

    def preprocess(self, frame: PointCloud, geometry: Geometry) -> dict[str, NDArray]:
        """Return the graph inputs; the next call overwrites them."""
        xyz_m = to_base(frame.xyz_m, geometry)
        intensity, self._note = model_intensity(
            frame.intensity, geometry.intensity_factor, 0.0, self._scratch
        )
        return pillar_inputs(xyz_m, intensity, self._config, self._manifest, self._pillarizer)

    def in_range(self, xyz_m: NDArray[np.float32], geometry: Geometry) -> NDArray[np.bool_]:
        """Return which points, (N, 3), sensor frame, the model can use."""
        own = to_base(xyz_m, geometry) - np.asarray(self._config.origin_m, np.float32)
        low, high = self._config.range_m[:3], self._config.range_m[3:]
        return np.asarray(((own >= low) & (own < high)).all(axis=1))

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: PointCloud, geometry: Geometry
    ) -> EncoderOutput:
        """Return feature tensors with the obstacle points, and objects in the base frame."""
        decisions = self.decide(outputs, self._config.origin_m)
        obstacles = obstacle_points(to_base(frame.xyz_m, geometry), _GROUND)
        return EncoderOutput(
            tensors={**self.features(outputs), OBSTACLE_POINTS: obstacles},
            objects=decisions.objects,
            notes=(self._note,) if self._note else (),
        )


def golden_inputs(manifest: Manifest) -> Mapping[str, NDArray]:
    """Return pillars of a made-up sweep; of other models smooth noise.

    Noise as the places of pillars would put several into one cell, and which one wins is not said.
    """
    if not takes_pillars(manifest):
        return generated_inputs(manifest.inputs)
    config = pillar_preprocessing(manifest)
    rng = np.random.default_rng(0)
    low, high = (np.asarray(config.range_m[k : k + 3]) for k in (0, 3))
    points = rng.uniform(low, high, (_GOLDEN_POINTS, 3)).astype(np.float32)
    return pillar_inputs(points + np.asarray(config.origin_m, np.float32), None, config, manifest)


def pillar_inputs(
    xyz_m: NDArray[np.float32],
    intensity: NDArray[np.float32] | None,
    config: PillarPreprocessing,
    manifest: Manifest,
    pillarizer: Pillarizer | None = None,
) -> dict[str, NDArray]:
    """Return the graph inputs of a sweep in the base frame."""
    make = pillarizer or Pillarizer(config)
    dtypes = {spec.name: np.dtype(spec.dtype) for spec in manifest.inputs}
    pillars = make(make.points(xyz_m, intensity))
    if config.cells_as != "flat":
        make.repeat_first()
    inputs = {
        config.voxels: pillars.features,
        config.cells: cells_input(config, pillars, dtypes[config.cells]),
    }
    if config.num_points:
        inputs[config.num_points] = pillars.held.astype(dtypes[config.num_points])
    return inputs
