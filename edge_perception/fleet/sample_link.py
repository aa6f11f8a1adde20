"""The samples of one robot on their way to a storage, in a thread of its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_perception.core.errors import FleetError
from edge_perception.fleet.places import ObjectPlace
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.sample_ledger import SampleLedger
from edge_perception.fleet.schedule import Pace, PollSchedule, QuietHours
from edge_perception.fleet.uploading import Uploader

_PERIOD_S = 30.0


class SampleLink:
    """Looks for new recordings, uploads them, and lets the fleet know of each."""

    def __init__(
        self,
        device: str,
        folder: Path,
        url: str,
        ledger: Path,
        *,
        most_day_bytes: int,
        most_kb_s: int,
        quiet: QuietHours | None,
        tell: Callable[[Reading, Callable[[], None]], None] | None,
    ) -> None:
        """Start.

        Args:
            device: name of the robot.
            folder: where `record` writes.
            url: of the storage.
            ledger: path of what was uploaded before.
            most_day_bytes: sent in a day (UTC); 0: as much as there is.
            most_kb_s: sent per second on average; 0: as fast as it goes.
            quiet: when nothing is sent.
            tell: hands a reading to the telemetry, with what to call once it is kept; None: nobody
                is told.

        Raises:
            ConfigurationError: the storage cannot be meant.
            FleetError: the ledger cannot be written.
        """
        self._url, self._tell = url, tell
        self._ended = threading.Event()
        self._pace = Pace(most_kb_s, quiet, self._ended, time.time_ns)
        self._telling: set[str] = set()
        self._ledger = SampleLedger(ledger)
        self._uploader = Uploader(
            device,
            folder,
            ObjectPlace(url),
            self._ledger,
            most_day_bytes=most_day_bytes,
            paced=self._pace,
        )
        self.sent = self.waiting = 0
        self.problem = ""  # why the newest attempt failed; empty: it did not
        self._thread = threading.Thread(target=self._work, name="samples", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is half sent is gone on with by the next start."""
        self._ended.set()
        self._thread.join(timeout=30.0)

    def close(self) -> None:
        """Close the ledger, once nobody keeps a reading any more."""
        self.stop()
        if not self._thread.is_alive():
            self._ledger.close()

    def values(self) -> dict[str, Any]:
        """Return how it stands, for diagnostics."""
        return {
            "samples_uploaded": self.sent,
            "samples_waiting": self.waiting,
            "samples_problem": self.problem or "none",
        }

    def _work(self) -> None:
        schedule = PollSchedule(_PERIOD_S, random.Random())
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            if self._pace.is_quiet:
                wait_s = _PERIOD_S
                continue
            try:
                self._round()
                self.problem = ""
            except (FleetError, OSError) as error:
                self.problem = str(error)
            wait_s = schedule.next_s(failed=bool(self.problem))

    def _round(self) -> None:
        waiting = self._uploader.waiting()
        self.waiting = len(waiting)
        self._tell_all()
        for path in waiting:
            if self._uploader.upload(path, time.time_ns()) is not None:
                self.sent += 1
            self.waiting -= 1
            self._tell_all()

    def _tell_all(self) -> None:
        """Tell of what is uploaded and was not told; twice is once for who takes it."""
        if self._tell is None:
            return
        for sha256, facts in self._ledger.untold().items():
            if sha256 in self._telling:
                continue
            self._telling.add(sha256)
            data = {**facts, "sha256": sha256, "storage": self._url}
            reading = Reading(kind="sample", stamp_ns=time.time_ns(), data=data)
            self._tell(reading, lambda sha256=sha256: self._kept(sha256))  # type: ignore[misc]

    def _kept(self, sha256: str) -> None:
        self._ledger.told(sha256)
