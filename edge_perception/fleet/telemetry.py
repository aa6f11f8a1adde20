"""A robot tells: what it says goes at once to a process of its own, which keeps and sends it.

Never in the way of a frame. Disk, compression and link are the other process's, with an
interpreter's lock of its own; here a reading is encoded and handed to a socket, which never waits.
What was handed over is safe from any end of this process. What the other one had not on the disk
when it ended is handed to its successor, which knows by number what it has: none is there twice.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_perception.core.child_process import start_helper
from edge_perception.fleet.mqtt import BrokerOptions, check_broker
from edge_perception.fleet.readings import Reading, encode_reading

_MODULE = "edge_perception.fleet.telemetry_process"
_MOST_ASIDE = 10_000  # readings, while the disk or the other process does not take them
_AT_ONCE = 200  # of them in one piece
_AGAIN_S = (1.0, 60.0)
_CLOSE_S, _END_S = 10.0, 0.5  # with readings to bring to the disk, and without

_Kept = Callable[[], None]


class Telemetry:
    """Hands readings of one robot to the process that keeps and sends them."""

    def __init__(
        self, device: str, path: Path, options: BrokerOptions, *, quota_bytes: int
    ) -> None:
        """Start the other process; what it meets, such as a full disk, is in `problem`.

        Args:
            device: name of the robot.
            path: of the spool.
            options: of the broker.
            quota_bytes: room of the spool.

        Raises:
            ConfigurationError: the broker cannot be meant.
        """
        check_broker(options)
        setup = {
            "device": device,
            "path": str(path.absolute()),
            "broker": asdict(options),
            "quota_bytes": quota_bytes,
            "teller": secrets.token_hex(8),  # its numbers begin with 1
        }
        self._setup = json.dumps(setup).encode("ascii") + b"\n"
        self._lock = threading.Lock()
        self._aside: deque[tuple[bytes, _Kept | None]] = deque()  # not known to be on the disk
        self._kept = 0  # number of the last one that is
        self._unsent: deque[bytes] = deque()
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._taken = False  # the other process has said what it has
        self._said: dict[str, Any] = {"broker": "not connected yet", "level": "all"}
        self._ended = threading.Event()
        self.lost = 0  # that nobody could write down
        self.problem = ""
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def tell(self, reading: Reading, kept: _Kept | None = None) -> None:
        """Hand a reading over; any thread, never waits.

        Args:
            reading: what is told.
            kept: called once it is on the disk, in a thread of this object.
        """
        line = encode_reading(reading) + b"\n"
        with self._lock:
            if len(self._aside) >= _MOST_ASIDE:
                self.lost += 1
                return
            self._aside.append((line, kept))
            if self._taken:
                self._unsent.append(line)
                self._push()

    def values(self) -> dict[str, Any]:
        """Return how it stands, for diagnostics."""
        said = self._said
        return {
            "broker": said["broker"],
            "telemetry_waiting": said.get("waiting", 0) + len(self._aside),
            "telemetry_dropped": said.get("dropped", 0) + self.lost,
            "telemetry_thinned": said.get("thinned", 0),
            "telemetry_level": said["level"],
        }

    def close(self) -> None:
        """Bring what was told to the disk, and end; safe more than once."""
        self._ended.set()
        with self._lock:
            self._push()
        self._thread.join(timeout=_CLOSE_S if self._aside else _END_S)
        if self._process is not None and self._thread.is_alive():
            self._process.kill()  # a spool stands any end
            self._thread.join(timeout=_END_S)

    # -- the other process --

    def _work(self) -> None:
        # What comes back wakes this thread twice a second; it preempts no inference. Not a low
        # priority: without a core while it holds the interpreter's lock it would stop all others.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        wait_s = 0.0
        while True:
            last = self._ended.wait(wait_s)
            if last and not self._aside:
                return
            before = self._kept
            try:
                ended = f"its process ended with {self._serve()}"
            except OSError as error:
                ended = f"its process cannot start: {error}"
            if last:
                return
            if not self._ended.is_set():
                self.problem = self.problem or ended
            wait_s = _AGAIN_S[0] if self._kept > before else min(2 * wait_s + 1.0, _AGAIN_S[1])

    def _serve(self) -> int:
        """Start a process, take what it says until it ends, and return its exit code."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                # It ends by itself, once nobody can tell any more.
                self._process = process = start_helper(
                    _MODULE, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                )
            with self._lock:
                self._link, self._unsent = ours, deque([self._setup])
                self._push()
            try:
                with ours.makefile("rb") as lines:
                    for line in lines:
                        self._on_said(json.loads(line))
            except (OSError, ValueError):
                pass  # it was killed, in the middle of a line or before it had read all
            finally:
                with self._lock:
                    self._link, self._taken = None, False
        return process.wait()

    def _on_said(self, said: dict[str, Any]) -> None:
        self.problem = said["problem"]
        if "kept" not in said:
            return  # it cannot begin
        with self._lock:
            known = [self._aside.popleft()[1] for _ in range(said["kept"] - self._kept)]
            self._kept, self._said = said["kept"], said
            if not self._taken:
                self._taken = True
                self._unsent.extend(line for line, _ in self._aside)
            self._push()
        for kept in known:
            if kept is not None:
                kept()

    def _push(self) -> None:
        """Send what the socket takes now; the lock is held."""
        if self._link is None:
            return
        try:
            while self._unsent:
                # A socket takes many short pieces less well than few long ones.
                several = list(itertools.islice(self._unsent, _AT_ONCE))
                data = b"".join(several)
                sent = self._link.send(data, socket.MSG_DONTWAIT)
                for _ in several:
                    self._unsent.popleft()
                if sent < len(data):
                    self._unsent.appendleft(data[sent:])
            if self._ended.is_set() and (self._taken or not self._aside):
                self._link.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass  # it is asked again when the other one has said something
        except OSError:
            self._taken = False  # it has ended: the next one is handed what is aside
