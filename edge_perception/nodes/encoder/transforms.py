"""What tf2 publishes, kept for one node: read in place, without the tf2_ros package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy

from edge_perception.cdr import CdrError
from edge_perception.core.errors import TransformError
from edge_perception.core.transforms import MOVING, STATIC, TF_TYPE, TransformTree, transforms_of
from edge_perception.nodes.topics import qos
from edge_perception.nodes.topics.message_types import is_installed
from edge_perception.nodes.topics.receiver import Receiver

_TOLD = 16  # different complaints that are logged


class TransformListener:
    """Fills a tree; one that broken transforms do not reach.

    Args:
        log: takes one line for each new kind of broken transform.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self.tree = TransformTree()
        self._log = log
        self._told: set[str] = set()

    @property
    def why_none(self) -> str:
        """Why nothing can be heard; empty: it can."""
        return "" if is_installed(TF_TYPE) else "poses from tf need tf2_msgs, not installed here"

    def subscribe(self, receiver: Receiver) -> None:
        """Listen from the start of the receiver on."""
        if self.why_none:
            return
        for topic, static, profile in (
            (STATIC, True, qos.TF_STATIC),
            (MOVING, False, qos.TF),
        ):
            receiver.subscribe(
                TF_TYPE,
                topic,
                functools.partial(self.add, static=static),
                profile,
                on_refused=self._on_refused,
                # Bridges and players publish it without keeping it.
                beside=DurabilityPolicy.VOLATILE if static else None,
            )

    def add(self, message: Any, *, static: bool) -> None:
        """Take in a TFMessage; each of its transforms counts by itself."""
        for transform in transforms_of(message):
            try:
                self.tree.add(transform, static=static)
            except TransformError as error:
                self._tell(str(error))

    def _on_refused(self, error: CdrError) -> None:
        self._tell(f"tf: {error}")

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < _TOLD:
            self._told.add(text)
            self._log(text)
