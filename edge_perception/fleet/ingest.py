"""From the broker into the tables: each batch is answered once it is on the disk."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.fleet.batches import read_batch, told_twice, unpack
from edge_perception.fleet.mqtt import (
    ANSWERS,
    TELEMETRY,
    Broker,
    BrokerOptions,
    device_of,
    topic,
)
from edge_perception.fleet.outbox import answer
from edge_perception.fleet.tables import Tables

_MOST_WAITING = 1000  # batches; the rest is sent again by who sent it


class Ingest:
    """Takes payloads; any number of them may run beside each other."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.batches = self.readings = self.refused = 0
        self.aside: Counter[str] = Counter()  # what could not be read here, by the reason

    def take(self, device: str, payload: bytes, now_ns: int) -> bytes:
        """Keep a batch and return the answer to it; what cannot be read of it is kept aside.

        Args:
            device: whose topic it came on.
            payload: of a robot's outbox.
            now_ns: wall clock.

        Raises:
            FleetError: damaged, of another robot than it says, or the database fails.
        """
        plain = unpack(payload)
        batch, unread = read_batch(plain, device)
        if batch is not None:
            twice = self._tables.take(batch, now_ns)
            self.readings += len(batch.readings) - len(twice)
            if twice:
                unread = (*unread, told_twice(plain, twice))
        if unread:
            self._tables.put_aside(device, unread, now_ns)
            self.aside.update(item.reason for item in unread)
        self.batches += 1
        return answer(payload)

    def look_again(self) -> int:
        """Take what an older version put aside and this one can read; return how many readings.

        Raises:
            FleetError: the database fails.
        """
        count = 0
        for device, key, received_ns, body in self._tables.aside():
            batch, unread = read_batch(json.loads(body), device)
            if batch is None or unread or self._tables.take(batch, received_ns):
                continue
            self._tables.drop_aside(device, key)
            count += len(batch.readings)
        return count


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
        self._failing = ""  # what was said of the newest batch; said once, until one is taken
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
            known = set(self.ingest.aside)
            try:
                said = self.ingest.take(device, payload, self._now_ns())
                self._failing = ""
                self.broker.send(topic(device, ANSWERS), said)
            except LinkError as error:
                self._problem(str(error))
            except Exception as error:  # one batch must not end the service
                self.ingest.refused += 1
                kind = "" if isinstance(error, FleetError) else f"{type(error).__name__}: "
                if (failing := f"{kind}{error}") != self._failing:
                    self._failing = failing
                    self._problem(f"{device}: {failing}")
            for reason in set(self.ingest.aside) - known:  # the first of each
                self._problem(f"{device}: kept aside: {reason}")

    def close(self) -> None:
        """End after what waits."""
        self._waiting.put(None)
        self._worker.join(timeout=30.0)
        self.broker.close()
