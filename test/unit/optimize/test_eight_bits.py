"""Graphs of quantisers: the same values, in the form that a runtime computes in eight bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_perception.optimize.eight_bits import runnable


def quantised() -> bytes:
    """A graph as NNCF and PyTorch leave it.

    Signed steps, weights rounded in the run, quantisers before what cuts and before what stacks.
    """
    rng = np.random.default_rng(3)
    weights = {
        "w_cut": rng.normal(size=(4, 2, 3, 3)), "w_stacked": rng.normal(size=(3, 8, 1, 1)),
        "x_scale": np.array(0.02), "y_scale": np.array(0.1),
        "w_cut_scale": np.full(4, 0.02), "w_stacked_scale": np.full(3, 0.015),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    for name, shape in (("signed", ()), ("w_cut_zero", (4,)), ("w_stacked_zero", (3,))):
        tensors.append(numpy_helper.from_array(np.zeros(shape, np.int8), name))
    for name, value in (("begin", 0), ("middle", 2), ("end", 4), ("axis", 1)):
        tensors.append(numpy_helper.from_array(np.array([value]), name))
    nodes = []

    def pair(source: str, result: str, scale: str, zero: str, **axis: int) -> None:
        steps = f"{result}_steps"
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [steps], **axis))
        nodes.append(helper.make_node("DequantizeLinear", [steps, scale, zero], [result], **axis))

    def node(kind: str, given: list[str], result: str, **how: object) -> None:
        nodes.append(helper.make_node(kind, given, [result], name=result, **how))

    pair("x", "x_q", "x_scale", "signed")
    pair("w_cut", "w_cut_q", "w_cut_scale", "w_cut_zero", axis=0)
    pair("w_stacked", "w_stacked_q", "w_stacked_scale", "w_stacked_zero", axis=0)
    for side, begin, end in (("left", "begin", "middle"), ("right", "middle", "end")):
        node("Slice", ["x_q", begin, end, "axis"], side)
        node("Conv", [side, "w_cut_q"], f"{side}_seen", pads=[1, 1, 1, 1])
        pair(f"{side}_seen", f"{side}_q", "y_scale", "signed")
    node("Concat", ["left_q", "right_q"], "both", axis=1)
    node("Conv", ["both", "w_stacked_q"], "y_float")
    pair("y_float", "y", "y_scale", "signed")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 6, 6])
        for name, channels in (("x", 4), ("y", 3))
    ]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tensors)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def run(data: bytes, level: object = None) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level or onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    frame = np.random.default_rng(4).uniform(-3, 3, (1, 4, 6, 6)).astype(np.float32)
    return session.run(None, {"x": frame})[0]


def test_the_values_stay_the_same():
    before = quantised()
    onnx.checker.check_model(onnx.load_model_from_string(runnable(before)), full_check=True)
    assert np.array_equal(run(runnable(before)), run(before))
    assert np.ptp(run(before)) > 1.0


def test_every_layer_runs_in_eight_bits(tmp_path):
    def kinds(data: bytes) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return [n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node]

    assert kinds(quantised()).count("QLinearConv") < 3
    made = kinds(runnable(quantised()))
    assert made.count("QLinearConv") == 3
    assert "Conv" not in made


def test_weights_are_kept_in_eight_bits_and_what_nothing_takes_goes():
    model = onnx.load_model_from_string(runnable(quantised()))
    kept = {t.name: t.data_type for t in model.graph.initializer if len(t.dims) == 4}
    assert [*kept.values()] == 2 * [TensorProto.INT8]
    used = {name for node in model.graph.node for name in node.input}
    assert {t.name for t in model.graph.initializer} <= used
