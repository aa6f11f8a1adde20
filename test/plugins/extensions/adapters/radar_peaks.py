"""Cells of a radar grid above a threshold as objects."""

from dataclasses import dataclass

import numpy as np

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import DetectedObject
from edge_perception.models.adapters import AdapterSpec, Decisions
from edge_perception.models.graph import load_graph, opset_of, tensor_shapes

from ..encoders.radar.grid import center_of


@dataclass(frozen=True, kw_only=True)
class PeakOptions:
    threshold: float = parameter(0.5, low=0.0, high=1.0)


class PeakDecoder:
    def __init__(self, manifest):
        where = f"{manifest.name}: manifest.postprocessing"
        self._options = decode(PeakOptions, manifest.postprocessing, where, error=ManifestError)
        self._class = manifest.labels[0]

    def __call__(self, outputs, context):
        heat = outputs["heat"][0, 0]
        return Decisions(
            objects=tuple(
                DetectedObject(
                    class_name=self._class,
                    score=float(heat[row, column]),
                    center_m=(*center_of(row, column), 0.8),
                    size_m=(4.0, 2.0, 1.6),
                    yaw_rad=0.0,
                )
                for row, column in np.argwhere(heat > self._options.threshold)
            )
        )


def describe(path):
    model = load_graph(path)
    shapes = tensor_shapes(model)

    def tensors(values):
        return [{"name": v.name, "dtype": "float32", "shape": list(shapes[v.name])} for v in values]

    return {
        "schema_version": 1,
        "name": path.stem,
        "role": "radar",
        "version": "1.0.0",
        "adapter": "radar_peaks",
        "inputs": tensors(model.graph.input),
        "outputs": tensors(model.graph.output),
        "labels": ["car"],
        "features": {"radar_heat": "heat"},
        "runtime": {"opset": opset_of(model)},
        "provenance": {"licence": "Apache-2.0"},
    }


SPEC = AdapterSpec(
    name="radar_peaks", roles=("radar",), make_decoder=PeakDecoder, describe=describe
)
