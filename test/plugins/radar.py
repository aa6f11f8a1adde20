"""What the tests of the plug-ins drive through the product: a radar, its model, its recording."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np
from onnx_models import node, save

from edge_perception.cli.main import main
from edge_perception.models.manifest import Bundle, load_bundle

EXTENSIONS = Path(__file__).resolve().parent / "extensions"
FIELDS = ("x", "y", "z", "velocity")
SHAPE = (1, 2, 20, 20)
# A car ahead, in the base frame (m), and the cell's middle that the model makes of it.
CAR = (11.0, 3.0, 0.5, -4.0)
SEEN_AT = (11.0, 3.0, 0.8)
# The radar looks ahead from the front bumper.
POSE = (3.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0)


def onnx_file(path: Path) -> Path:
    """Heat is the power of a cell where its target moves."""
    nodes = [
        node("Gather", ["grid", "first"], "power", axis=1),
        node("Gather", ["grid", "second"], "velocity", axis=1),
        node("Abs", ["velocity"], "speed"),
        node("Mul", ["power", "speed"], "moving"),
        node("Clip", ["moving", "zero", "one"], "heat"),
    ]
    weights = {
        "first": np.array([0], np.int64),
        "second": np.array([1], np.int64),
        "zero": np.float32(0.0),
        "one": np.float32(0.9),
    }
    return save(path, nodes, {"grid": SHAPE}, {"heat": (1, 1, *SHAPE[2:])}, weights)


def import_bundle(folder: Path, *more: str) -> Bundle:
    """Import the model by the command line, as a user would."""
    onnx = onnx_file(folder / "radar_net.onnx")
    models = folder / "models"
    command = ["models", "import", str(onnx), "--adapter", "radar_peaks", "--into", str(models)]
    assert main([*command, "--plugin-folder", str(EXTENSIONS), *more]) == 0
    return load_bundle(models / "radar_net")


def parameters(folder: Path, bundle: Bundle, *, plugins: bool = True) -> Path:
    """Write the parameter file of a vehicle with nothing but a radar."""
    path = folder / "radar.yaml"
    named = f"[{EXTENSIONS}]" if plugins else "[]"
    path.write_text(
        f"/**:\n  ros__parameters:\n    plugin_folders: {named}\n"
        "/**/radar_encoder:\n  ros__parameters:\n"
        f"    model: radar_net\n    model_folders: [{bundle.path.parent}]\n"
        f"    backend: reference\n    T_base_sensor: {list(POSE)}\n"
        "/**/fusion:\n  ros__parameters:\n    sources: [radar]\n    model: ''\n",
        encoding="utf-8",
    )
    return path


def sweep(stamp_ns: int, *, count: int = 5) -> Any:
    """Return a PointCloud2 with the car and still points around it, in the radar's frame."""
    from sensor_msgs.msg import PointCloud2, PointField

    from edge_perception.nodes.conversion import time_msg

    points = np.zeros((count, 4), "<f4")
    points[:, 0], points[:, 1] = np.linspace(5, 30, count), -6.0
    points[0] = (CAR[0] - POSE[0], CAR[1] - POSE[1], CAR[2] - POSE[2], CAR[3])
    message = PointCloud2(height=1, width=count, point_step=16, row_step=16 * count, is_dense=True)
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(FIELDS)
    ]
    message.data = array("B", points.tobytes())
    message.header.stamp, message.header.frame_id = time_msg(stamp_ns), "radar"
    return message
