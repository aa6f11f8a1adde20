"""Features from topics: taken within a bound, converted, and handed over with their origin."""

from __future__ import annotations

from collections.abc import Callable

from edge_perception import msg
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import Feature
from edge_perception.fusion.publishers import Route
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import FEATURE_TYPE, feature_from_msg
from edge_perception.nodes.topics import qos, raw
from edge_perception.nodes.topics.endpoints import Endpoints
from edge_perception.nodes.topics.receiver import Receiver
from edge_perception.nodes.topics.taking import Taken


class FeatureInlet:
    """The topic of one source.

    Args:
        node: the fusion node.
        source: name of the source.
        most_bytes: of a message; what the models of this robot can produce.
        offer: takes a feature and how it came.
        refuse: takes the name of the source and why what came is no feature.
        topic: its name; empty: as the source's.
    """

    def __init__(
        self,
        node: PerceptionNode,
        source: str,
        *,
        most_bytes: Callable[[], int],
        offer: Callable[[Feature, Route], None],
        refuse: Callable[[str, str], None],
        topic: str = "",
    ) -> None:
        self._source, self._most_bytes = source, most_bytes
        self._offer, self._refuse = offer, refuse
        self.topic = topic or f"features/{source}"
        self._endpoints = Endpoints(node, self.topic)

    def subscribe(self, receiver: Receiver) -> None:
        """Subscribe; before the receiver starts."""
        receiver.subscribe_bounded(
            msg.Feature, self.topic, self._on_message, qos.FEATURES, most_bytes=self._most_bytes
        )

    def _on_message(self, taken: Taken) -> None:
        publisher = self._endpoints.publisher(taken.publisher)
        if taken.data is None:
            who = "" if publisher is None else f" from {publisher.name()}"
            self._refuse(
                self._source,
                f"{self.topic}: expected at most {self._most_bytes() / 1e6:.1f} MB "
                f"(max_feature_mb), got {taken.size / 1e6:.1f} MB{who}",
            )
            return
        try:
            feature = feature_from_msg(raw.read(FEATURE_TYPE, taken.data))
        except EdgePerceptionError as error:
            self._refuse(self._source, f"{self.topic}: {error}")
            return
        self._offer(feature, Route(source=self._source, publisher=publisher, name=self.topic))


def trial_topic(source: str) -> str:
    """Return where an encoder hands over what the model of a trial that does not serve made."""
    return f"trial/features/{source}"
