"""How the models of running nodes run: their own parameters, asked of them."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

from rclpy.parameter_client import AsyncParameterClient

from edge_perception.models.loading import ModelOptions
from edge_perception.running.node_parameters import ENCODER, FUSION

_NAMES = [item.name for item in fields(ModelOptions)]
_PATIENCE_S = 3.0


def asked_parameters(node: Any, executor: Any, namespace: str) -> dict[str, object]:
    """Return the parameters of models of running nodes, as `node.parameter`.

    Args:
        node: that asks.
        executor: that runs it.
        namespace: of the nodes.
    """
    space = "/" + namespace.strip("/")
    names = {name for name, where in node.get_node_names_and_namespaces() if where == space}
    found: dict[str, object] = {}
    encoders = sorted(name for name in names if name.endswith(ENCODER))
    for name in [*encoders, *({FUSION} & names)]:
        wanted = [*_NAMES, "sources"] if name == FUSION else _NAMES
        values = _asked(node, executor, f"{space.rstrip('/')}/{name}", wanted)
        found |= {f"{name}.{key}": value for key, value in values.items()}
    if encoders and f"{FUSION}.sources" not in found:
        found[f"{FUSION}.sources"] = [name.removesuffix(ENCODER) for name in encoders]
    return found


def _asked(node: Any, executor: Any, remote: str, names: list[str]) -> dict[str, object]:
    from rclpy.parameter import parameter_value_to_python

    client = AsyncParameterClient(node, remote)
    if not client.services_are_ready() and not client.wait_for_services(_PATIENCE_S):
        return {}
    future = client.get_parameters(names)
    end = time.monotonic() + _PATIENCE_S
    while not future.done() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    if not future.done():
        return {}
    values = map(parameter_value_to_python, future.result().values)
    return {
        name: list(value) if isinstance(value, (list, tuple)) or hasattr(value, "tolist") else value
        for name, value in zip(names, values, strict=True)
        if value is not None
    }
