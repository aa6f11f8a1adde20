"""Which operator sets the runtimes of this machine take: found by asking them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from edge_perception.backends import BackendOptions, backends, load_model_bytes
from edge_perception.core.errors import EdgePerceptionError

NEWEST = 30  # looked for from here down
OLDEST = 7


def asked_here() -> list[str]:
    """Return the runtimes that run graphs on this machine; servers are not asked."""
    return [name for name, spec in sorted(backends().specs.items()) if spec.ways is not None]


@cache
def newest_opset(runtime: str) -> int:
    """Return the newest default operator set that a runtime loads; 0: none."""
    for version in range(NEWEST, OLDEST - 1, -1):
        try:
            spec = backends()[runtime]
            session = load_model_bytes(
                spec, _smallest(version), Path("opset.onnx"), BackendOptions()
            )
        except (EdgePerceptionError, RuntimeError):
            continue
        session.close()
        return version
    return 0


def _smallest(version: int) -> bytes:
    from onnx import TensorProto, helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    return bytes(model.SerializeToString())
