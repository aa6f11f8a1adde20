"""Compressed questions over gRPC: the same numbers, and never more than what is counted."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent import futures

import numpy as np
import pytest

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.kserve.remote import RemoteError
from edge_perception.backends.kserve.session import open_remote
from edge_perception.backends.kserve.tensors import raw
from edge_perception.core.errors import BackendError

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra `kserve`")

SIZE = 50_000
WHOLE = 4 * SIZE
C = TensorInfo(name="c", dtype="float32", shape=(SIZE,))
INPUTS = {"a": np.arange(SIZE, dtype=np.float32) % 7}
_FRAMING = 3000  # bytes that gRPC itself says on a new connection, at most


class Link:
    """Forwards a port and counts the bytes of each direction."""

    def __init__(self, port: int) -> None:
        self.sent = self.received = 0
        self._port, self._sockets = port, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [near, far]
                for pair in ((near, far, "sent"), (far, near, "received")):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            each.close()


class Doubler:
    """A gRPC server whose answer is twice its question, compressed if it is told so."""

    def __init__(self) -> None:
        from edge_perception.backends.kserve.messages import message_class

        self.compresses, self.asked = False, 0
        self._answer = message_class("ModelInferResponse")
        handler = grpc.unary_unary_rpc_method_handler(
            self._infer,
            request_deserializer=message_class("ModelInferRequest").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        service = "inference.GRPCInferenceService"
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {"ModelInfer": handler})]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _infer(self, request, context):
        self.asked += 1
        if self.compresses:
            context.set_compression(grpc.Compression.Gzip)
        (a,) = (np.frombuffer(data, "<f4") for data in request.raw_input_contents)
        tensor = {"name": "c", "datatype": "FP32", "shape": [SIZE]}
        return self._answer(outputs=[tensor], raw_output_contents=[raw(2 * a)])

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def doubler():
    made = Doubler()
    yield made
    made.close()


def asked(port, timeout_s=20.0, **options):
    remote = open_remote(f"grpc://127.0.0.1:{port}", "doubler", **options)
    try:
        (answer,) = remote.infer(INPUTS, (C,), timeout_s).values()
        return answer, remote.sent, remote.received
    finally:
        remote.close()


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("questions", [True, False])
def test_what_is_counted_is_never_less_than_what_went_over_the_link(doubler, questions, answers):
    doubler.compresses, link, admitted = answers, Link(doubler.port), []
    try:
        answer, sent, received = asked(link.port, compressed=questions, admit=admitted.append)
    finally:
        link.close()
    np.testing.assert_array_equal(answer, 2 * INPUTS["a"])
    assert admitted == [sent]
    assert link.sent <= sent + _FRAMING
    assert link.received <= received + _FRAMING
    assert (link.sent < 0.1 * WHOLE) == (sent < 0.1 * WHOLE) == questions
    assert (link.received < 0.1 * WHOLE) == answers
    assert received == WHOLE  # gRPC does not say that it came compressed


def test_a_question_that_is_not_admitted_is_not_sent(doubler):
    def refuse(size):
        raise ZeroDivisionError(size)

    with pytest.raises(ZeroDivisionError):
        asked(doubler.port, compressed=True, admit=refuse)
    assert doubler.asked == 0


def test_nobody_answers():
    with pytest.raises(RemoteError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"):
        asked(9, timeout_s=1.0, compressed=True)
    with pytest.raises(BackendError, match="grpc://host:port"):
        open_remote("grpc://nowhere", "doubler", compressed=True)
