"""The protocol over HTTP, tensors as binary data behind the JSON.

Binary data: https://docs.nvidia.com/deeplearning/triton-inference-server, "Binary Tensor Data
Extension". A server without the extension is given and gives JSON numbers.
"""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.kserve.compression import GZIP, packed, unpacked
from edge_perception.backends.kserve.connecting import Addresses, TimedResponse, time_left
from edge_perception.backends.kserve.remote import ModelMetadata, RemoteError
from edge_perception.backends.kserve.shared_memory import Region, SharedTensors
from edge_perception.backends.kserve.tensors import DATATYPES, dtype_of, from_raw, raw
from edge_perception.core.errors import BackendError

_HEADER = "Inference-Header-Content-Length"
_BUSY = {429, 502, 503, 504}
_MOST_BYTES = 1 << 30


class HttpRemote:
    """A kept-alive connection to one model."""

    def __init__(
        self,
        url: str,
        model: str,
        version: str = "",
        *,
        shared_memory: str = "false",
        compressed: bool = False,
        admit: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Parse the address; nothing is sent yet.

        Args:
            url: of the server.
            model: its name there.
            version: its version there; empty: the newest.
            shared_memory: as of `KserveOptions`.
            compressed: questions and answers by gzip, where no shared memory is used.
            admit: called with the bytes of a question before it is sent; may raise.

        Raises:
            BackendError: the address is not `http(s)://host[:port]`.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BackendError(f"kserve: expected http://host:port or grpc://host:port, got {url}")
        secure = parts.scheme == "https"
        self._connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port or (443 if secure else 8000)
        self._base = parts.path.rstrip("/") + f"/v2/models/{urllib.parse.quote(model, safe='')}"
        if version:
            self._base += f"/versions/{urllib.parse.quote(version, safe='')}"
        self._root = parts.path.rstrip("/") + "/v2"
        self._addresses = Addresses(self._host, self._port)
        self._connection: http.client.HTTPConnection | None = None
        self._binary = True
        self._learnt = False  # what the server that answers now can do
        self._compressed, self._admit = compressed, admit
        self.answered = ""
        self.sent = self.received = 0
        self.shared = SharedTensors(shared_memory, self._host, self)

    def metadata(self, timeout_s: float) -> ModelMetadata:
        """Ask for the server's name and the model's signature."""
        end_s = time.monotonic() + timeout_s
        server = self._json("GET", self._root, end_s)
        model = self._json("GET", self._base, end_s)
        self.shared.offers(self._learn(server))
        try:
            return ModelMetadata(
                server=f"{server.get('name', 'server')} {server.get('version', '')}".strip(),
                version=str((model.get("versions") or [""])[-1]),
                inputs=tuple(_info(tensor) for tensor in model["inputs"]),
                outputs=tuple(_info(tensor) for tensor in model["outputs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BackendError(f"kserve: metadata without {error}: {model}") from error

    def stated(self, timeout_s: float) -> dict[str, str]:
        """Ask what the server states of the model, by name."""
        end_s = time.monotonic() + timeout_s
        server = self._json("GET", self._root, end_s)
        model = self._json("GET", self._base, end_s)
        self._learn(server)
        found = _texts(model.get("parameters")) or _texts(model.get("properties"))
        if not found and "model_configuration" in _listed(server.get("extensions")):
            found = _texts(self._json("GET", f"{self._base}/config", end_s).get("parameters"))
        return found

    def infer(
        self, inputs: Mapping[str, NDArray], outputs: tuple[TensorInfo, ...], timeout_s: float
    ) -> dict[str, NDArray]:
        """Run the model within the time."""
        self.sent = self.received = 0
        end_s = time.monotonic() + timeout_s

        def run(region: Region | None, left_s: float) -> dict[str, NDArray]:
            return self._infer(inputs, outputs, time.monotonic() + left_s, region)

        try:
            if not self._learnt:
                self.shared.offers(self.extensions(timeout_s))
            return self.shared.carry(inputs, outputs, max(end_s - time.monotonic(), 0.0), run)
        except BackendError:
            self._learnt = False  # who answers next may be another one, with other abilities
            raise

    def extensions(self, timeout_s: float) -> tuple[str, ...]:
        """Ask what the server can do beside the protocol.

        Raises:
            RemoteError: no answer in time.
            BackendError: it answers nonsense.
        """
        return self._learn(self._json("GET", self._root, time.monotonic() + timeout_s))

    def register(self, name: str, key: str, size: int, timeout_s: float) -> None:
        """Let the server map a region of shared memory.

        Raises:
            RemoteError: no answer in time.
            BackendError: it does not.
        """
        self._region(name, "register", timeout_s, {"key": key, "offset": 0, "byte_size": size})

    def unregister(self, name: str, timeout_s: float) -> None:
        """Let the server forget a region.

        Raises:
            BackendError: as `register`.
        """
        self._region(name, "unregister", timeout_s, {})

    def _region(self, name: str, verb: str, timeout_s: float, document: Mapping[str, Any]) -> None:
        path = f"{self._root}/systemsharedmemory/region/{name}/{verb}"
        headers = {"Content-Type": "application/json"}
        end_s = time.monotonic() + timeout_s
        self._exchange("POST", path, end_s, json.dumps(document).encode(), headers)

    def _learn(self, server: Mapping[str, Any]) -> tuple[str, ...]:
        extensions = tuple(_listed(server.get("extensions")))
        self._binary, self._learnt = "binary_tensor_data" in extensions, True
        return extensions

    def _infer(
        self,
        inputs: Mapping[str, NDArray],
        outputs: tuple[TensorInfo, ...],
        end_s: float,
        region: Region | None,
    ) -> dict[str, NDArray]:
        body, headers = self._request(inputs, outputs, region)
        if self._compressed and region is None:
            body = packed(body)
            headers |= {"Content-Encoding": GZIP, "Accept-Encoding": GZIP}
        self._admit(len(body))
        self.sent += len(body)
        data, told = self._exchange("POST", f"{self._base}/infer", end_s, body, headers)
        self.received += len(data)
        if told.get("Content-Encoding", "") == GZIP:
            data = memoryview(unpacked(data, _MOST_BYTES, "kserve: answer"))
        found, self.answered = _outputs(data, told.get(_HEADER), region)
        return found

    def close(self) -> None:
        """Give shared memory back, close the connection."""
        if self._connection is not None:
            self.shared.close()
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _request(
        self,
        inputs: Mapping[str, NDArray],
        outputs: tuple[TensorInfo, ...],
        region: Region | None,
    ) -> tuple[bytes, dict[str, str]]:
        tensors, blobs = [], []
        places = {} if region is None else region.places
        for name, array in inputs.items():
            tensor: dict[str, Any] = {
                "name": name,
                "shape": list(array.shape),
                "datatype": DATATYPES[array.dtype.name],
            }
            if name in places:
                tensor["parameters"] = places[name].parameters()
            elif self._binary:
                blobs.append(raw(array))
                tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                tensor["data"] = array.ravel().tolist()
            tensors.append(tensor)
        wanted: list[dict[str, Any]] = []
        for info in outputs:
            output: dict[str, Any] = {"name": info.name}
            if info.name in places:
                output["parameters"] = places[info.name].parameters()
            elif self._binary:
                output["parameters"] = {"binary_data": True}
            wanted.append(output)
        header = json.dumps({"inputs": tensors, "outputs": wanted}).encode()
        if not self._binary:
            return header, {"Content-Type": "application/json"}
        headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(header))}
        return b"".join((header, *blobs)), headers

    def _json(self, method: str, path: str, end_s: float) -> dict[str, Any]:
        data, _ = self._exchange(method, path, end_s, None, {})
        return _decoded(data)

    def _exchange(
        self, method: str, path: str, end_s: float, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[memoryview, http.client.HTTPMessage]:
        """Send and take the answer; whatever goes wrong, the next call opens a new connection."""
        try:
            connection = self._ready(end_s)
            try:
                connection.request(method, path, body, dict(headers))
            except (http.client.HTTPException, OSError):
                # The server may have closed a connection that was kept: once more on a new one.
                self._drop()
                connection = self._ready(end_s)
                connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            data = _body(response)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            raise RemoteError(
                f"kserve: {self._host}:{self._port}: {type(error).__name__}: {error}"
            ) from error
        if response.status == 200:
            return memoryview(data), response.headers
        text = f"kserve: {path}: HTTP {response.status}: {_reason(data)}"
        raise (RemoteError if response.status in _BUSY else BackendError)(text)

    def _ready(self, end_s: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None or connection.sock is None:  # never opened, or the server closed it
            connection = self._connect(self._host, self._port, timeout=time_left(end_s))
            # Its own way asks for the name, and tries each address for as long as all may take.
            opening: Any = connection
            opening._create_connection = lambda *_: self._addresses.connect(end_s)
            connection.connect()
            self._connection = connection
        connection.response_class = partial(TimedResponse, end_s=end_s)  # type: ignore[assignment]
        connection.sock.settimeout(time_left(end_s))
        return connection


def _body(response: http.client.HTTPResponse) -> bytes:
    length = response.length
    if length is not None and length > _MOST_BYTES:
        raise http.client.HTTPException(f"answer of {length} bytes > {_MOST_BYTES}")
    pieces, size = [], 0
    while piece := response.read1(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > _MOST_BYTES:
            raise http.client.HTTPException(f"answer of more than {_MOST_BYTES} bytes")
    response.close()  # what is read piece by piece is not noticed to be complete
    if length is not None and size != length:
        raise http.client.IncompleteRead(b"", length - size)
    return b"".join(pieces)


def _outputs(
    data: memoryview, header_length: str | None, region: Region | None = None
) -> tuple[dict[str, NDArray], str]:
    """Return the tensors of an answer, and the version that it says it is of."""
    try:
        split = int(header_length) if header_length else len(data)
    except ValueError as error:
        raise BackendError(f"kserve: {_HEADER}: expected a number, got {header_length}") from error
    header, rest = _decoded(data[:split]), data[split:]
    found = {}
    at = 0
    try:
        for tensor in header["outputs"]:
            name, datatype = tensor["name"], tensor["datatype"]
            shape = [int(size) for size in tensor["shape"]]
            # KServe's own server writes null where it has nothing to say.
            size = (tensor.get("parameters") or {}).get("binary_data_size")
            if region is not None and name in region.places and size is None:
                found[name] = region.get(name, datatype, shape)
                continue
            if size is None:
                found[name] = _from_numbers(name, datatype, shape, tensor["data"])
                continue
            end = at + int(size)
            if not at <= end <= len(rest):
                raise BackendError(
                    f"kserve: output '{name}': expected {size} bytes, got {len(rest) - at}"
                )
            found[name] = from_raw(name, datatype, shape, rest[at:end])
            at = end
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BackendError(f"kserve: answer cannot be read: {error!r}") from error
    return found, str(header.get("model_version") or "")


def _texts(parameters: Any) -> dict[str, str]:
    """Return parameters that are texts; Triton wraps each as `{"string_value": …}`."""
    if not isinstance(parameters, dict):
        return {}
    found = {
        str(name): value.get("string_value") if isinstance(value, dict) else value
        for name, value in parameters.items()
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _listed(names: Any) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list) else []


def _from_numbers(name: str, datatype: str, shape: list[int], numbers: Any) -> NDArray:
    values = np.asarray(numbers, dtype=dtype_of(name, datatype))
    if any(size < 0 for size in shape) or values.size != math.prod(shape):
        raise BackendError(f"kserve: output '{name}': {values.size} numbers for {tuple(shape)}")
    return values.reshape(shape)


def _decoded(data: memoryview) -> dict[str, Any]:
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise BackendError(f"kserve: expected JSON, got {bytes(data[:60])!r}") from error
    if not isinstance(document, dict):
        raise BackendError(f"kserve: expected a JSON object, got {type(document).__name__}")
    return document


def _reason(data: bytes) -> str:
    try:
        document = json.loads(data)
        return str(document.get("error", document))[:300] if isinstance(document, dict) else ""
    except (ValueError, RecursionError):
        return data[:100].decode("utf-8", "replace")


def _info(tensor: Mapping[str, Any]) -> TensorInfo:
    name = str(tensor["name"])
    shape = tuple(int(size) for size in tensor["shape"])
    return TensorInfo(name=name, dtype=dtype_of(name, str(tensor["datatype"])), shape=shape)
