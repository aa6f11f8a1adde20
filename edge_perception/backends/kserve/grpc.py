"""The protocol over gRPC, tensors as raw contents, answers listed too. Needs the package grpcio."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.kserve.compression import packed_bytes
from edge_perception.backends.kserve.remote import ModelMetadata, RemoteError
from edge_perception.backends.kserve.shared_memory import Place, Region, SharedTensors
from edge_perception.backends.kserve.tensors import DATATYPES, dtype_of, from_listed, from_raw, raw
from edge_perception.core.errors import BackendError
from edge_perception.core.extras import extra

_SERVICE = "/inference.GRPCInferenceService"
_MOST_BYTES = 1 << 30


class UnsupportedCallError(BackendError):
    """The server has no such call."""


class GrpcRemote:
    """A channel to one model."""

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
        """Open the channel; nothing is sent yet.

        Args:
            url: of the server.
            model: its name there.
            version: its version there; empty: the newest.
            shared_memory: as of `KserveOptions`.
            compressed: questions by gzip, where no shared memory is used; answers where the
                server compresses them.
            admit: called with the bytes of a question before it is sent; may raise.

        Raises:
            MissingExtraError: grpcio is not installed.
            BackendError: the address is not `grpc://host:port`.
        """
        with extra("kserve"):
            import grpc
        from edge_perception.backends.kserve import messages

        parts = urllib.parse.urlsplit(url)
        if not parts.hostname or not parts.port:
            raise BackendError(f"kserve: expected grpc://host:port, got {url}")
        self._grpc, self._message = grpc, messages.message_class
        self._model, self._version = model, version
        self._compressed, self._admit = compressed, admit
        self.answered = ""
        self.sent = self.received = 0
        options = [
            ("grpc.max_receive_message_length", _MOST_BYTES),
            ("grpc.max_send_message_length", _MOST_BYTES),
            # After a server's restart the next frames find it again, not those of a minute later.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.enable_http_proxy", 0),
        ]
        self._channel = grpc.insecure_channel(f"{parts.hostname}:{parts.port}", options=options)
        self._calls: dict[str, Any] = {}
        self.shared = SharedTensors(shared_memory, parts.hostname, self)

    def metadata(self, timeout_s: float) -> ModelMetadata:
        """Ask for the server's name and the model's signature."""
        server = self._call("ServerMetadata", {}, timeout_s)
        model = self._call(
            "ModelMetadata", {"name": self._model, "version": self._version}, timeout_s
        )
        self.shared.offers(tuple(server.extensions))
        return ModelMetadata(
            server=f"{server.name} {server.version}".strip(),
            version=model.versions[-1] if model.versions else "",
            inputs=tuple(_info(tensor) for tensor in model.inputs),
            outputs=tuple(_info(tensor) for tensor in model.outputs),
        )

    def stated(self, timeout_s: float) -> dict[str, str]:
        """Ask what the server states of the model, by name."""
        which = {"name": self._model, "version": self._version}
        end_s = time.monotonic() + timeout_s
        found = _texts(self._call("ModelMetadata", which, timeout_s).properties)
        if not found:
            left_s = max(end_s - time.monotonic(), 0.001)
            with contextlib.suppress(UnsupportedCallError):  # Triton's extension
                config = self._call("ModelConfig", which, left_s).config
                found = {entry.key: entry.value.string_value for entry in config.parameters}
        return found

    def infer(
        self, inputs: Mapping[str, NDArray], outputs: tuple[TensorInfo, ...], timeout_s: float
    ) -> dict[str, NDArray]:
        """Run the model within the time."""
        self.sent = self.received = 0

        def run(region: Region | None, left_s: float) -> dict[str, NDArray]:
            return self._infer(inputs, outputs, left_s, region)

        return self.shared.carry(inputs, outputs, timeout_s, run)

    def extensions(self, timeout_s: float) -> tuple[str, ...]:
        """Ask what the server can do beside the protocol.

        Raises:
            RemoteError: no answer in time.
        """
        return tuple(self._call("ServerMetadata", {}, timeout_s).extensions)

    def register(self, name: str, key: str, size: int, timeout_s: float) -> None:
        """Let the server map a region of shared memory.

        Raises:
            RemoteError: no answer in time.
            BackendError: it does not.
        """
        fields = {"name": name, "key": key, "byte_size": size}
        self._call("SystemSharedMemoryRegister", fields, timeout_s)

    def unregister(self, name: str, timeout_s: float) -> None:
        """Let the server forget a region.

        Raises:
            BackendError: as `register`.
        """
        self._call("SystemSharedMemoryUnregister", {"name": name}, timeout_s)

    def _infer(
        self,
        inputs: Mapping[str, NDArray],
        outputs: tuple[TensorInfo, ...],
        timeout_s: float,
        region: Region | None,
    ) -> dict[str, NDArray]:
        end_s = time.monotonic() + timeout_s
        places = {} if region is None else region.places
        contents = [raw(array) for name, array in inputs.items() if name not in places]
        compressed = self._compressed and region is None
        # gRPC compresses, and does not tell how far; what is counted is never less than it sends.
        size = packed_bytes(contents) if compressed else sum(map(len, contents))
        self._admit(size)
        self.sent += size
        request = {
            "model_name": self._model,
            "model_version": self._version,
            "inputs": [
                {
                    "name": name,
                    "datatype": DATATYPES[array.dtype.name],
                    "shape": array.shape,
                    "parameters": _parameters(places.get(name)),
                }
                for name, array in inputs.items()
            ],
            "outputs": [
                {"name": info.name, "parameters": _parameters(places.get(info.name))}
                for info in outputs
            ],
            "raw_input_contents": contents,
        }
        left_s = max(end_s - time.monotonic(), 0.001)
        answer = self._call("ModelInfer", request, left_s, compressed=compressed)
        self.answered = answer.model_version
        data = list(answer.raw_output_contents) or [b""] * len(answer.outputs)
        if len(data) != len(answer.outputs):
            raise BackendError(
                f"kserve: expected raw contents of {len(answer.outputs)} outputs, got {len(data)}"
            )
        # Whether the answer came compressed is not told either: it counts as it is now.
        self.received += sum(map(len, data)) or answer.ByteSize()
        return {
            tensor.name: region.get(tensor.name, tensor.datatype, list(tensor.shape))
            if region is not None and tensor.name in places and not content
            else _tensor(tensor, content)
            for tensor, content in zip(answer.outputs, data, strict=True)
        }

    def close(self) -> None:
        """Give shared memory back, close the channel."""
        self.shared.close()
        self._channel.close()

    def _call(
        self, name: str, fields: Mapping[str, Any], timeout_s: float, *, compressed: bool = False
    ) -> Any:
        call = self._calls.get(name)
        if call is None:
            call = self._channel.unary_unary(
                f"{_SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=self._message(f"{name}Response").FromString,
            )
            self._calls[name] = call
        try:
            how = self._grpc.Compression.Gzip if compressed else None
            message = self._message(f"{name}Request")(**fields)
            return call(message, timeout=timeout_s, compression=how)
        except self._grpc.RpcError as error:
            code = error.code()
            text = f"kserve: {name}: {code.name}: {error.details()}"
            if code == self._grpc.StatusCode.UNIMPLEMENTED:
                raise UnsupportedCallError(text) from error
            busy = self._grpc.StatusCode
            again = (busy.UNAVAILABLE, busy.DEADLINE_EXCEEDED, busy.RESOURCE_EXHAUSTED)
            raise (RemoteError if code in again else BackendError)(text) from error


def _tensor(tensor: Any, content: bytes) -> NDArray:
    """Return an output, raw as it is asked for, or listed: a server may choose."""
    if content or not tensor.HasField("contents"):
        return from_raw(tensor.name, tensor.datatype, tensor.shape, memoryview(content))
    return from_listed(tensor.name, tensor.datatype, tensor.shape, tensor.contents)


def _texts(entries: Any) -> dict[str, str]:
    return {entry.key: entry.value.decode("utf-8", "replace") for entry in entries}


def _parameters(place: Place | None) -> list[dict[str, Any]]:
    said = {} if place is None else place.parameters()
    return [
        {
            "key": key,
            "value": {"string_param" if isinstance(value, str) else "int64_param": value},
        }
        for key, value in said.items()
    ]


def _info(tensor: Any) -> TensorInfo:
    shape = tuple(int(size) for size in tensor.shape)
    return TensorInfo(name=tensor.name, dtype=dtype_of(tensor.name, tensor.datatype), shape=shape)
