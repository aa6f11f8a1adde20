"""A robot tells: what it says is put aside at once, and a thread brings it to disk and to the link.

Never in the way of a frame: `tell` is an append to a bounded queue, what does not fit is counted.
The thread works in pieces of about a tenth of a millisecond and sleeps between them. That it lets
go of the interpreter's lock, as SQLite does for every row, is not enough: it has it back before a
waiting thread has woken up.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError, LinkError
from edge_perception.fleet.mqtt import ANSWERS, TELEMETRY, Broker, BrokerOptions, topic
from edge_perception.fleet.outbox import Outbox
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.spool import Spool

_PERIOD_S = 0.5
_MOST_ASIDE = 10_000
_MOST_AT_ONCE = 500  # in one transaction
_BREATH_S = 0.0005  # ten times what a thread takes to wake up


class Telemetry:
    """Spool and link of one robot."""

    def __init__(
        self,
        device: str,
        path: Path,
        options: BrokerOptions,
        *,
        quota_bytes: int,
        steady_s: Callable[[], float],
    ) -> None:
        """Open the spool and start.

        Args:
            device: name of the robot.
            path: of the spool.
            options: of the broker.
            quota_bytes: room of the spool.
            steady_s: steady clock.

        Raises:
            ConfigurationError: the broker cannot be meant.
            FleetError: the spool cannot be written.
        """
        self._steady_s = steady_s
        self._aside: deque[tuple[Reading, Callable[[], None] | None]] = deque()
        self._answers: deque[bytes] = deque(maxlen=1000)
        self._broke = False
        self._wake, self._ended = threading.Event(), False
        self.lost = 0  # that nobody could write down
        self.problem = ""
        self.spool = Spool(path, quota_bytes, breathe=lambda: time.sleep(_BREATH_S))
        self._broker = Broker(
            options,
            name=device,
            subscribe=topic(device, ANSWERS),
            on_message=self._on_answer,
            on_break=self._on_break,
        )
        name = topic(device, TELEMETRY)
        self._outbox = Outbox(device, self.spool, lambda data: self._broker.send(name, data))
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def tell(self, reading: Reading, kept: Callable[[], None] | None = None) -> None:
        """Put a reading aside; any thread, never waits.

        Args:
            reading: what is told.
            kept: called once it is on the disk, in the thread of the spool.
        """
        if len(self._aside) >= _MOST_ASIDE:
            self.lost += 1
            return
        self._aside.append((reading, kept))

    def values(self) -> dict[str, Any]:
        """Return how it stands, for diagnostics."""
        return {
            "broker": "connected" if self._broker.connected else self._broker.problem,
            "telemetry_waiting": sum(self.spool.counts().values()) + len(self._aside),
            "telemetry_dropped": sum(self.spool.dropped().values()) + self.lost,
            "telemetry_thinned": self.spool.thinned,
            "telemetry_level": self._level(),
        }

    def _level(self) -> str:
        if self.spool.link_slow:
            return "one metric in ten: the link is slow"
        return "one metric in ten: the disk fills" if self.spool.thinning else "all"

    def close(self) -> None:
        """Bring what is aside to disk, and end."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout=10.0)
        self._broker.close()
        self.spool.close()

    def _on_answer(self, _topic: str, payload: bytes) -> None:
        self._answers.append(payload)
        self._wake.set()

    def _on_break(self) -> None:
        self._broke = True

    def _work(self) -> None:
        # Waking up it preempts no inference. Not a low priority: without a core while it holds the
        # interpreter's lock it would stop all others.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        while not self._ended:
            self._wake.wait(_PERIOD_S)
            self._wake.clear()
            try:
                self._step()
                self.problem = ""
            except LinkError:
                pass  # diagnostics tell what the broker says
            except FleetError as error:
                self.problem = str(error)
        try:
            self._keep()
        except FleetError as error:
            self.problem = str(error)

    def _step(self) -> None:
        self._keep()
        if self._broke:
            self._broke = False
            self._outbox.link_broke()
        while self._answers:
            self._outbox.on_answer(self._answers.popleft())
        if self._broker.connected:
            self._outbox.step(self._steady_s())
        self.spool.link_slow = self._outbox.slow

    def _keep(self) -> None:
        for _ in range(0, len(self._aside), _MOST_AT_ONCE):
            count = min(len(self._aside), _MOST_AT_ONCE)
            aside = [self._aside[number] for number in range(count)]
            self.spool.add(reading for reading, _ in aside)
            for _, kept in aside:
                self._aside.popleft()
                if kept is not None:
                    kept()
