"""The process that keeps what a robot tells on the disk, and sends it; see `telemetry`.

Its standard input is a socket: what is to be done, then readings, each a line of JSON. What it says
in return: how many of this teller's readings are on the disk, and how it stands. It ends where
nobody can tell any more, after the last reading is on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

from edge_perception.core.errors import EdgePerceptionError, FleetError, LinkError
from edge_perception.fleet.mqtt import ANSWERS, TELEMETRY, Broker, BrokerOptions, topic
from edge_perception.fleet.outbox import Outbox
from edge_perception.fleet.readings import Reading
from edge_perception.fleet.spool import Spool

_PERIOD_S = 0.5
_SOON_S, _MUCH = 0.01, 8192  # more is waiting where so many bytes came
_MOST_READ = 2**20  # bytes at once
_MOST_AT_ONCE = 500  # readings in one transaction
_NICE = 10
_LINE_S = 10.0  # until the first line is there


class TelemetryWork:
    """Spool and link of one robot, until nobody tells any more."""

    def __init__(self, link: socket.socket, setup: dict[str, Any], rest: bytes) -> None:
        """Open the spool and connect.

        Args:
            link: to the process that tells.
            setup: what it asked for.
            rest: what it said after that.

        Raises:
            ConfigurationError: the broker cannot be meant, or its certificates.
            FleetError: the spool cannot be written.
        """
        device = setup["device"]
        self._link, self._buffer = link, rest
        self._told: deque[Reading] = deque()
        self._answers: deque[bytes] = deque(maxlen=1000)
        self._broke = self._ended = False
        self._said: tuple[object, ...] = ()
        # Written by the thread of the client. Full is as good as written.
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._teller = setup["teller"]
        self._spool = Spool(Path(setup["path"]), setup["quota_bytes"])
        self._kept = self._spool.kept_of(self._teller)
        self._broker = Broker(
            BrokerOptions(**setup["broker"]),
            name=device,
            subscribe=topic(device, ANSWERS),
            on_message=self._on_answer,
            on_break=self._on_break,
        )
        name = topic(device, TELEMETRY)
        self._outbox = Outbox(device, self._spool, lambda data: self._broker.send(name, data))

    def run(self) -> None:
        """Work until nobody tells any more."""
        self._say("")
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._link, select.POLLRDHUP)  # not for each reading: they come together
        wait_s = _PERIOD_S
        while not self._ended:
            poll.poll(wait_s * 1e3)
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
            wait_s = _SOON_S if self._step() > _MUCH else _PERIOD_S
        if self._broker.connected:  # where it is not, to end would wait for an attempt
            self._broker.close()
        self._spool.close()

    def _on_answer(self, _topic: str, payload: bytes) -> None:
        self._answers.append(payload)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"a")

    def _on_break(self) -> None:
        self._broke = True

    def _step(self) -> int:
        """Bring what came to the disk and to the link; return how many bytes came."""
        problem, size = "", 0
        try:
            size = self._read()
            self._keep()
            if self._broke:
                self._broke = False
                self._outbox.link_broke()
            while self._answers:
                self._outbox.on_answer(self._answers.popleft())
            if self._broker.connected:
                self._outbox.step(time.monotonic())
        except LinkError:
            pass  # diagnostics tell what the broker says
        except FleetError as error:
            problem = str(error)
        self._spool.link_slow = self._outbox.slow
        self._say(problem)
        return size

    def _read(self) -> int:
        """Take what was told, unless what was told before is not on the disk yet."""
        if self._told and not self._is_last():
            return 0
        size = 0
        while size < _MOST_READ and not self._ended:
            try:
                data = self._link.recv(_MOST_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:  # it was killed before it had read what we said
                data = b""
            self._ended = not data
            self._buffer += data
            size += len(data)
        *lines, self._buffer = self._buffer.split(b"\n")
        self._told.extend(Reading(**json.loads(line)) for line in lines)
        return size

    def _is_last(self) -> bool:
        """Whether nobody can tell any more: what is there gets one more attempt."""
        poll = select.poll()
        poll.register(self._link, select.POLLRDHUP)
        return bool(poll.poll(0))

    def _keep(self) -> None:
        while self._told:
            readings = [self._told[n] for n in range(min(len(self._told), _MOST_AT_ONCE))]
            kept = self._kept + len(readings)
            self._spool.add(readings, teller=self._teller, kept=kept)
            self._kept = kept
            for _ in readings:
                self._told.popleft()

    def _say(self, problem: str) -> None:
        """Say how it stands, where that is new."""
        broker = "connected" if self._broker.connected else self._broker.problem
        outbox = self._outbox
        now = (self._kept, outbox.sent, outbox.under_way, self._level(), broker, problem)
        if now == self._said:
            return  # to count what waits takes long where that is much
        self._said = now
        say(
            self._link,
            {
                "kept": self._kept,
                "broker": broker,
                "waiting": sum(self._spool.counts().values()),
                "dropped": sum(self._spool.dropped().values()),
                "thinned": self._spool.thinned,
                "level": self._level(),
                "problem": problem,
            },
        )

    def _level(self) -> str:
        if self._spool.link_slow:
            return "one metric in ten: the link is slow"
        return "one metric in ten: the disk fills" if self._spool.thinning else "all"


def say(link: socket.socket, said: dict[str, Any]) -> None:
    """Say a line to the process that tells; where it has ended nobody hears it."""
    with contextlib.suppress(OSError):
        link.sendall(json.dumps(said).encode("ascii") + b"\n")


def main() -> NoReturn:
    """Do what the first line of the standard input asks for."""
    for number in (signal.SIGINT, signal.SIGTERM):  # to all of a group: who tells has more to say
        signal.signal(number, signal.SIG_IGN)
    # Takes what others leave; nobody waits for this interpreter's lock.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(_NICE)
    link = socket.socket(fileno=0)
    code = 0
    try:
        link.settimeout(_LINE_S)
        data = b""
        while b"\n" not in data:
            more = link.recv(65536)
            if not more:
                os._exit(0)
            data += more
        link.settimeout(None)
        first, _, rest = data.partition(b"\n")
        TelemetryWork(link, json.loads(first), rest).run()
    except Exception as error:
        code = 1
        text = str(error) if isinstance(error, EdgePerceptionError) else f"telemetry: {error!r}"
        say(link, {"problem": text})
    os._exit(code)  # no thread of the client holds up the end


if __name__ == "__main__":
    main()
