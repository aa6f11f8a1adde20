"""Ways to make a graph smaller: static and dynamic INT8, FP16, INT4 weights, NNCF."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import ModelError
from edge_perception.models.graph import graph_of
from edge_perception.optimize.biases import channel_means, convolutions, shifted
from edge_perception.optimize.eight_bits import in_order, runnable
from edge_perception.optimize.libraries import four_bit_quantizer, nncf_library
from edge_perception.optimize.ranges import (
    ACTIVATIONS,
    CONVOLUTIONS,
    PRODUCTS,
    Frames,
    Method,
    measure_ranges,
    quiet,
)

_NNCF_FRAMES = 100
_BIAS_FRAMES = 12


METHODS = {
    method.name: method
    for method in (
        Method(name="minmax", kind="static", ranges="minmax", text="mean of the frames' ranges"),
        Method(name="percentile", kind="static", ranges="percentile", text="99.99 % of the values"),
        Method(name="entropy", kind="static", ranges="entropy", text="least KL divergence"),
        Method(name="mse", kind="static", ranges="mse", text="least squared error"),
        Method(
            name="symmetric", kind="static", ranges="minmax", symmetric=True,
            text="as minmax, activations around zero",
        ),
        Method(
            name="per_tensor", kind="static", ranges="minmax", per_channel=False,
            text="as minmax, one scale for all channels of a weight",
        ),
        Method(
            name="corrected", kind="corrected",
            text="the best of the static ones, what layers lose in the mean given back",
        ),
        Method(name="nncf", kind="nncf", text="NNCF with bias correction, for every runtime"),
        Method(name="dynamic", kind="dynamic", text="ranges found in each run"),
        Method(name="fp16", kind="fp16", text="half precision"),
        Method(name="int4", kind="int4", text="weights of matrix products in 4 bits, blocks of 32"),
    )
}  # fmt: skip


class UnsuitableError(ModelError):
    """A method has nothing to do in this graph."""


def prepared(data: bytes) -> bytes:
    """Return a graph with its shapes inferred and its constants folded, as quantisers want it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet():
        source, result = Path(folder) / "model.onnx", Path(folder) / "prepared.onnx"
        source.write_bytes(data)
        quant_pre_process(source, result, skip_symbolic_shape=True)
        return with_names(result.read_bytes())


def with_names(data: bytes) -> bytes:
    """Give every node a name of its own: layers are chosen and told by it."""
    model = graph_of("model.onnx", data)
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)
    return bytes(model.SerializeToString())


def layers(data: bytes) -> list[str]:
    """Return the nodes that static quantisation may take, in the graph's order."""
    model = graph_of("model.onnx", data)
    weights = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in (*CONVOLUTIONS, *PRODUCTS)
        and len(node.input) > 1
        and node.input[1] in weights
    ]


def results(data: bytes) -> dict[str, str]:
    """Return the first output of every node, by the node's name."""
    return {node.name: node.output[0] for node in graph_of("graph", data).graph.node}


def activations(data: bytes, taken: Sequence[str]) -> list[str]:
    """Return the activations of layers that are taken: the least of eight bits does their work.

    Else a layer's result would be rounded twice, the first time with half of the steps below zero,
    and runtimes would go to float and back in between.
    """
    made_by = results(data)
    outputs = {made_by[name] for name in taken}
    return [
        node.name
        for node in graph_of("graph", data).graph.node
        if node.op_type in ACTIVATIONS and node.input[0] in outputs
    ]


def first_layers(data: bytes) -> list[str]:
    """Return the layers that no other layer stands before: they see what the sensor says.

    They have few channels, for which runtimes have quick kernels in float and slow ones in 8 bits,
    and their rounding goes through all that follows.
    """
    graph = graph_of("model.onnx", data).graph
    known = set(layers(data))
    after_layer: set[str] = set()  # tensors that a layer has a part in
    found = []
    for node in graph.node:
        behind = any(name in after_layer for name in node.input)
        if node.name in known and not behind:
            found.append(node.name)
        if node.name in known or behind:
            after_layer.update(node.output)
    return found


class Quantiser:
    """Static quantisation of one graph; each kind of range is measured once."""

    def __init__(self, data: bytes, frames: Frames) -> None:
        """Prepare.

        Args:
            data: the graph, `prepared`.
            frames: graph inputs to calibrate with.
        """
        self.data, self.frames = data, frames
        self.layers = layers(data)
        self._ranges: dict[tuple[str, bool], Any] = {}
        self._lost: dict[str, dict[str, NDArray]] = {}

    def static(self, method: Method, *, exclude: Sequence[str] = ()) -> bytes:
        """Return the graph with its convolutions and products in 8 bits.

        Weights have seven bits: processors without VNNI add pairs of products in 16 bits.

        Raises:
            UnsuitableError: nothing is left to quantise.
        """
        shifts = self.lost(method, exclude) if method.corrected else {}
        return self._quantised(method, exclude, shifts)

    def lost(self, method: Method, exclude: Sequence[str] = ()) -> dict[str, NDArray]:
        """Return what each layer of 8 bits loses in the mean of each channel, on a few frames.

        One layer after the other, so that what was given back before counts (Nagel et al.,
        "Data-free quantization through weight equalization and bias correction", 2019, with data).
        """
        key = f"{method.ranges} {method.symmetric} {method.per_channel} {sorted(exclude)}"
        if key not in self._lost:
            few = self.frames[:: max(1, len(self.frames) // _BIAS_FRAMES)][:_BIAS_FRAMES]
            shifts: dict[str, NDArray] = {}
            made_by = results(self.data)
            kinds = convolutions(self.data)
            order = [n for n in self.layers if n in kinds and n not in set(exclude)]
            wanted = channel_means(self.data, [made_by[n] for n in order], few)
            for name in order:
                data = self._quantised(method, exclude, shifts)
                own = results(data).get(name, "")  # named after the activation that it took in
                got = channel_means(data, [own], few)
                if own in got:
                    shifts[name] = wanted[made_by[name]] - got[own]
            self._lost[key] = shifts
        return self._lost[key]

    def _quantised(
        self, method: Method, exclude: Sequence[str], shifts: Mapping[str, NDArray]
    ) -> bytes:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        taken = [name for name in self.layers if name not in set(exclude)]
        if not taken:
            raise UnsuitableError(
                "no convolution or matrix product with constant weights to quantise"
            )
        ranges = self.ranges(method)
        with quiet():
            quantizer = QDQQuantizer(
                shifted(self.data, shifts),
                method.per_channel, True, QuantType.QInt8,
                QuantType.QInt8 if method.symmetric else QuantType.QUInt8, ranges,
                [*taken, *activations(self.data, taken)], [],
                [*CONVOLUTIONS, *PRODUCTS, *ACTIVATIONS],
                {"ActivationSymmetric": method.symmetric, "WeightSymmetric": True},
            )  # fmt: skip
            quantizer.quantize_model()
        return in_order(quantizer.model.model)

    def ranges(self, method: Method) -> Any:
        """Return the ranges of the tensors (`TensorsData`), measured where they are not yet."""
        key = (method.ranges, method.symmetric)
        if key not in self._ranges:
            self._ranges[key] = measure_ranges(self.data, self.frames, method)
        return self._ranges[key]


def dynamic(data: bytes) -> bytes:
    """Return the graph with weights in 8 bits and ranges found in each run."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not layers(data):
        raise UnsuitableError("no convolution or matrix product with constant weights to quantise")
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, result = Path(folder) / "model.onnx", Path(folder) / "dynamic.onnx"
        source.write_bytes(data)
        quantize_dynamic(source, result, weight_type=QuantType.QUInt8)
        return result.read_bytes()


def half(data: bytes) -> bytes:
    """Return the graph in half precision; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        model = convert_float_to_float16(graph_of("model.onnx", data), keep_io_types=True)
    return in_order(model)


def four_bits(data: bytes) -> bytes:
    """Return the graph with the weights of its matrix products in 4 bits.

    Raises:
        UnsuitableError: it has none that are large enough.
    """
    quantizer_type = four_bit_quantizer()
    with quiet():
        quantizer = quantizer_type(graph_of("model.onnx", data), block_size=32)
        quantizer.process()
    model = quantizer.model.model
    if not any(node.op_type == "MatMulNBits" for node in model.graph.node):
        raise UnsuitableError("no matrix product with constant weights: 4 bits are for those")
    return bytes(model.SerializeToString())


def with_nncf(data: bytes, frames: Frames, exclude: Sequence[str] = ()) -> bytes:
    """Return the graph as NNCF quantises it.

    Args:
        data: the graph, `prepared`.
        frames: graph inputs to calibrate with.
        exclude: names of layers that stay in float.

    Raises:
        MissingExtraError: it is not installed.
    """
    nncf = nncf_library()
    some = [dict(frame) for frame in frames[:_NNCF_FRAMES]]
    with quiet():
        nncf.set_log_level(logging.ERROR)
        model = nncf.quantize(
            graph_of("model.onnx", data),
            nncf.Dataset([{n: np.array(a) for n, a in frame.items()} for frame in some]),
            subset_size=len(some),
            ignored_scope=nncf.IgnoredScope(names=list(exclude)) if exclude else None,
        )
    return runnable(bytes(model.SerializeToString()))


def made(method: Method, quantiser: Quantiser, exclude: Sequence[str] = ()) -> bytes:
    """Return the graph as a method makes it.

    Args:
        method: how.
        quantiser: with the graph and its frames.
        exclude: layers that stay in float, of static methods and NNCF.

    Raises:
        UnsuitableError: there is nothing for it to do.
        MissingExtraError: its library is not installed.
    """
    if method.kind == "static":
        return quantiser.static(method, exclude=exclude)
    if method.kind == "nncf":
        return with_nncf(quantiser.data, quantiser.frames, exclude)
    makers = {"dynamic": dynamic, "fp16": half, "int4": four_bits}
    return makers[method.kind](quantiser.data)
