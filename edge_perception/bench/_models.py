"""The bundled models with their pre- and postprocessing, one after another, without nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception import msg
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import DetectedObject, Feature, Geometry
from edge_perception.encoders import EncoderOutput, encoders
from edge_perception.encoders.serving import ServedModel
from edge_perception.fusion.options import DEFAULT_FUSION_MODEL
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import LoadedModel, ModelOptions
from edge_perception.nodes.conversion import object_msg
from edge_perception.releases.loading import load_model


class Models:
    """Encoders and fusion model, called by one thread."""

    def __init__(self, poses: Mapping[str, NDArray[np.float64]], *, threads: int) -> None:
        self._served: dict[str, ServedModel] = {}
        for modality in ("camera", "lidar", "audio"):
            spec = encoders()[modality]
            options = ModelOptions(model=spec.default_model, threads=threads)
            self._served[modality] = ServedModel.build(spec, load_model(options, role=modality))
        self._fusion_loaded = load_model(
            ModelOptions(model=DEFAULT_FUSION_MODEL, threads=threads), role="fusion"
        )
        self._fusion = BundleFusionModel(self._fusion_loaded)
        self._geometry = {name: Geometry(T_base_sensor=T) for name, T in poses.items()}
        self._geometry["audio"] = Geometry()
        self._sound: EncoderOutput | None = None
        self.calibrated = False

    def calibrate(self, message: Any) -> None:
        """Take a CameraInfo."""
        read = encoders()["camera"].read_calibration
        assert read is not None
        pose = self._geometry["camera"].T_base_sensor
        self._geometry["camera"] = replace(read(message), T_base_sensor=pose)
        self.calibrated = True

    def hear(self, chunk: Any) -> None:
        """Take an AudioChunk; the newest window's embedding is fused."""
        try:
            item = self._served["audio"].intake.accept(chunk)
        except InvalidFrameError:  # a chunk was lost: the window starts anew
            return
        if item is not None:
            self._sound = self.encode("audio", item)

    def fuse(self, image: Any, cloud: Any) -> list[msg.DetectedObject]:
        """Return the objects of an Image and a PointCloud2."""
        outputs = {"camera": self.encode("camera", image), "lidar": self.encode("lidar", cloud)}
        return [object_msg(item) for item in self.join(outputs)]

    def join(self, outputs: dict[str, EncoderOutput]) -> Sequence[DetectedObject]:
        """Return the objects of the outputs of camera and LiDAR, and of the last sound."""
        if self._sound is not None:
            outputs["audio"] = self._sound
        features = {name: self._feature(name, output) for name, output in outputs.items()}
        return self._fusion.run(features).objects

    def graph_inputs(self, image: Any, cloud: Any) -> dict[str, dict[str, NDArray]]:
        """Return ready inputs of every graph, to run the models bare."""
        inputs: dict[str, dict[str, NDArray]] = {}
        features = {}
        for name, message in (("camera", image), ("lidar", cloud)):
            served = self._served[name]
            frame = served.intake.frame(served.intake.accept(message))
            ready = served.encoder.preprocess(frame, self._geometry[name])
            inputs[name] = {key: value.copy() for key, value in ready.items()}
            features[name] = self._feature(name, self.encode(name, message))
        audio = self._served["audio"].loaded.info.inputs
        inputs["audio"] = {info.name: np.zeros(info.shape, info.dtype) for info in audio}
        inputs["fusion"] = self._fusion.inputs(features)
        return inputs

    @property
    def loaded(self) -> dict[str, LoadedModel]:
        """Every model by role."""
        encoders_loaded = {name: served.loaded for name, served in self._served.items()}
        return {**encoders_loaded, "fusion": self._fusion_loaded}

    def encode(self, name: str, item: Any) -> EncoderOutput:
        """Return what an encoder makes of a message; one thread a name."""
        served, geometry = self._served[name], self._geometry[name]
        frame = served.intake.frame(item)
        inputs = served.encoder.preprocess(frame, geometry)
        return served.encoder.postprocess(served.encoder.infer(inputs), frame, geometry)

    def _feature(self, name: str, output: EncoderOutput) -> Feature:
        return Feature(
            stamp_ns=1,
            frame_id=name,
            source=name,
            modality=name,
            model=self._served[name].loaded.bundle.version_for(name),
            sequence=1,
            geometry=self._geometry[name],
            tensors=output.tensors,
        )
