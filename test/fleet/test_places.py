"""The same registry on a plain HTTP server and on an S3 server, and the commands."""

from __future__ import annotations

import functools
import http.server
import json
import threading

import pytest
from fleet_rig import TEAM, Owner

from edge_perception.cli.main import main
from edge_perception.core.errors import LinkError, RegistryError
from edge_perception.fleet.places import ObjectPlace, read


@pytest.fixture
def served(owner):
    """The folder of the registry behind the HTTP server of Python's standard library."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(owner.place.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_robots_take_from_a_plain_http_server(owner, served):
    owner.add(owner.bundle())
    place = ObjectPlace(f"http://127.0.0.1:{served.server_port}")
    robot = owner.robot(place=place)
    assert robot.update() == ["1.0.0"]
    assert robot.poll().offers == ()
    with pytest.raises(FileNotFoundError):
        read(place, "metadata/77.root.json", 100)
    with pytest.raises(RegistryError, match="at most"):
        read(place, "metadata/1.root.json", 100)


def test_a_server_that_is_gone_is_a_link():
    with pytest.raises(LinkError, match="timestamp"):
        ObjectPlace("http://127.0.0.1:9").read_if_changed("metadata/timestamp.json", "", 100)


def test_a_registry_on_s3(tmp_path, s3):
    owner = Owner(tmp_path, url=s3)
    base = owner.bundle("1.0.0", 1)
    owner.add(base)
    robot = owner.robot()
    assert robot.update() == ["1.0.0"]
    first, second = owner.registry(), owner.registry()
    first.publish()
    with pytest.raises(RegistryError, match="meanwhile"):
        second.publish()
    owner.add(owner.bundle("1.1.0", 2), bases=[base])
    assert robot.update() == ["1.1.0"]


def test_the_commands(tmp_path, owner, capsys):
    place, keys = str(tmp_path / "r2"), str(tmp_path / "k2")
    old, new = owner.bundle("1.0.0", 1), owner.bundle("1.1.0", 2, changelog="hears sirens")
    (tmp_path / "measured.json").write_text('{"orin": {"latency_ms": 3.5}}')
    assert main(["registry", "init", place, "--keys", keys, "--root-keys", "2"]) == 0
    signed = ["--keys", keys]
    assert main(["registry", "add", place, str(old.path), *signed, "--channel", "stable"]) == 0
    measured = ["--measured", str(tmp_path / "measured.json")]
    delta = ["--delta-from", str(old.path)]
    assert main(["registry", "add", place, str(new.path), *signed, *delta, *measured]) == 0
    assert main(["registry", "promote", place, "tagger", "1.1.0", "--to", "beta", *signed]) == 0
    assert main(["registry", "retire", place, "tagger", "1.0.0", *signed]) == 0
    assert main(["registry", "keys", place, *signed, "--rotate", "timestamp"]) == 0
    assert main(["registry", "keys", place, *signed, "--add-team", "maps"]) == 0
    assert main(["registry", "refresh", place, *signed]) == 0
    capsys.readouterr()
    assert main(["registry", "status", place, "--json", "--search", "sirens"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [r["version"] for r in status["release"]] == ["1.1.0"]
    assert status["release"][0]["channels"] == "dev,beta"
    assert status["teams"] == "maps, perception"
    # Wrong use is one line.
    assert main(["registry", "status", str(tmp_path / "none")]) == 1
    assert "no registry" in capsys.readouterr().err
    assert main(["registry", "init", place, "--keys", keys]) == 1
    assert main(["registry", "promote", place, "tagger", "7.0.0", "--to", "beta", *signed]) == 1
    assert "known: tagger 1.0.0, tagger 1.1.0" in capsys.readouterr().err
    assert TEAM == "perception"
