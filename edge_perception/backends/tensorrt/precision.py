"""The precision of the arithmetic is written into the graph: the network is strongly typed."""

from __future__ import annotations

from edge_perception.core.errors import BackendError

# What `ways` offers. bf16 has no conversion here: a graph that has it already runs with `auto`.
OFFERED = ("fp32", "fp16")
_QUANTISED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def in_precision(name: str, model: bytes, precision: str) -> tuple[bytes, str, tuple[str, ...]]:
    """Return the graph in a precision, what it is called, and a note where it is another.

    Inputs and outputs keep their types. What has no kernel in half precision stays in float32. A
    quantised graph stays what it is, and its precision has no name: a conversion would put casts
    between its scales and the layers that they belong to.

    Args:
        name: of the model, for messages.
        model: an ONNX graph.
        precision: one of `PRECISIONS`.

    Raises:
        BackendError: the graph cannot be read or converted.
    """
    if precision == "bf16":
        return model, "fp32", ("precision bf16 was asked for, fp32 runs: no conversion to it",)
    if precision != "fp16":
        return model, precision, ()
    # Both are slow to import, and only this needs them.
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        graph = onnx.load_model_from_string(model)
        if any(node.op_type in _QUANTISED for node in graph.graph.node):
            return model, "", ()
        graph = convert_float_to_float16(graph, keep_io_types=True)
        return graph.SerializeToString(), "fp16", ()
    except Exception as error:  # it raises what the protocol buffers and its own asserts do
        raise BackendError(f"{name}: cannot be converted to fp16: {error}") from error
