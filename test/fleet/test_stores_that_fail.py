"""A store that refuses, is slow, ends too early or answers nonsense, over HTTP and as S3 alike."""

from __future__ import annotations

import contextlib
import http.server
import threading

import pytest
from servers import reach_s3

from edge_perception.core.errors import LinkError, RegistryError
from edge_perception.fleet import places
from edge_perception.fleet.places import ObjectPlace, read


class Store:
    """Serves a folder as a web server does and as S3 does, and fails as it is told to.

    Attributes:
        fails: `how(handler, data)` by a part of a path; answers in place of the file.
        asked: paths, in their order.
        unlisted: says 403 of what is not there, as S3 does to who may not list.
    """

    def __init__(self, folder):
        self.fails, self.asked, self.unlisted = {}, [], False
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                store._get(self, folder)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def _get(self, handler, folder):
        path = handler.path.split("?")[0].removeprefix("/bucket")
        self.asked.append(path)
        file = folder / path.lstrip("/")
        data = file.read_bytes() if file.is_file() else None
        for part, how in self.fails.items():
            if part in path:
                with contextlib.suppress(OSError):  # the robot hung up
                    how(handler, data or b"")
                return
        if data is None:
            says(403 if self.unlisted else 404)(handler, b"")
            return
        says(200, data)(handler, data)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def says(code, body=b"<Error><Code>InternalError</Code></Error>", **headers):
    def how(handler, _data):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", '"x"')
        handler.send_header("Last-Modified", "Mon, 01 Jun 2026 00:00:00 GMT")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return how


def ends_early(handler, data):
    """Half of what was announced, and then the connection is gone."""
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.send_header("ETag", '"x"')
    handler.send_header("Last-Modified", "Mon, 01 Jun 2026 00:00:00 GMT")
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])


def half(handler, data):
    """A mirror that was copied while a file was written: whole to HTTP, and half of it."""
    says(200, data[: len(data) // 2])(handler, data)


@pytest.fixture
def store(owner):
    made = Store(owner.place.folder)
    yield made
    made.close()


@pytest.fixture(params=["http", "s3"])
def place(request, store, monkeypatch):
    monkeypatch.setattr(places, "_TIMEOUT_S", 2)
    url = f"http://127.0.0.1:{store.server.server_port}"
    if request.param == "http":
        return ObjectPlace(url)
    reach_s3(url, monkeypatch)
    return ObjectPlace("s3://bucket")


@pytest.fixture
def robot(owner, place):
    owner.add(owner.bundle("1.0.0", 1))
    robot = owner.robot(place=place)
    assert robot.update() == ["1.0.0"]
    owner.add(owner.bundle("1.1.0", 2))
    return robot


FAILURES = {
    "500": (says(500), LinkError),
    "503": (says(503), LinkError),
    "403": (says(403), LinkError),
    "401": (says(401), LinkError),
    "ends early": (ends_early, LinkError),
    "half": (half, (LinkError, RegistryError)),
    "portal": (says(200, b"<html>Welcome, please sign in"), RegistryError),
    "empty": (says(200, b""), RegistryError),
}


@pytest.mark.parametrize(
    "what", ["metadata/timestamp.json", ".snapshot.json", "targets/", "pieces/"]
)
def test_what_fails_is_said_and_the_next_poll_goes_on(store, robot, what):
    for how, kind in FAILURES.values():
        store.fails = {what: how}
        with pytest.raises(kind):
            robot.update()
        assert robot.versions() == ["1.0.0"]
    store.fails = {}
    assert robot.update() == ["1.1.0"]


def test_a_store_that_hangs_is_given_up_and_what_came_stays(store, robot):
    ended = threading.Event()
    document = robot.poll().offers[0]

    def hangs(handler, data):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", '"x"')
        handler.send_header("Last-Modified", "Mon, 01 Jun 2026 00:00:00 GMT")
        handler.end_headers()
        handler.wfile.write(data[:100])
        handler.wfile.flush()
        ended.wait(60)

    store.fails = {document.archive.pieces[2]: hangs}
    try:
        with pytest.raises(LinkError):
            robot.fetch(document)
    finally:
        ended.set()
    store.fails, store.asked = {}, []
    robot.fetch(document)
    assert len(store.asked) == len(document.archive.pieces) - 2


def test_who_may_not_list_is_told_403_of_what_is_not_there(store, owner, place):
    """Least rights on S3: the next root is asked for, and that there is none is said so."""
    store.unlisted = True
    owner.add(owner.bundle("1.0.0", 1))
    robot = owner.robot(place=place)
    assert robot.update() == ["1.0.0"]
    assert any(path.endswith("2.root.json") for path in store.asked)
    owner.add(owner.bundle("1.1.0", 2))
    assert robot.update() == ["1.1.0"]


def test_a_redirect_is_followed_and_a_circle_ends(store, robot, place):
    store.fails = {"timestamp": says(302, b"", Location="/metadata/timestamp.json")}
    with pytest.raises(LinkError):
        robot.poll()
    assert robot.versions() == ["1.0.0"]


def test_more_than_was_asked_for_is_not_read(store, place):
    store.fails = {"big": says(200, b"x" * 3_000_000)}
    with pytest.raises(RegistryError, match="at most 1000"):
        read(place, "big", 1000)
