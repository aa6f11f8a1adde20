"""The features of one source: handed over by reference, published, and told in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_perception import msg
from edge_perception.core.log_control import Burst
from edge_perception.core.types import Feature
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.conversion import feature_bytes
from edge_perception.nodes.links.feature_inlet import trial_topic
from edge_perception.nodes.topics import qos

_REFUSALS, _REFUSED_S = 5, 5.0  # so many refused frames in that time are an anomaly
_FRAME = (
    "frame {}: receive {:.2f}, queue {:.2f}, preprocess {:.2f}, inference {:.2f}, "
    "postprocess {:.2f} ms; dropped {}"
)


class FeatureOutlet:
    """Where features go, from the configuration of an encoder to its cleanup.

    Args:
        node: the encoder.
        source: name of its source.
        sink: takes features by reference, in a composed process. The topic is then served only
            while somebody listens.
        beside: the same for what the model of a trial that does not serve makes of a frame.
    """

    def __init__(
        self,
        node: PerceptionNode,
        source: str,
        *,
        sink: Callable[[Feature], None] | None,
        beside: Callable[[Feature], None] | None,
    ) -> None:
        self._node, self._sink = node, sink
        self._refusals = Burst(count=_REFUSALS, within_s=_REFUSED_S)
        topic = f"features/{source}"
        self._publisher: Any = node.create_publisher(msg.Feature, topic, qos.FEATURES)
        node.rivals.watch(topic)
        self._trial_publisher: Any = None
        if beside is None:
            self._trial_publisher = node.create_publisher(
                msg.Feature, trial_topic(source), qos.FEATURES
            )
        self.send_beside = beside or self._publish_beside

    def send(self, feature: Feature) -> None:
        """Hand a feature on; for the inference thread."""
        self._tell(feature)
        if self._sink is not None:
            self._sink(feature)
        if self._sink is None or self._publisher.get_subscription_count():
            self._publisher.publish(feature_bytes(feature))

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)
        if self._trial_publisher is not None:
            self._node.destroy_publisher(self._trial_publisher)

    def _publish_beside(self, feature: Feature) -> None:
        self._trial_publisher.publish(feature_bytes(feature))

    def _tell(self, feature: Feature) -> None:
        """Tell of a frame for who looks at an anomaly."""
        log, spent = self._node.get_logger(), feature.latency
        if feature.valid:
            log.detail(
                _FRAME,
                feature.stamp_ns,
                1e3 * spent.receive_s,
                1e3 * spent.queue_s,
                1e3 * spent.preprocess_s,
                1e3 * spent.inference_s,
                1e3 * spent.postprocess_s,
                feature.dropped,
            )
            return
        log.detail("frame {}: refused: {}", feature.stamp_ns, feature.invalid_reason)
        if not feature.passing and self._refusals.add(self._node.clock.now().steady_ns):
            log.anomaly(
                f"{_REFUSALS} frames refused within {_REFUSED_S:g} s, the last: "
                f"{feature.invalid_reason}"
            )
