"""All nodes in one process: encoders hand features to fusion by reference."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from edge_perception.encoders import modality_of
from edge_perception.nodes.base import PerceptionNode
from edge_perception.nodes.encoder_node import EncoderNode
from edge_perception.nodes.fusion_node import FusionNode
from edge_perception.nodes.model_manager_node import ModelManagerNode
from edge_perception.nodes.spin import run


def compose() -> Iterator[PerceptionNode]:
    """Make fusion, one encoder for each of its sources, and the model manager."""
    fusion = FusionNode(subscribe=False)
    yield fusion
    for source in fusion.sources:
        yield EncoderNode(modality_of(source), source=source, sink=fusion.accept)
    yield ModelManagerNode()


main = functools.partial(run, compose)
