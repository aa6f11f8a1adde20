"""Connections over HTTP of which every part ends by a moment: name, connect, headers and body.

A time limit of a socket holds for one read. What drips, and a name server that is silent, would
hold a frame up for as long as they like.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from typing import Any

_FRESH = 0.5  # of the time a name may take where its last addresses are known


def time_left(end_s: float) -> float:
    """Return the seconds until a moment of the steady clock.

    Raises:
        TimeoutError: it has passed.
    """
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("deadline passed")
    return left_s


class Addresses:
    """Where a host is. A thread asks: a resolver has no deadline, and may take half a minute."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._known: list[Any] = []
        self._asking: threading.Thread | None = None
        self._failed: OSError | None = None

    def connect(self, end_s: float) -> socket.socket:
        """Return a connected socket.

        Raises:
            OSError: the name is not known, nobody answers there, or not in time.
        """
        found = self._find(end_s)
        for number, (family, kind, protocol, _, address) in enumerate(found, 1):
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(time_left(end_s) / (len(found) - number + 1))
                opened.connect(address)
                opened.settimeout(time_left(end_s))
                return opened
            except OSError:
                opened.close()
                if number == len(found):
                    raise
        raise OSError(f"{self._host} has no address")

    def _find(self, end_s: float) -> list[Any]:
        with contextlib.suppress(socket.gaierror):  # a name: asked for below
            return self._ask(socket.AI_NUMERICHOST)
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._learn, name="resolver", daemon=True)
            self._asking.start()
        self._asking.join(time_left(end_s) * (_FRESH if self._known else 1.0))
        if self._known:
            return self._known
        if self._asking.is_alive():
            raise TimeoutError(f"no name server told in time where {self._host} is")
        raise self._failed or OSError(f"{self._host} has no address")

    def _learn(self) -> None:
        try:
            self._known = self._ask(0)
        except OSError as error:
            self._failed = error

    def _ask(self, flags: int) -> list[Any]:
        return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)


class TimedResponse(http.client.HTTPResponse):
    """An answer that is read until a moment, however it comes."""

    def __init__(self, sock: socket.socket, *args: Any, end_s: float, **named: Any) -> None:
        """Take a socket; arguments as of the base class, and the moment (steady clock)."""
        super().__init__(sock, *args, **named)
        self.fp.close()
        # Opened anew, as the socket lives as long as a file of it: an answer after which the
        # connection closes is read when the connection is closed already.
        self.fp = io.BufferedReader(_Timed(sock, end_s))


class _Timed(io.RawIOBase):
    """The bytes of a socket."""

    def __init__(self, sock: socket.socket, end_s: float) -> None:
        self._sock, self._end_s = sock, end_s
        self._file: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Whether it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Take what is there, or wait for it until the moment."""
        self._sock.settimeout(time_left(self._end_s))
        taken: int | None = self._file.readinto(buffer)
        return taken

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()
