"""Where two models part: their outputs, and their layers one by one, on the same inputs.

For engineers; needs the package onnx. The layers are tensors of the graphs that have the same name
and shape in both. They are made outputs, so a runtime cannot fuse across them: what is compared is
the arithmetic of the graph as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import ModelError
from edge_perception.models.golden import compare_arrays, read_golden
from edge_perception.models.graph import read_graph, tensor_shapes, with_outputs
from edge_perception.models.manifest import Bundle, Gates


@dataclass(frozen=True, kw_only=True)
class TensorParity:
    """How one tensor of the candidate differs from the current model's."""

    name: str
    operator: str  # that computes it
    shape: tuple[int, ...]
    output: bool  # of the graph; else a layer
    max_absolute: float
    max_current: float  # largest absolute value of the current model's, to compare with
    cosine: float  # similarity of direction, 1: the same
    passed: bool | None  # by the candidate's gates; None: gates are for outputs
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelParity:
    """Two models on the candidate's golden inputs."""

    tensors: tuple[TensorParity, ...]  # in the order of the candidate's graph
    only_candidate: tuple[str, ...]  # tensors that the other does not have, or in another shape
    only_current: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all outputs are within the gates."""
        return all(tensor.passed is not False for tensor in self.tensors)


def compare_models(
    candidate: Bundle,
    current: Bundle,
    *,
    layers: bool = False,
) -> ModelParity:
    """Run both models on the candidate's golden inputs and compare tensor by tensor.

    Args:
        candidate: what is to serve.
        current: what serves.
        layers: also the tensors inside.

    Raises:
        ModelError: they do not take the same inputs, or have no output in common.
        BundleError: the candidate has no golden inputs.
    """
    inputs, _ = read_golden(candidate)
    graphs = [read_graph(bundle) for bundle in (candidate, current)]
    found = [computed_tensors(graph, layers) for graph in graphs]
    _check_inputs(candidate, current)
    common = [name for name in found[0] if found[1].get(name, (None,))[0] == found[0][name][0]]
    outputs = {spec.name for spec in candidate.manifest.outputs}
    if not outputs & set(common):
        raise ModelError(
            f"{candidate.manifest.name}: expected an output in common with "
            f"{current.manifest.name}, got {sorted(outputs)} and "
            f"{sorted(spec.name for spec in current.manifest.outputs)}"
        )
    ours, theirs = (run_tensors(graph, common, inputs, DEFAULT_BACKEND) for graph in graphs)
    gates = candidate.manifest.gates
    return ModelParity(
        tensors=tuple(
            _parity(name, found[0][name][1], ours[name], theirs[name], gates, name in outputs)
            for name in common
        ),
        only_candidate=tuple(name for name in found[0] if name not in common),
        only_current=tuple(name for name in found[1] if name not in common),
    )


def computed_tensors(graph: Any, layers: bool) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and operator of the float tensors that nodes compute, in their order."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    known = {
        value.name
        for value in (*graph.graph.value_info, *graph.graph.output)
        if value.type.tensor_type.elem_type in floats
    }
    outputs = {value.name for value in graph.graph.output}
    shapes = tensor_shapes(graph)
    return {
        name: (shapes[name], node.op_type)
        for node in graph.graph.node
        for name in node.output
        if name in known and -1 not in shapes[name] and (layers or name in outputs)
    }


def _check_inputs(candidate: Bundle, current: Bundle) -> None:
    ours, theirs = (
        {spec.name: (spec.shape, spec.dtype) for spec in bundle.manifest.inputs}
        for bundle in (candidate, current)
    )
    if ours != theirs:
        raise ModelError(
            f"{candidate.manifest.name}: expected the inputs of {current.manifest.name} {theirs}, "
            f"got {ours}"
        )


def run_tensors(
    graph: Any, names: list[str], inputs: Mapping[str, NDArray], backend: str
) -> dict[str, NDArray]:
    """Run a graph once and return these tensors of it, also those inside."""
    data = with_outputs(graph, names).SerializeToString()
    session = load_model_bytes(backends()[backend], data, Path("layers.onnx"), BackendOptions())
    try:
        return session.infer(inputs)
    finally:
        session.close()


def _parity(
    name: str, operator: str, got: NDArray, expected: NDArray, gates: Gates, output: bool
) -> TensorParity:
    deviation = compare_arrays(name, got, expected, gates)
    return TensorParity(
        name=name,
        operator=operator,
        shape=tuple(got.shape),
        output=output,
        max_absolute=deviation.absolute,
        max_current=float(np.abs(expected.astype(np.float64)).max(initial=0.0)),
        cosine=deviation.cosine,
        passed=deviation.passed if output else None,
        reason=deviation.reason if output else "",
    )
