"""A bundle as a model of Triton's model repository.

Layout and config.pbtxt: https://docs.nvidia.com/deeplearning/triton-inference-server, "Model
Repository" and "Model Configuration".
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from edge_perception.backends.kserve.tensors import DATATYPES
from edge_perception.core.errors import ModelError
from edge_perception.models.loading import whole_model
from edge_perception.models.manifest import Bundle, TensorSpec

BACKENDS = ("onnxruntime", "python")
# A server whose build has no ONNX Runtime backend runs the file in its Python backend.
_PYTHON_MODEL = '''\
"""Runs model.onnx of this folder by the Python package onnxruntime."""

import json
import os

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self.session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [t["name"] for t in json.loads(args["model_config"])["input"]]

    def execute(self, requests):
        responses = []
        for request in requests:
            inputs = {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in self.inputs
            }
            names = list(request.requested_output_names())
            outputs = self.session.run(names, inputs)
            tensors = [pb_utils.Tensor(n, o) for n, o in zip(names, outputs)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
'''


def export_triton(
    bundle: Bundle,
    repository: Path,
    *,
    name: str = "",
    backend: str = "onnxruntime",
    max_batch: int = 0,
    queue_delay_us: int = 1000,
) -> Path:
    """Write a bundle into a model repository.

    Args:
        bundle: what to serve.
        repository: folder that Triton is started with.
        name: of the model on the server; empty: the manifest's.
        backend: of Triton: `onnxruntime`, or `python` where its build lacks that.
        max_batch: requests joined by the dynamic batcher; the graph's first dimension must be
            free. 0: none are.
        queue_delay_us: how long a request waits for others to join, µs.

    Returns:
        The model's folder.

    Raises:
        ModelError: the name is none, the graph cannot be batched, the folder is there already, or
            the model cannot be read.
    """
    manifest = bundle.manifest
    if bundle.sealed:
        raise ModelError(f"{manifest.name}: is sealed for this device, and not written elsewhere")
    name = name or manifest.name
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ModelError(f"{name}: expected letters, digits, '_', '-' and '.'")
    if backend not in BACKENDS:
        raise ModelError(f"backend: expected one of {', '.join(BACKENDS)}, got '{backend}'")
    tensors = [*manifest.inputs, *manifest.outputs]
    if max_batch and any(tensor.shape[:1] not in ((-1,), ()) for tensor in tensors):
        fixed = ", ".join(t.name for t in tensors if t.shape[:1] != (-1,))
        raise ModelError(f"{name}: cannot be batched, the first dimension of {fixed} is fixed")
    folder = repository / name
    if folder.exists():
        raise ModelError(f"{folder}: is there already; remove it, or give another name")
    version = folder / "1"
    data = whole_model(bundle)  # the only file of it that a server gets
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(data)
    if backend == "python":
        (version / "model.py").write_text(_PYTHON_MODEL, encoding="utf-8")
    text = _config(bundle, name, backend, max_batch, queue_delay_us)
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    return folder


def stated_by(bundle: Bundle) -> dict[str, str]:
    """Return what a server of this bundle states of its model, by name."""
    manifest = bundle.manifest
    return {
        "bundle": manifest.name,
        "release": manifest.version,
        "feature_space": manifest.feature_space,
        "sha256": bundle.sha256,
    }


def _config(bundle: Bundle, name: str, backend: str, max_batch: int, queue_delay_us: int) -> str:
    manifest = bundle.manifest
    lines = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(backend)}",
        f"max_batch_size: {max_batch}",
        *_tensors("input", manifest.inputs, batched=bool(max_batch)),
        *_tensors("output", manifest.outputs, batched=bool(max_batch)),
    ]
    if max_batch:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {queue_delay_us} }}")
    for key, value in stated_by(bundle).items():
        text = json.dumps(value)
        lines.append(f"parameters {{ key: {json.dumps(key)} value {{ string_value: {text} }} }}")
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: tuple[TensorSpec, ...], *, batched: bool) -> list[str]:
    lines = []
    for tensor in tensors:
        shape = tensor.shape[1:] if batched else tensor.shape
        dims = ", ".join(map(str, shape))
        data_type = DATATYPES[tensor.dtype]
        lines.append(
            f"{kind} [ {{ name: {json.dumps(tensor.name)} data_type: TYPE_{data_type} "
            f"dims: [ {dims} ] }} ]"
        )
    return lines
