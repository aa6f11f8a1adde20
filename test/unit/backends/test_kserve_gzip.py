"""Compressed questions and answers over HTTP: smaller, the same numbers, and never a bomb."""

from __future__ import annotations

import gzip
import http.client
import zlib

import numpy as np
import pytest
from kserve_server import Server

from edge_perception.backends.contract import BackendInfo, TensorInfo
from edge_perception.backends.kserve import server as served
from edge_perception.backends.kserve.server import ModelServer
from edge_perception.backends.kserve.session import open_remote
from edge_perception.core.errors import BackendError

SIZE = 50_000
A, B, C = (TensorInfo(name=name, dtype="float32", shape=(SIZE,)) for name in "abc")
INPUTS = {"a": np.arange(SIZE, dtype=np.float32) % 7, "b": np.ones(SIZE, np.float32)}
WHOLE = 4 * SIZE


class Adder:
    def describe(self):
        return BackendInfo(
            runtime="adder", runtime_version="1", provider="", inputs=(A, B), outputs=(C,)
        )

    def infer(self, inputs):
        return {"c": inputs["a"] + inputs["b"]}


@pytest.fixture
def adder():
    made = ModelServer("adder", Adder(), {})
    yield made
    made.close()


def asked(url, **options):
    remote = open_remote(url, "adder", **options)
    try:
        (answer,) = remote.infer(INPUTS, (C,), 20.0).values()
        return answer, remote.sent, remote.received
    finally:
        remote.close()


@pytest.mark.parametrize("compressed", [True, False])
def test_what_goes_over_the_link_is_told_and_the_numbers_are_the_same(adder, compressed):
    admitted = []
    answer, sent, received = asked(adder.url, compressed=compressed, admit=admitted.append)
    np.testing.assert_array_equal(answer, INPUTS["a"] + 1)
    assert admitted == [sent]
    assert (sent < 0.1 * 2 * WHOLE) == (received < 0.1 * WHOLE) == compressed
    assert compressed or (sent > 2 * WHOLE and received > WHOLE)


def test_a_question_that_is_not_admitted_is_not_sent(adder):
    def refuse(size):
        raise ZeroDivisionError(size)

    with pytest.raises(ZeroDivisionError):
        asked(adder.url, admit=refuse)
    assert adder.requests == 0


def test_a_server_that_answers_as_it_is_is_understood():
    server = Server(metadata={})
    try:
        server.answer = lambda handler, inputs: server.tensor(handler, inputs["a"] + inputs["b"])
        answer, sent, received = asked(server.url, compressed=True)
        np.testing.assert_array_equal(answer, INPUTS["a"] + 1)
        assert sent == server.lengths[-1] < received
    finally:
        server.close()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"no gzip at all", "answer is no gzip"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], "cut off"),
        (gzip.compress(b" " * 2_000_000, mtime=0), "more than 1000000 bytes"),
    ],
)
def test_answers_that_are_none(monkeypatch, body, text):
    monkeypatch.setattr("edge_perception.backends.kserve.http._MOST_BYTES", 1_000_000)
    server = Server(metadata={})
    try:
        server.answer = lambda handler, _: server.send(handler, body, Content_Encoding="gzip")
        with pytest.raises(BackendError, match=text):
            asked(server.url, compressed=True)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("body", "encoding", "text"),
    [
        (zlib.compress(b"{}"), "deflate", "Content-Encoding: expected gzip, got 'deflate'"),
        (b"{}", "gzip", "expected gzip"),
        (gzip.compress(b" " * 2_000_000, mtime=0), "gzip", "at most 1000000 bytes"),
    ],
)
def test_questions_that_are_none(adder, monkeypatch, body, encoding, text):
    monkeypatch.setattr(served, "_MOST_BYTES", 1_000_000)
    connection = http.client.HTTPConnection(adder.url.removeprefix("http://"), timeout=20)
    headers = {"Content-Encoding": encoding}
    try:
        connection.request("POST", "/v2/models/adder/infer", body, headers)
        response = connection.getresponse()
        assert response.status == 400
        assert text in response.read().decode()
    finally:
        connection.close()
