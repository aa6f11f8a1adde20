"""Serves the metrics over HTTP."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.extras import extra

with extra("observe"):
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.exposition import choose_encoder

_OPEN = "application/openmetrics-text"
_REQUEST_S = 5.0  # a client that says nothing does not hold a thread for longer


class Write(Protocol):
    """What writes the metrics."""

    def __call__(self, *, is_open: bool) -> bytes:
        """Return the text, as OpenMetrics or as Prometheus has it."""


class PortError(EdgePerceptionError):
    """The metrics cannot be served at an address; the text says which and why."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False  # two that share a port would be scraped in turns

    def handle_error(self, *_: Any) -> None:
        """A client that went away is not worth a stack trace."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_S

    def log_message(self, *_: Any) -> None:
        """Say nothing of every scrape."""


class MetricsServer:
    """One listening socket and its thread, from the construction to `close`."""

    def __init__(self, write: Write, address: str, port: int) -> None:
        """Listen.

        Args:
            write: returns the metrics, as OpenMetrics where `is_open`.
            address: to listen at.
            port: 0: one that is free.

        Raises:
            PortError: the port is in use, or the address is none of this machine's.
        """
        kind = _Server6 if checked_address(address).version == 6 else _Server
        try:
            self._server = make_server(
                address,
                port,
                application(write),
                server_class=kind,
                handler_class=_Handler,
            )
        except OSError as error:
            raise PortError(f"{where(address, port)}: cannot listen: {error.strerror}") from error
        self.port = int(self._server.server_port)  # the one chosen, where 0 was asked for
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics_http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def application(write: Write) -> Callable[..., list[bytes]]:
    """Return what answers: the metrics by `write`, anything else as the library does."""
    other = make_wsgi_app(CollectorRegistry())

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or environ["PATH_INFO"] == "/favicon.ico":
            return list(other(environ, start))
        _, kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        text = write(is_open=kind.startswith(_OPEN))
        headers = [("Content-Type", kind)]
        # To compress costs more than to write, and saves nothing where no network is between.
        if _accepts_gzip(environ) and not _is_of_this_machine(environ):
            text = gzip.compress(text, compresslevel=1)
            headers.append(("Content-Encoding", "gzip"))
        start("200 OK", headers)
        return [text]

    return answer


def _accepts_gzip(environ: dict[str, Any]) -> bool:
    accepted = environ.get("HTTP_ACCEPT_ENCODING", "").split(",")
    return any(item.split(";")[0].strip().lower() == "gzip" for item in accepted)


def _is_of_this_machine(environ: dict[str, Any]) -> bool:
    try:
        return is_loopback(environ.get("REMOTE_ADDR", ""))
    except ConfigurationError:  # an address with a zone: of a network
        return False


def where(address: str, port: int) -> str:
    """Return an address as in a URL."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it."""
    return checked_address(address).is_loopback


def checked_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        raise ConfigurationError(
            f"address: expected an IP address such as 127.0.0.1, got '{address}'"
        ) from None
