"""What servers state of a model beside its signature, over both transports."""

from __future__ import annotations

from concurrent import futures

import pytest
from kserve_server import METADATA, Server

from edge_perception.backends.kserve.session import open_remote
from edge_perception.core.errors import BackendError

STATED = {"release": "0.5.0", "feature_space": "s"}


@pytest.mark.parametrize(
    "field",
    [
        {"parameters": {**STATED, "number": 3}},
        {"properties": STATED},
        {"parameters": {}, "properties": STATED},
        {"parameters": {name: {"string_value": value} for name, value in STATED.items()}},
    ],
)
def test_texts_of_the_metadata_are_told_over_http(field):
    server = Server(metadata={**METADATA, **field})
    remote = open_remote(server.url, "adder")
    try:
        assert remote.stated(10.0) == STATED
    finally:
        remote.close()
        server.close()


@pytest.mark.parametrize("field", [{}, {"parameters": [1]}, {"parameters": "x"}])
def test_a_server_that_states_nothing_states_nothing(field):
    server = Server(metadata={**METADATA, **field})
    remote = open_remote(server.url, "adder")
    try:
        assert remote.stated(10.0) == {}
    finally:
        remote.close()
        server.close()


class _Calls:
    """gRPC calls by name; others are not implemented."""

    def __init__(self, grpc, answers):
        self._grpc, self._answers = grpc, answers

    def service(self, details):
        name = details.method.rpartition("/")[2]
        if name not in self._answers:
            return None
        return self._grpc.unary_unary_rpc_method_handler(
            lambda _request, _context: self._answers[name].SerializeToString()
        )


@pytest.mark.parametrize("way", ["properties", "configuration", "nothing"])
def test_texts_are_told_over_grpc(way):
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra `kserve`")
    from edge_perception.backends.kserve.messages import message_class

    answers = {"ModelMetadata": message_class("ModelMetadataResponse")(name="adder")}
    if way == "properties":
        for name, value in STATED.items():
            answers["ModelMetadata"].properties.add(key=name, value=value.encode())
    if way == "configuration":
        answers["ModelConfig"] = message_class("ModelConfigResponse")()
        for name, value in STATED.items():
            entry = answers["ModelConfig"].config.parameters.add(key=name)
            entry.value.string_value = value
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((_Calls(grpc, answers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    remote = open_remote(f"grpc://127.0.0.1:{port}", "adder")
    try:
        assert remote.stated(10.0) == ({} if way == "nothing" else STATED)
        with pytest.raises(BackendError, match="UNIMPLEMENTED"):
            remote.metadata(10.0)  # there is no ServerMetadata here
    finally:
        remote.close()
        server.stop(None)
