"""All nodes in one process: encoders hand features to fusion by reference."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from edge_perception.core.types import Feature
from edge_perception.encoders import modality_of
from edge_perception.fusion.publishers import Route
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.spin import run
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode


class Reference:
    """The publisher of a source that hands its features over in this process."""

    def __init__(self, source: str) -> None:
        self._source = source

    def name(self) -> str:
        """Return what it is."""
        return f"encoder of {self._source} in this process"

    def present(self) -> bool:
        """Whether it exists: as long as the process does."""
        return True


def sink_of(fusion: FusionNode, source: str) -> Callable[[Feature], None]:
    """Return what takes the features of one encoder; fusion knows it by this reference."""
    route = Route(source=source, publisher=Reference(source))
    return lambda feature: fusion.accept(feature, route)


def compose() -> Iterator[PerceptionNode]:
    """Make fusion, one encoder for each of its sources, and the model manager."""
    fusion = FusionNode(subscribe=False)
    yield fusion
    for source in fusion.sources:
        yield EncoderNode(
            modality_of(source),
            source=source,
            sink=sink_of(fusion, source),
            beside=fusion.accept_beside,
        )
    yield ModelManagerNode()


main = functools.partial(run, compose, several=True)
