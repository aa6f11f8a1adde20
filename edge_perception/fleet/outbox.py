"""Sends what a spool holds: batches under way, answered, or sent again; never more than a few.

At least once from here; the other side knows each reading by robot, spool and number, so that
twice is once. A batch is gone from the spool only when the other side says that it is on its disk:
a broker that loses what it was given loses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from edge_perception.fleet.batches import pack_batch
from edge_perception.fleet.spool import Spool

_MOST_UNDER_WAY = 4
_LEAST_BYTES, _MOST_BYTES = 4096, 256 * 1024
_PATIENCE_S = (10.0, 300.0)
_SLOW_S = 30.0  # the third answer in a row that did not come


class Outbox:
    """One thread's; the link is a function."""

    def __init__(self, device: str, spool: Spool, send: Callable[[bytes], None]) -> None:
        """Prepare.

        Args:
            device: who sends.
            spool: what is sent.
            send: hands a payload to the link, or raises LinkError.
        """
        self._device, self._spool, self._send = device, spool, send
        self._under_way: dict[str, tuple[float, list[int]]] = {}
        self._batch_bytes = 16 * 1024
        self._patience_s = _PATIENCE_S[0]
        self.sent = self.repeated = 0

    @property
    def under_way(self) -> int:
        """Batches without an answer."""
        return len(self._under_way)

    @property
    def slow(self) -> bool:
        """Whether answers have come late, and not in time since as often."""
        return self._patience_s > _SLOW_S

    def step(self, now_s: float) -> bool:
        """Send what may be sent now; steady clock. Return whether anything was.

        Raises:
            LinkError: the link does not take it; all is kept.
        """
        late = [k for k, (at_s, _) in self._under_way.items() if now_s - at_s > self._patience_s]
        for key in late:
            del self._under_way[key]
        if late:  # a slow link gets less at once, and more time
            self.repeated += len(late)
            self._batch_bytes = max(self._batch_bytes // 2, _LEAST_BYTES)
            self._patience_s = min(self._patience_s * 2, _PATIENCE_S[1])
        any_sent = False
        while len(self._under_way) < _MOST_UNDER_WAY:
            busy = [n for _, numbers in self._under_way.values() for n in numbers]
            rows = self._spool.waiting(self._batch_bytes, but=busy)
            if not rows:
                break
            payload = pack_batch(
                self._device, self._spool.id, rows, sum(self._spool.dropped().values())
            )
            self._send(payload)
            self._under_way[batch_key(payload)] = (now_s, [number for number, _ in rows])
            self.sent += 1
            any_sent = True
        return any_sent

    def link_broke(self) -> None:
        """All that was under way is sent again."""
        self._under_way.clear()

    def on_answer(self, payload: bytes) -> None:
        """Take the answer of the other side: this batch is on its disk."""
        try:
            key = str(json.loads(payload)["batch"])
        except (ValueError, KeyError, TypeError):
            return  # no answer of ours
        found = self._under_way.pop(key, None)
        if found is None:
            return  # of a batch that was sent again: the second answer counts
        self._spool.taken(found[1])
        self._batch_bytes = min(self._batch_bytes * 2, _MOST_BYTES)
        self._patience_s = max(self._patience_s / 2, _PATIENCE_S[0])


def batch_key(payload: bytes) -> str:
    """Return what an answer calls a batch."""
    return hashlib.sha256(payload).hexdigest()[:24]


def answer(payload: bytes) -> bytes:
    """Return the answer to a batch that is on the disk."""
    return json.dumps({"batch": batch_key(payload)}).encode("ascii")
