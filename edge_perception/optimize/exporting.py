"""PyTorch to ONNX by the current exporter, with names, operator set and bounded shapes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, ModelError
from edge_perception.models.graph import opset_of
from edge_perception.optimize.libraries import exporter
from edge_perception.optimize.sources import TorchSource
from edge_perception.optimize.torch_check import hushed, named_outputs, run_torch

_DYNAMIC = re.compile(r"([^:]+):(\d+)=(\d+)\.\.(\d+)")


def export(
    source: TorchSource,
    *,
    opset: int,
    outputs: Sequence[str] = (),
    dynamic: Sequence[str] = (),
    traced: bool = False,
) -> bytes:
    """Return the graph of a module.

    Args:
        source: module and inputs.
        opset: default operator set of the graph.
        outputs: names in the order of the module's outputs; empty: its own where it returns a
            dict, else output_0 and on.
        dynamic: `INPUT:AXIS=LOW..HIGH`, dimensions that stay free within bounds.
        traced: by the TorchScript exporter: quantisers of PyTorch read their own state as they
            run, which the current one takes for control flow that depends on data.

    Raises:
        ConfigurationError: names or bounds do not fit the module.
        ModelError: the exporter cannot.
    """
    torch = exporter()
    own = named_outputs(run_torch(source), outputs)
    if outputs and len(outputs) != len(own):
        raise ConfigurationError(
            f"--output: expected {len(own)} names for {source.name}, got {', '.join(outputs)}"
        )
    shapes = _dynamic_shapes(torch, source, dynamic)
    try:
        with hushed():
            if traced:
                return _traced(torch, source, opset, [name for name, _ in own])
            program = torch.onnx.export(
                source.module, source.tensors(), dynamo=True, opset_version=opset,
                input_names=list(source.inputs), output_names=[name for name, _ in own],
                dynamic_shapes=shapes, external_data=False, verbose=False,
            )  # fmt: skip
            model = program.model_proto
    except Exception as error:  # of a compiler that raises many types
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise ModelError(
            f"{source.name}: the exporter of PyTorch {torch.__version__} stopped: "
            f"{type(error).__name__}: {lines[0][:300] if lines else ''}; `optimize check` names why"
        ) from error
    if opset_of(model) != opset:
        raise ModelError(
            f"{source.name}: operator set {opset} was asked for, the exporter wrote "
            f"{opset_of(model)}: --opset {opset_of(model)}"
        )
    return bytes(model.SerializeToString())


def _traced(torch: Any, source: TorchSource, opset: int, names: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            source.module, source.tensors(), str(path), dynamo=False, opset_version=opset,
            input_names=list(source.inputs), output_names=list(names),
        )  # fmt: skip
        return path.read_bytes()


def _dynamic_shapes(torch: Any, source: TorchSource, texts: Sequence[str]) -> Any:
    if not texts:
        return None
    free: dict[str, dict[int, Any]] = {name: {} for name in source.inputs}
    for text in texts:
        match = _DYNAMIC.fullmatch(text)
        name = match[1] if match else ""
        if match is None or name not in free or int(match[3]) > int(match[4]):
            raise ConfigurationError(
                f"--dynamic: expected INPUT:AXIS=LOW..HIGH with an input of "
                f"{', '.join(source.inputs)}, got '{text}'"
            )
        axis, low, high = int(match[2]), int(match[3]), int(match[4])
        rank = source.inputs[name].ndim
        if axis >= rank:
            raise ConfigurationError(f"--dynamic: '{name}' has {rank} axes, got axis {axis}")
        free[name][axis] = torch.export.Dim(re.sub(r"\W", "_", f"{name}_{axis}"), min=low, max=high)
    return tuple(free[name] or None for name in source.inputs)
