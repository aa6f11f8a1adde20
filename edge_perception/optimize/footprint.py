"""What a model takes of memory, told apart from what its runtime takes with any model.

Counted are the pages that belong to the process alone and to no file: code of libraries that other
processes have mapped too would come and go with those, and a page that was read ahead is nobody's.
"""

from __future__ import annotations

from pathlib import Path

from edge_perception.backends import backends, load_model_bytes
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.process_memory import memory_bytes
from edge_perception.models.loading import ModelOptions, backend_options

_EXACT = Path("/proc/self/smaps_rollup")


def anonymous_bytes() -> int:
    """Return the memory of this process that is of no file, bytes (proc(5), smaps_rollup).

    Raises:
        OSError: this machine does not tell.
    """
    try:
        return memory_bytes("Anonymous", _EXACT)  # `status` may be some pages behind
    except OSError:
        return memory_bytes("RssAnon")


def start_runtime(options: ModelOptions) -> str:
    """Load a model of one operation in the way of another, so that the runtime is there.

    Args:
        options: of the model that will be measured.

    Returns:
        Why that does not run, so that the runtime counts with the model; empty: it does.
    """
    import numpy as np

    try:
        session = load_model_bytes(
            backends()[options.backend], _least_model(), Path("least.onnx"),
            backend_options(options),
        )  # fmt: skip
        try:
            session.infer({"x": np.zeros((1, 1), np.float32)})
        finally:
            session.close()
    except (EdgePerceptionError, RuntimeError, ValueError) as error:
        return str(error)
    return ""


def _least_model() -> bytes:
    """Return an ONNX model that doubles a number."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "least", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
