"""Names of a network's modules, which exporters leave in the names of weights and nodes."""

from __future__ import annotations

import re

from edge_perception.models.foreign import ForeignModel

_SEPARATORS = re.compile(r"[./]")


def modules_of(foreign: ForeignModel) -> set[str]:
    """Return the names of modules that show in the names of a graph; simplified ones have none."""
    graph = foreign.model.graph
    names = [tensor.name for tensor in graph.initializer] + [node.name for node in graph.node]
    return {part for name in names for part in _SEPARATORS.split(name)}
