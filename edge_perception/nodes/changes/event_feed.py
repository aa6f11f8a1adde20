"""Steps of changes on their way to the log and to the topic."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_perception import msg
from edge_perception.releases.event_log import EventLog

_FIELDS = tuple(msg.ModelVersion.get_fields_and_field_types())
_END_S = 5.0


@dataclass(frozen=True, kw_only=True)
class _Step:
    message: msg.ModelEvent
    stamp_ns: int
    told: Callable[[msg.ModelEvent], None] | None


class EventFeed:
    """Writes each event, then publishes it, in order, in a thread of its own.

    The disk decides how long that takes; frames and the nodes of a change do not wait for it.
    """

    def __init__(self, publish: Callable[[msg.ModelEvent], None], log: EventLog | None) -> None:
        """Start.

        Args:
            publish: takes the message; from the thread.
            log: the durable log; None: there is no store.
        """
        self._publish, self._log = publish, log
        self._steps: queue.SimpleQueue[_Step | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model_events", daemon=True)
        self._thread.start()

    def put(
        self,
        message: msg.ModelEvent,
        stamp_ns: int,
        *,
        told: Callable[[msg.ModelEvent], None] | None = None,
    ) -> None:
        """Take a step.

        Args:
            message: its sequence and where it could not be logged are filled in.
            stamp_ns: of the message.
            told: takes it too, once it is published.
        """
        self._steps.put(_Step(message=message, stamp_ns=stamp_ns, told=told))

    @property
    def problem(self) -> str:
        """Why the newest event is not in the durable log; empty: it is, or there is no log."""
        return self._log.problem if self._log is not None else ""

    def flush(self) -> None:
        """Return once all that was put is published."""
        done = threading.Event()
        self._steps.put(done)
        done.wait(_END_S)

    def close(self) -> None:
        """End after what is waiting."""
        self._steps.put(None)
        self._thread.join(_END_S)

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            if isinstance(step, threading.Event):
                step.set()
                continue
            message = step.message
            if self._log is not None:
                entry = self._log.add(
                    stamp_ns=step.stamp_ns,
                    event=message.event,
                    transaction_id=message.transaction_id,
                    error=message.error,
                    reason=message.reason,
                    models=_plain(message.models),
                )
                message.sequence, message.reason = entry.sequence, entry.reason
            self._publish(message)
            if step.told is not None:
                step.told(message)


def _plain(models: Sequence[msg.ModelVersion]) -> list[dict[str, Any]]:
    return [{name: getattr(model, name) for name in _FIELDS} for model in models]
