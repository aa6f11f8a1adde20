"""A copy of a bundled model whose weights differ a little."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edge_perception.core.share import share_file


def changed_model(name: str, folder: Path, *, scale: float = 1.05, version: str = "0.9.9") -> Path:
    """Copy bundle `name` (set/role) below `folder` with its last float weights scaled."""
    target = folder / name
    shutil.copytree(share_file("models") / name, target)
    manifest = json.loads((target / "manifest.json").read_text())
    path = target / manifest["model"]
    model = onnx.load(path)
    weights = [w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT]
    for weight in weights[-12:]:  # what tells the front is last, and says nothing of places
        values = numpy_helper.to_array(weight) * np.float32(scale)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    data = path.read_bytes()
    manifest["files"][manifest["model"]].update(
        sha256=hashlib.sha256(data).hexdigest(), size=len(data)
    )
    manifest["version"] = version
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target
