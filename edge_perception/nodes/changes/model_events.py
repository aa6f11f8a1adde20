"""Steps of changes: told on the topic, in the log of the store, in ours, and to who asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_perception import msg
from edge_perception.nodes.changes.event_feed import EventFeed
from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.in_thread import in_thread
from edge_perception.nodes.topics import qos
from edge_perception.releases.event_log import EventLog
from edge_perception.releases.filesystem import FileSystem

WAITING = "waiting"  # event, as feedback only
Told = Callable[[msg.ModelEvent], None]


class ModelEvents:
    """The publisher of `model_events`, and the durable log while a store is open."""

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        self._publisher = node.create_publisher(msg.ModelEvent, "model_events", qos.EVENTS)
        self._feed: EventFeed | None = None
        self.told: Told | None = None  # takes every step too, at once

    def open(self, path: Path, files: FileSystem) -> None:
        """Write to the log at `path` from now on."""
        self._feed = EventFeed(self._publisher.publish, EventLog(path, files))

    def close(self) -> None:
        """End after what is waiting; safe more than once."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    @property
    def problem(self) -> str:
        """Why the newest event is not in the durable log; empty: it is, or there is no log."""
        return self._feed.problem if self._feed is not None else ""

    async def flush(self) -> None:
        """Return once all that was told is published."""
        if self._feed is not None:
            await in_thread(self._node, self._feed.flush)

    def hint(self, transaction_id: str, reason: str, told: Told | None) -> None:
        """Tell only who asked what a change is waiting for: no step of it."""
        if told is not None:
            stamp = self._node.get_clock().now().to_msg()
            told(
                msg.ModelEvent(
                    stamp=stamp, transaction_id=transaction_id, event=WAITING, reason=reason
                )
            )

    def tell(
        self,
        event: str,
        transaction_id: str = "",
        *,
        error: bool = False,
        reason: str = "",
        models: list[msg.ModelVersion] | None = None,
        told: Told | None = None,
    ) -> None:
        """Tell of a step.

        Args:
            event: its name.
            transaction_id: of the change; empty: of none.
            error: the change was refused, stopped or is late.
            reason: value and limit.
            models: what it is about.
            told: takes the message too, once it is published.
        """
        models = models or []
        now = self._node.get_clock().now()
        message = msg.ModelEvent(
            stamp=now.to_msg(),
            transaction_id=transaction_id,
            event=event,
            error=error,
            reason=reason,
            models=models,
        )
        if self._feed is not None:
            self._feed.put(message, now.nanoseconds, told=told)
        if self.told is not None:
            self.told(message)
        names = " ".join(f"{m.role}={m.name}:{m.version}" for m in models)
        text = f"{event} {names} {reason}".strip()
        if error:
            self._node.get_logger().anomaly(f"model change: {text}")
            self._node.get_logger().warning(text)
        else:
            self._node.get_logger().info(text)
