"""A small server of the Open Inference Protocol over HTTP that runs one model.

For a server on site with one model, and for trying out what a vehicle does with one; Triton and
its like do more. It states of its model what it is told to, so that a vehicle can hold that against
its own.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import Backend, TensorInfo
from edge_perception.backends.kserve.compression import GZIP, packed, unpacked
from edge_perception.backends.kserve.tensors import DATATYPES, from_raw, raw
from edge_perception.core.errors import BackendError, EdgePerceptionError

_HEADER = "Inference-Header-Content-Length"
_MOST_BYTES = 1 << 28  # of a request


class ModelServer:
    """Serves one model until it is closed.

    Args:
        name: of the model.
        backend: runs it; one request at a time.
        stated: what is said of the model beside its signature, by name.
        host: address to listen on.
        port: to listen on; 0: any that is free.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        stated: Mapping[str, str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Listen.

        Raises:
            BackendError: the address cannot be had.
        """
        self._name, self._backend, self._stated = name, backend, dict(stated)
        self._info = backend.describe()
        self._lock = threading.Lock()
        self.requests = 0
        try:
            self._server = _Server((host, port), self._handler())
        except OSError as error:
            raise BackendError(f"kserve: {host}:{port}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_port}"

    def close(self) -> None:
        """Listen no more, and end the connections that are kept."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body are two writes: the second must not wait for the first's receipt.
            disable_nagle_algorithm = True
            timeout = 60.0

            def do_GET(self) -> None:
                outer._answer(self, lambda: outer._get(self.path))

            def do_POST(self) -> None:
                outer._answer(self, lambda: outer._infer(self))

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, handler: Any, work: Callable[[], tuple[bytes, int]]) -> None:
        status = 200
        try:
            body, header = work()
        except KeyError as error:
            body, header, status = json.dumps({"error": f"no {error}"}).encode(), 0, 404
        except (EdgePerceptionError, ValueError, TypeError, AttributeError) as error:
            body, header, status = json.dumps({"error": str(error)}).encode(), 0, 400
            handler.close_connection = True  # part of the request may be unread
        handler.send_response(status)
        if header and GZIP in handler.headers.get("Accept-Encoding", ""):
            body = packed(body)
            handler.send_header("Content-Encoding", GZIP)
        handler.send_header("Content-Length", str(len(body)))
        if header:
            handler.send_header(_HEADER, str(header))
        handler.end_headers()
        handler.wfile.write(body)

    def _get(self, path: str) -> tuple[bytes, int]:
        base = f"/v2/models/{self._name}"
        pages: dict[str, Any] = {
            "/v2": {
                "name": "edge_perception",
                "version": self._stated.get("release", ""),
                "extensions": ["binary_tensor_data"],
            },
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
            f"{base}/ready": {"name": self._name, "ready": True},
            base: {
                "name": self._name,
                "versions": ["1"],
                "platform": self._info.runtime,
                "inputs": [_told(info) for info in self._info.inputs],
                "outputs": [_told(info) for info in self._info.outputs],
                "parameters": self._stated,
            },
        }
        return json.dumps(pages[path.rstrip("/")]).encode(), 0

    def _infer(self, handler: Any) -> tuple[bytes, int]:
        if handler.path != f"/v2/models/{self._name}/infer":
            raise KeyError(handler.path)
        length = int(handler.headers.get("Content-Length", 0))
        if not 0 < length <= _MOST_BYTES:
            raise BackendError(f"expected 1 to {_MOST_BYTES} bytes, got {length}")
        data = memoryview(_plain(handler.rfile.read(length), handler.headers))
        split = int(handler.headers.get(_HEADER, len(data)))
        header = json.loads(bytes(data[:split]))
        inputs = _inputs(header, data[split:])
        with self._lock:
            self.requests += 1
            outputs = self._backend.infer(inputs)
        wanted = [str(item["name"]) for item in header.get("outputs", [])] or list(outputs)
        return self._body({name: outputs[name] for name in wanted})

    def _body(self, outputs: Mapping[str, NDArray]) -> tuple[bytes, int]:
        blobs = [raw(array) for array in outputs.values()]
        header = json.dumps(
            {
                "model_name": self._name,
                "model_version": "1",
                "outputs": [
                    {
                        "name": name,
                        "datatype": DATATYPES[array.dtype.name],
                        "shape": list(array.shape),
                        "parameters": {"binary_data_size": len(blob)},
                    }
                    for (name, array), blob in zip(outputs.items(), blobs, strict=True)
                ],
            }
        ).encode()
        return b"".join((header, *blobs)), len(header)


class _Server(ThreadingHTTPServer):
    """Knows its connections."""

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Let go of a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""

    def end_connections(self) -> None:
        """End what is open."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _plain(data: bytes, headers: Any) -> bytes:
    """Return a request as it was before it was compressed."""
    encoding = headers.get("Content-Encoding", "identity")
    if encoding == "identity":
        return data
    if encoding != GZIP:
        raise BackendError(f"Content-Encoding: expected {GZIP}, got '{encoding}'")
    return unpacked(data, _MOST_BYTES, "request")


def _inputs(header: Mapping[str, Any], rest: memoryview) -> dict[str, NDArray]:
    found, at = {}, 0
    for tensor in header["inputs"]:
        name, shape = str(tensor["name"]), [int(size) for size in tensor["shape"]]
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            raise BackendError(f"input '{name}': expected binary data")
        found[name] = from_raw(name, str(tensor["datatype"]), shape, rest[at : at + int(size)])
        at += int(size)
    return found


def _told(info: TensorInfo) -> dict[str, Any]:
    datatype = DATATYPES[np.dtype(info.dtype).name]
    return {"name": info.name, "datatype": datatype, "shape": list(info.shape)}
