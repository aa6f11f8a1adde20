"""What the modality does with a sweep."""

from dataclasses import dataclass, replace

import numpy as np

from edge_perception.core.errors import InvalidFrameError
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.checked_model import CheckedModel

from .grid import COLUMNS, ROWS, cell_of

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("velocity", "<f4")])


@dataclass(frozen=True, kw_only=True)
class RadarSweep:
    points: np.ndarray  # of POINT


class RadarIntake:
    def __init__(self, manifest):
        pass

    def accept(self, message):
        return message

    def frame(self, item):
        names = tuple(field.name for field in item.fields)
        if names != POINT.names:
            raise InvalidFrameError(f"radar: expected fields {POINT.names}, got {names}")
        return RadarSweep(points=np.frombuffer(bytes(item.data), POINT))


class RadarEncoder(CheckedModel):
    def preprocess(self, frame, geometry):
        grid = np.zeros((1, 2, ROWS, COLUMNS), np.float32)
        xyz = np.stack([frame.points[name] for name in "xyz"], axis=-1)
        base = xyz @ geometry.T_base_sensor[:3, :3].T + geometry.T_base_sensor[:3, 3]
        for (x, y, _), velocity in zip(base, frame.points["velocity"], strict=True):
            if (cell := cell_of(x, y)) is not None:
                grid[(0, slice(None), *cell)] = 1.0, velocity
        return {"grid": grid}

    def postprocess(self, outputs, frame, geometry):
        decisions = self.decide(outputs)
        return EncoderOutput(tensors=self.features(outputs), objects=decisions.objects)


def golden_inputs(manifest):
    grid = np.zeros((1, 2, ROWS, COLUMNS), np.float32)
    grid[0, 0, ::5, ::3] = 1.0
    return {"grid": grid}


def with_noise(message, fog, noise, rng):
    points = np.frombuffer(bytes(message.data), POINT).copy()
    points["velocity"] += rng.normal(0.0, noise, len(points))
    return replace(message, data=points.view(np.uint8).reshape(-1))
