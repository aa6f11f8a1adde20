"""Answers over gRPC whose numbers are listed by type, as the protocol lets a server choose."""

from concurrent import futures

import numpy as np
import pytest

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.kserve.session import open_remote
from edge_perception.core.errors import BackendError

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra `kserve`")

INPUTS = {"a": np.zeros(3, np.float32)}


class Lister:
    """Answers every question with the same tensors."""

    def __init__(self, outputs, **more):
        from edge_perception.backends.kserve.messages import message_class

        self.answer = message_class("ModelInferResponse")(outputs=outputs, **more)
        handler = grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer,
            request_deserializer=message_class("ModelInferRequest").FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        calls = grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService", {"ModelInfer": handler}
        )
        self.server = grpc.server(futures.ThreadPoolExecutor(1))
        self.server.add_generic_rpc_handlers([calls])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


def asked(outputs, **more):
    lister = Lister(outputs, **more)
    names = tuple(TensorInfo(name=o["name"], dtype="float32", shape=(-1,)) for o in outputs)
    remote = open_remote(f"grpc://127.0.0.1:{lister.port}", "any")
    try:
        return remote.infer(INPUTS, names, 20.0), remote.received
    finally:
        remote.close()
        lister.server.stop(None).wait()


def output(datatype, field, numbers, shape=(1, 3)):
    return {"name": "c", "datatype": datatype, "shape": shape, "contents": {field: numbers}}


@pytest.mark.parametrize(
    ("datatype", "field", "dtype", "numbers"),
    [
        ("FP32", "fp32_contents", "float32", [0.5, -2.0, 3.25]),
        ("FP64", "fp64_contents", "float64", [0.1, -2.0, 1e300]),
        ("INT8", "int_contents", "int8", [-128, 0, 127]),
        ("INT64", "int64_contents", "int64", [-(1 << 40), 0, 5]),
        ("UINT8", "uint_contents", "uint8", [0, 1, 255]),
        ("UINT64", "uint64_contents", "uint64", [0, 1, (1 << 64) - 1]),
        ("BOOL", "bool_contents", "bool", [True, False, True]),
    ],
)
def test_listed_numbers_are_the_tensor(datatype, field, dtype, numbers):
    answer, received = asked([output(datatype, field, numbers)])
    assert answer["c"].dtype == dtype
    assert answer["c"].shape == (1, 3)
    assert answer["c"].tolist() == [numbers]
    assert received >= answer["c"].nbytes // 8  # whole numbers are short on the wire


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (output("FP32", "fp32_contents", [1.0, 2.0]), {}, "3 numbers in fp32_contents; got 2"),
        (output("FP32", "fp64_contents", [1.0, 2.0, 3.0]), {}, "in fp32_contents; got 0"),
        (output("INT8", "int_contents", [1, 2, 300]), {}, "300 is no INT8"),
        (output("FP16", "fp32_contents", [1.0, 2.0, 3.0]), {}, "FP16 expects raw contents"),
        (output("FP32", "fp32_contents", [1.0], (-1,)), {}, "expects raw contents"),
        ({"name": "c", "datatype": "FP32", "shape": [3]}, {}, "expects 12 bytes, got 0"),
        (
            output("FP32", "fp32_contents", [1.0, 2.0, 3.0]),
            {"raw_output_contents": [b"", b""]},
            "raw contents of 1 outputs, got 2",
        ),
    ],
)
def test_what_is_no_tensor_is_refused(given, more, message):
    with pytest.raises(BackendError, match=message):
        asked([given], **more)


def test_raw_contents_go_first():
    raw = np.array([4, 5, 6], "<f4").tobytes()
    given = output("FP32", "fp32_contents", [1.0, 2.0, 3.0], (3,))
    answer, received = asked([given], raw_output_contents=[raw])
    assert answer["c"].tolist() == [4, 5, 6]
    assert received == 12
