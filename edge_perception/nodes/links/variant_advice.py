"""Which variants should serve in the conditions: fusion tells, encoders may follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from edge_perception import msg
from edge_perception.core.bounds import clipped
from edge_perception.nodes.topics import qos

TOPIC = "variant_advice"
_REPEAT_S = 1.0  # while there is advice: who stops hearing it goes back to its own model
_MOST_SOURCES = 64


class AdvicePublisher:
    """Tells what the policy asks for, at each change and again and again while it asks."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(msg.VariantAdvice, TOPIC, qos.LATCHED)
        self._told: Mapping[str, tuple[str, str]] = {}
        self._told_ns: int | None = None

    def tell(self, variants: Mapping[str, tuple[str, str]], steady_ns: int) -> None:
        """Tell what is asked for now.

        Args:
            variants: bundle and condition by source.
            steady_ns: now.
        """
        changed = variants != self._told
        due = self._told_ns is None or steady_ns - self._told_ns >= _REPEAT_S * 1e9
        if not changed and not (variants and due):
            return
        self._told, self._told_ns = dict(variants), steady_ns
        self._publisher.publish(
            msg.VariantAdvice(
                stamp=self._node.get_clock().now().to_msg(),
                sources=list(variants),
                variants=[variant for variant, _ in variants.values()],
                reasons=[reason for _, reason in variants.values()],
            )
        )
        if changed:
            said = ", ".join(f"{s}: {v} ({why})" for s, (v, why) in variants.items())
            self._node.get_logger().info(f"variants by condition: {said or 'none'}")

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)


class AdviceListener:
    """Hears what is asked of one source."""

    def __init__(
        self,
        node: Node,
        source: str,
        advise: Callable[[str, str], None],
        refuse: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: of the encoder.
            source: its name.
            advise: takes the bundle and the reason; an empty bundle: none is asked for.
            refuse: takes why a message was not followed.
        """
        self._node, self._source, self._advise, self._refuse = node, source, advise, refuse
        self._subscription = node.create_subscription(
            msg.VariantAdvice, TOPIC, self._on_advice, qos.LATCHED
        )

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_advice(self, advice: Any) -> None:
        count = len(advice.sources)
        if not len(advice.variants) == len(advice.reasons) == count <= _MOST_SOURCES:
            self._refuse(
                f"{TOPIC}: expected three lists of one length, at most {_MOST_SOURCES}, got "
                f"{count}, {len(advice.variants)} and {len(advice.reasons)}"
            )
            return
        for source, variant, reason in zip(
            advice.sources, advice.variants, advice.reasons, strict=True
        ):
            if source == self._source:
                self._advise(clipped(variant), clipped(reason))
                return
        self._advise("", "")
