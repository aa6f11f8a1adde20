"""The kserve backend against a server that does wrong: slow, dripping, nonsense, other shapes."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from kserve_server import METADATA, Server
from onnx_models import node, save

from edge_perception.backends import BackendOptions, backends
from edge_perception.backends.kserve.breaker import Breaker, BreakerLimits
from edge_perception.core.errors import BackendError, EdgePerceptionError

A, B = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
INPUTS = {"a": A, "b": B}


@pytest.fixture(params=[True, False], ids=["binary", "json"])
def server(request):
    server = Server(binary=request.param)
    yield server
    server.close()


@pytest.fixture
def connect(tmp_path, server):
    """Connect; the local model subtracts, so that one sees who answered."""
    path = save(
        tmp_path / "model.onnx", [node("Sub", ["a", "b"], "c")], {"a": (2,), "b": (2,)}, {"c": (2,)}
    )
    opened = []

    def run(url=None, *, strict=False, precision="fp32", others=None, **options):
        values = {"model": "adder", "deadline_ms": "10000", **options}
        session = backends()["kserve"].load(
            path,
            BackendOptions(
                provider=tuple((url or server.url).split(",")),
                provider_options={"kserve": values, **(others or {})},
                precision=precision,
                strict=strict,
            ),
        )
        opened.append(session)
        return session

    yield run
    for session in opened:
        session.close()


def test_the_server_answers(connect, server):
    session = connect()
    session.warm_up(1)
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    info = session.describe()
    assert info.provider == f"{server.url} adder"
    assert info.runtime_version == "small 1"
    assert not info.notes


def test_the_answer_is_the_callers_own(connect):
    session = connect()
    first = session.infer(INPUTS)["c"]
    session.infer({"a": A + 1, "b": B})
    first += 1  # may be written
    np.testing.assert_array_equal(first, A + B + 1)


def wrong_answers(server):
    """By name: what the server does in the place of a right answer."""

    def never(handler, _):
        gate.wait(30)

    def drips(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not gate.wait(0.01):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def piece_by_piece(handler, head, piece):
        handler.wfile.write(head)
        while not gate.wait(0.01):
            handler.wfile.write(piece)

    def never_ends(head, piece):
        return lambda handler, _: piece_by_piece(handler, head, piece)

    ok = b"HTTP/1.1 200 OK\r\n"
    gate = threading.Event()
    return gate, {
        "drips its headers": never_ends(ok, b"X"),
        "drips and closes": never_ends(
            ok + b"Connection: close\r\nContent-Length: 1000000\r\n\r\n", b" "
        ),
        "drips as HTTP 1.0": never_ends(b"HTTP/1.0 200 OK\r\n\r\n", b" "),
        "drips the size of a chunk": never_ends(ok + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        "says to go on": never_ends(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "lists in lists": lambda handler, _: server.send(handler, b"[" * 200_000),
        "error in lists": lambda handler, _: server.send(handler, b"[" * 200_000, status=500),
        "never": never,
        "drips": drips,
        "closes": lambda handler, _: handler.connection.close(),
        "overloaded": lambda handler, _: server.reply(handler, {"error": "busy"}, 503),
        "refuses": lambda handler, _: server.reply(handler, {"error": "no"}, 400),
        "no JSON": lambda handler, _: server.send(handler, b"<html>"),
        "a list": lambda handler, _: server.reply(handler, [1]),
        "nothing": lambda handler, _: server.reply(handler, {}),
        "another output": lambda handler, _: server.reply(
            handler, {"outputs": [{"name": "d", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}
        ),
        "another type": lambda handler, _: server.reply(
            handler, {"outputs": [{"name": "c", "datatype": "BYTES", "shape": [2], "data": [1, 2]}]}
        ),
        "parameters that are none": lambda handler, _: server.reply(
            handler,
            {
                "outputs": [
                    {"name": "c", "datatype": "FP32", "shape": [2], "data": [1, 2]}
                    | {"parameters": 5}
                ]
            },
        ),
        "another shape": lambda handler, _: server.tensor(handler, np.zeros(3, np.float32)),
        "another size": lambda handler, _: server.tensor(
            handler, np.zeros(2, np.float32), said=4000
        ),
        "negative shape": lambda handler, _: server.reply(
            handler,
            {"outputs": [{"name": "c", "datatype": "FP32", "shape": [-2], "data": [1, 2]}]},
        ),
        "a header that is no number": lambda handler, _: server.send(
            handler, b"{}", Inference_Header_Content_Length="many"
        ),
    }


@pytest.mark.parametrize("name", wrong_answers(None)[1])
def test_whatever_the_server_does_the_local_model_answers_and_it_is_said(connect, server, name):
    if name == "another size" and not server.binary:
        pytest.skip("only binary tensors say their size")
    # Of what never ends it is waited for; a right answer is in time on a busy machine, too.
    never_ending = name in ("never", "says to go on") or name.startswith("drips")
    deadline_ms = "2000" if never_ending else "20000"
    session = connect(deadline_ms=deadline_ms, failures="1000")
    gate, answers = wrong_answers(server)
    server.answer = answers[name]
    try:
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
        assert not gate.is_set()  # it was not waited for
        info = session.describe()
        assert info.notes
        assert info.provider == "CPUExecutionProvider"
        server.answer = server.right
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
        assert not session.describe().notes
    finally:
        gate.set()


def test_a_failure_is_tried_again_within_the_deadline(connect, server):
    session = connect(retries="2", fallback="none")

    def once(handler, inputs):
        server.answer = server.right
        server.reply(handler, {"error": "busy"}, 503)

    server.answer = once
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert server.requests == 2


def test_a_refusal_is_not_tried_again(connect, server):
    session = connect(retries="2", fallback="none")
    server.answer = lambda handler, _: server.reply(handler, {"error": "no such tensor"}, 400)
    with pytest.raises(BackendError, match="no such tensor"):
        session.infer(INPUTS)
    assert server.requests == 1


def test_an_open_breaker_sends_nothing(connect, server):
    session = connect(failures="2", open_s="3600", retries="0")
    server.answer = lambda handler, _: server.reply(handler, {"error": "busy"}, 503)
    for _ in range(5):
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
    assert server.requests == 2


def test_a_server_that_is_not_there_at_the_start(connect, server):
    nobody = "http://127.0.0.1:9"
    session = connect(nobody)
    assert session.describe().notes
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        connect(nobody, strict=True)
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        connect(nobody, fallback="none")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_server_that_answers_nonsense_at_the_start(connect, server, status):
    """One that is being set up must not keep a node from starting; strict: it is said and left."""
    right, server.reply = (
        server.reply,
        lambda handler, _: server.send(handler, b"<html>", status=status),
    )
    session = connect()
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
    assert f"HTTP {status}" in session.describe().notes[0]
    with pytest.raises(BackendError, match=f"HTTP {status}"):
        connect(strict=True)
    server.reply = right
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert session.describe().runtime_version == "small 1"


def test_what_comes_later_is_held_against_the_model_too(connect, server):
    right, server.metadata = server.metadata, []
    session = connect(failures="1000")
    server.metadata = {**METADATA, "outputs": [{"name": "c", "datatype": "FP32", "shape": [3]}]}
    for _ in range(2):
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
        assert "the server has (3,) float32" in session.describe().notes[0]
    assert not server.requests
    server.metadata = right
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)


@pytest.mark.parametrize("shared_memory", ["auto", "false"])
def test_a_server_that_comes_back_with_other_abilities(connect, server, shared_memory):
    """Binary tensors are no part of the protocol itself: who has them is asked again."""
    session = connect(shared_memory=shared_memory, failures="1000", retries="0")
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    server.binary = not server.binary
    server.answer = lambda handler, _: server.reply(handler, {"error": "what is this?"}, 400)
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
    server.answer = server.right
    before = len(server.lengths)
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert len(server.lengths) == before + 1  # understood at once
    assert server.said_binary == server.binary


def test_a_silent_name_server_holds_no_frame_up(connect, server, monkeypatch):
    session = connect(server.url.replace("127.0.0.1", "localhost"), deadline_ms="2000")
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    answers, really = threading.Event(), socket.getaddrinfo

    def silent(*args, flags=0, **named):
        if not flags & socket.AI_NUMERICHOST:
            answers.wait(60)
        return really(*args, flags=flags, **named)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    server.answer = lambda handler, _: handler.connection.close()
    try:
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)
        server.answer = server.right  # by the address that was known before
        np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
        nowhere = connect("http://robot.invalid:8000", deadline_ms="100")
        np.testing.assert_array_equal(nowhere.infer(INPUTS)["c"], A - B)
        assert "no name server told in time" in nowhere.describe().notes[0]
        assert not answers.is_set()
    finally:
        answers.set()


def test_a_precision_is_the_servers(connect, server):
    assert "precision bf16 was asked for" in connect(precision="bf16").describe().notes[0]
    with pytest.raises(BackendError, match="strict_provider: precision fp16"):
        connect(precision="fp16", strict=True)


def test_one_server_and_its_options_only(connect, server):
    with pytest.raises(BackendError, match=r"expected one server in provider.*kserve\.fallback"):
        connect(f"{server.url},cpu")
    with pytest.raises(BackendError, match=r"expected kserve\.…, got 'cuda\.…'"):
        connect(others={"cuda": {"device_id": "0"}})


def test_another_signature_is_refused_at_the_start(connect, server):
    server.metadata = {**METADATA, "outputs": [{"name": "c", "datatype": "FP32", "shape": [3]}]}
    with pytest.raises(BackendError, match=r"output 'c' expects \(2,\) float32, the server has"):
        connect()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"deadlin_ms": "5"}, "did you mean deadline_ms"),
        ({"deadline_ms": "soon"}, "expected float"),
        ({"retries": "99"}, "0 to 10"),
        ({"fallback": "tensorrrt"}, "tensorrrt"),
        ({"fallback": "kserve"}, "expected a runtime of this machine"),
    ],
)
def test_options_that_are_none(connect, options, text):
    with pytest.raises(EdgePerceptionError, match=text):
        connect(**options)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://h", "http://", "grpc://host"])
def test_addresses_that_are_none(connect, url):
    if url.startswith("grpc"):
        pytest.importorskip("grpc", reason="grpc is not installed: the extra `kserve`")
    with pytest.raises(BackendError, match=r"expected (http|grpc)|grpc"):
        connect(url)


def test_the_breaker_doubles_its_pause_and_closes_at_the_first_answer():
    breaker = Breaker(BreakerLimits(failures=2, open_s=1.0, most_open_s=3.0))
    breaker.failed(0.0)
    assert breaker.closed
    breaker.failed(0.0)
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
    breaker.failed(1.0)
    assert not breaker.allows(2.9)
    assert breaker.allows(3.0)
    breaker.failed(3.0)  # at most 3 s
    assert breaker.allows(6.0)
    breaker.succeeded()
    assert breaker.closed
    breaker.failed(6.0)
    assert breaker.allows(6.0)


def regions_left():
    return {path.name for path in Path("/dev/shm").glob("edge_perception_*")}


def test_tensors_lie_in_memory_that_the_server_maps_and_nothing_stays_behind(connect, server):
    before = regions_left()
    server.shares = True
    session = connect()
    for factor in (1, 2, 3):
        inputs = {"a": A * factor, "b": B}
        np.testing.assert_array_equal(session.infer(inputs)["c"], A * factor + B)
    assert session.describe().provider.endswith("shared memory")
    assert server.told == ["register"]
    assert regions_left() <= before  # unlinked as soon as the server has it
    session._remote.close()
    assert server.told == ["register", "unregister"]
    assert server.regions == {}


def test_a_region_that_a_late_server_may_still_write_is_not_used_again(connect, server):
    server.shares = True
    # A right answer is in time on a busy machine, too.
    session = connect(deadline_ms="3000", retries="0", failures="100")
    session.infer(INPUTS)
    go, right = threading.Event(), server.answer

    def late(handler, inputs):
        go.wait(20)
        right(handler, {"a": inputs["a"] * 100, "b": inputs["b"]})

    server.answer = late
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A - B)  # the local model
    server.answer = right
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    go.set()
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert server.told == ["register", "register", "unregister"]


def test_a_server_that_lost_the_region_gets_the_frame_by_itself_and_a_new_region(connect, server):
    server.shares = True
    session = connect()
    session.infer(INPUTS)
    right = server.answer

    def refuses(handler, inputs):
        server.answer = right
        server.reply(handler, {"error": "Unable to find shared memory region"}, status=400)

    server.answer = refuses
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert not session.describe().notes
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert server.told == ["register", "unregister", "register"]


@pytest.mark.parametrize(("asked", "noted"), [("true", True), ("auto", False), ("false", False)])
def test_a_server_without_shared_memory_is_sent_tensors(connect, server, asked, noted):
    session = connect(shared_memory=asked)
    np.testing.assert_array_equal(session.infer(INPUTS)["c"], A + B)
    assert ("shared_memory: the server does not offer it" in session.describe().notes) == noted


def test_null_is_nothing_to_say(connect, server):
    """KServe's own server writes it for the parameters of an output."""
    output = {"name": "c", "datatype": "FP32", "shape": [2], "parameters": None, "data": [5, 6]}
    server.answer = lambda handler, _: server.reply(handler, {"outputs": [output]})
    np.testing.assert_array_equal(connect().infer(INPUTS)["c"], [5, 6])
