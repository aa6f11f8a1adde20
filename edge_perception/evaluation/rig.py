"""The runtime's encoders, fusion and decoders without ROS: features in, fused views out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ModelError
from edge_perception.core.schema import decode
from edge_perception.core.types import Feature, FusedView, Geometry, Mode
from edge_perception.encoders import EncoderOutput, encoders, source_defaults
from edge_perception.evaluation.frames import SampleFrame
from edge_perception.fusion.config import DecisionConfig, FusionConfig, SourceConfig
from edge_perception.fusion.cycle import cycle_of
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.models.adapters.bev_center import BevCenterOptions, Calibration
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import Bundle, Manifest, load_bundle

MODALITIES = ("camera", "lidar", "audio")
SUBSETS = (
    "camera+lidar+audio",
    "camera+lidar",
    "lidar+audio",
    "lidar",
    "camera+audio",
    "camera",
    "audio",
)
FLOOR = 0.02  # weaker detections are not looked at
_BASE_FRAME = "base_link"


@dataclass(frozen=True, kw_only=True)
class ModelSet:
    """The four bundles of a set."""

    camera: Bundle
    lidar: Bundle
    audio: Bundle
    fusion: Bundle

    def bundle(self, role: str) -> Bundle:
        """Return a bundle by its role."""
        found: Bundle = getattr(self, role)
        return found


def load_set(folder: Path) -> ModelSet:
    """Read the four bundles of a folder, files verified.

    Raises:
        ModelError: one is missing, damaged or of another role.
    """
    bundles = {role: load_bundle(folder / role) for role in (*MODALITIES, "fusion")}
    for role, bundle in bundles.items():
        if bundle.manifest.role != role:
            raise ModelError(f"{folder / role}: expected role {role}, got {bundle.manifest.role}")
    return ModelSet(**bundles)


def shipped_thresholds(bundle: Bundle, subset: str) -> dict[str, float]:
    """Return the score that each class needs to be published.

    That of the manifest for the subset, or fusion's own least score where that is higher.
    """
    manifest = bundle.manifest
    options = decode(BevCenterOptions, manifest.postprocessing, manifest.name)
    general = Calibration(class_thresholds=options.class_thresholds)
    own = options.subsets.get(subset, general).class_thresholds
    least = DecisionConfig().min_score
    return {name: max(least, own.get(name, options.score_threshold)) for name in manifest.labels}


class Rig:
    """Runs frames through a set with all detections down to a low score. One thread uses it."""

    def __init__(
        self, models: ModelSet, *, options: Mapping[str, ModelOptions] | None = None
    ) -> None:
        """Load a set.

        Args:
            models: the four bundles.
            options: how the model of a role runs; left out: as a node does by default.
        """
        chosen = options or {}
        self._loaded = {
            role: open_bundle(
                _all_scores(models.bundle(role)), chosen.get(role, ModelOptions(model=role))
            )
            for role in (*MODALITIES, "fusion")
        }
        self._encoders = {
            role: encoders()[role].make_encoder(self._manifest(role), self._loaded[role].backend)
            for role in ("camera", "lidar")
        }
        self._fusion = BundleFusionModel(self._loaded["fusion"])

    def features(
        self, frame: SampleFrame, *, image_delay_ms: int = 0, camera: Geometry | None = None
    ) -> dict[str, Feature]:
        """Return the features of the three sensors by source.

        Args:
            frame: what the sensors deliver.
            image_delay_ms: which of its images to use.
            camera: calibration to believe instead of the true one.
        """
        geometry = frame.camera if camera is None else camera
        return {
            "camera": self.feature("camera", frame.images[image_delay_ms], geometry),
            "lidar": self.feature("lidar", frame.cloud, frame.lidar),
            "audio": self._listen(frame),
        }

    def camera_feature(self, frame: SampleFrame, geometry: Geometry) -> Feature:
        """Return the camera's feature alone, with another calibration."""
        return self.feature("camera", frame.images[0], geometry)

    def delayed_feature(self, frame: SampleFrame, delay_ms: int) -> Feature:
        """Return the camera's feature of an older image."""
        return self.feature("camera", frame.images[delay_ms], frame.camera)

    def fuse(self, features: Mapping[str, Feature], *, with_model: bool = True) -> FusedView:
        """Return what fusion makes of features; without the model: of the encoders' decisions."""
        cycle = cycle_of(
            _config_of(tuple(features)),
            features,
            models=(self._fusion,) if with_model else (),
            mode=Mode.FULL if len(features) >= len(MODALITIES) else Mode.DEGRADED,
        )
        return fuse_cycle(cycle)

    def close(self) -> None:
        """Give the sessions back."""
        for loaded in self._loaded.values():
            loaded.backend.close()

    def _manifest(self, role: str) -> Manifest:
        return self._loaded[role].bundle.manifest

    def feature(self, role: str, data: object, geometry: Geometry, source: str = "") -> Feature:
        """Return what the encoder of a role makes of a frame of a source, by default the role's."""
        encoder = self._encoders[role]
        outputs = encoder.infer(encoder.preprocess(data, geometry))
        return replace(self.feature_of(role, outputs, data, geometry), source=source or role)

    def prepared(self, role: str, data: object, geometry: Geometry) -> dict[str, NDArray]:
        """Return the graph inputs of the encoder of a role, copies."""
        inputs = self._encoders[role].preprocess(data, geometry)
        return {name: np.array(array) for name, array in inputs.items()}

    def feature_of(
        self, role: str, outputs: Mapping[str, NDArray], data: object, geometry: Geometry
    ) -> Feature:
        """Return what a role makes of outputs, also those of another model of its space."""
        result = self._encoders[role].postprocess(outputs, data, geometry)
        # Backends may hand out the same buffers again.
        tensors = {name: np.array(tensor) for name, tensor in result.tensors.items()}
        return self._made(role, data.stamp_ns, replace(result, tensors=tensors), geometry)  # type: ignore[attr-defined]

    def _listen(self, frame: SampleFrame) -> Feature:
        """Run the sound before the frame through a fresh stream; the last window counts."""
        spec, loaded = encoders()["audio"], self._loaded["audio"]
        intake = spec.make_intake(loaded.bundle.manifest)
        encoder = spec.make_encoder(loaded.bundle.manifest, loaded.backend)
        output, stamp_ns = EncoderOutput(), frame.cloud.stamp_ns
        for block in frame.blocks:
            item = intake.accept(block)
            if item is None:
                continue
            window = intake.frame(item)
            outputs = encoder.infer(encoder.preprocess(window, frame.microphones))
            output = encoder.postprocess(outputs, window, frame.microphones)
        tensors = {name: np.array(tensor) for name, tensor in output.tensors.items()}
        return self._made("audio", stamp_ns, replace(output, tensors=tensors), frame.microphones)

    def _made(self, role: str, stamp_ns: int, output: EncoderOutput, geometry: Geometry) -> Feature:
        return Feature(
            stamp_ns=stamp_ns,
            frame_id=_BASE_FRAME,
            source=role,
            modality=role,
            model=self._loaded[role].bundle.version_for(role),
            sequence=0,
            geometry=geometry,
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
        )


@cache
def _config_of(sources: tuple[str, ...]) -> FusionConfig:
    configs = tuple(SourceConfig(**source_defaults(name)) for name in sources)
    return FusionConfig(sources=configs, decision=DecisionConfig(min_score=FLOOR))


def subset_of(features: Mapping[str, Feature], subset: str) -> dict[str, Feature]:
    """Return the features of a subset such as `camera+lidar`."""
    return {name: features[name] for name in subset.split("+")}


def miscalibrated(geometry: Geometry, degrees: float, axis: Sequence[float]) -> Geometry:
    """Turn a camera about an axis of the base frame."""
    T = geometry.T_base_sensor.copy()
    T[:3, :3] = rotation(degrees, axis) @ T[:3, :3]
    return replace(geometry, T_base_sensor=T)


def rotation(degrees: float, axis: Sequence[float]) -> NDArray[np.float64]:
    """Return the rotation about an axis, (3, 3) (Rodrigues)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    matrix: NDArray[np.float64] = np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
    return matrix


def _all_scores(bundle: Bundle) -> Bundle:
    """Return the bundle with thresholds that let everything above FLOOR through."""
    manifest = bundle.manifest
    if manifest.adapter != "bev_center":
        return bundle
    post = {**manifest.postprocessing, "score_threshold": FLOOR, "class_thresholds": {}}
    post["subsets"] = {
        name: {**entry, "class_thresholds": {}}
        for name, entry in manifest.postprocessing.get("subsets", {}).items()
    }
    return replace(bundle, manifest=replace(manifest, postprocessing=post))
