"""PyTorch to ONNX, and the check that both say the same."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

OPSET = 17


def to_onnx(net: nn.Module, inputs: dict[str, NDArray], outputs: Sequence[str]) -> bytes:
    """Return an ONNX model with static shapes and names."""
    net.eval()
    arguments = tuple(torch.from_numpy(array) for array in inputs.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the TorchScript exporter writes plain, small graphs
            torch.onnx.export(
                net, arguments, str(path), dynamo=False, opset_version=OPSET,
                input_names=list(inputs), output_names=list(outputs),
            )  # fmt: skip
        return path.read_bytes()


def differences(
    net: nn.Module, model: bytes, inputs: dict[str, NDArray], outputs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the largest absolute and relative difference of each output, ONNX to PyTorch.

    Relative to the largest value of the output.

    Raises:
        RuntimeError: a difference is larger than 1e-3 of the largest value.
    """
    with torch.no_grad():
        wanted = net(*(torch.from_numpy(array) for array in inputs.values()))
    got = session(model).run(list(outputs), inputs)
    report = {}
    for name, a, b in zip(outputs, wanted, got, strict=True):
        absolute = float(np.abs(a.numpy() - b).max())
        relative = absolute / max(float(np.abs(b).max()), 1e-9)
        if not relative < 1e-3:
            raise RuntimeError(f"'{name}': ONNX differs from PyTorch by {absolute:g}")
        report[name] = {"absolute": absolute, "relative": relative}
    return report


def session(model: bytes | str) -> ort.InferenceSession:
    """Return a session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def median_ms(model: bytes, inputs: dict[str, NDArray], runs: int = 40) -> float:
    """Return the median time of a run on one thread."""
    loaded = session(model)
    loaded.run(None, inputs)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        loaded.run(None, inputs)
        times.append(time.perf_counter() - start)
    return round(float(np.median(times)) * 1e3, 2)
