"""From the broker into the tables: each batch is answered once it is on the disk."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.fleet.mqtt import (
    ANSWERS,
    TELEMETRY,
    Broker,
    BrokerOptions,
    device_of,
    topic,
)
from edge_perception.fleet.outbox import answer
from edge_perception.fleet.readings import unpack_batch
from edge_perception.fleet.tables import Tables

_MOST_WAITING = 1000  # batches; the rest is sent again by who sent it


class Ingest:
    """Takes payloads; any number of them may run beside each other."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.batches = self.readings = self.refused = 0

    def take(self, device: str, payload: bytes, now_ns: int) -> bytes:
        """Keep a batch and return the answer to it.

        Args:
            device: whose topic it came on.
            payload: of a robot's outbox.
            now_ns: wall clock.

        Raises:
            FleetError: damaged, of another robot than it says, or the database fails.
        """
        batch = unpack_batch(payload)
        if batch.device != device:
            raise FleetError(f"batch: expected one of {device}, got one of {batch.device}")
        self._tables.take(batch, now_ns)
        self.batches += 1
        self.readings += len(batch.readings)
        return answer(payload)


class IngestService:
    """An `Ingest` behind a broker; what comes waits in a queue, so that the link stays alive."""

    def __init__(
        self,
        options: BrokerOptions,
        tables: Tables,
        now_ns: Callable[[], int],
        *,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.ingest, self._now_ns, self._problem = Ingest(tables), now_ns, on_problem
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_MOST_WAITING)
        self._worker = threading.Thread(target=self._work, name="ingest", daemon=True)
        self._worker.start()
        self.broker = Broker(
            options,
            name="ingest",
            subscribe=f"$share/ingest/{topic('+', TELEMETRY)}",
            on_message=self._on_message,
        )

    def _on_message(self, name: str, payload: bytes) -> None:
        try:
            self._waiting.put_nowait((device_of(name), payload))
        except queue.Full:
            self._problem("more comes than the database takes")  # unanswered: sent again

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            device, payload = item
            try:
                said = self.ingest.take(device, payload, self._now_ns())
                self.broker.send(topic(device, ANSWERS), said)
            except LinkError as error:
                self._problem(str(error))
            except FleetError as error:
                self.ingest.refused += 1
                self._problem(f"{device}: {error}")

    def close(self) -> None:
        """End after what waits."""
        self._waiting.put(None)
        self._worker.join(timeout=30.0)
        self.broker.close()
