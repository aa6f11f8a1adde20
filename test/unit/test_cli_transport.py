"""Commands that move messages of sensors start themselves with the nodes' transport."""

import os

import pytest

from edge_perception.cli import main as cli
from edge_perception.running import transport


@pytest.fixture
def started(monkeypatch):
    """What would be started anew: command line and environment."""
    calls = []

    def execve(_path, command, environment):
        calls.append((command, environment))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    for name in (*transport.CHOICES, *transport.ALLOCATOR, "EDGE_PERCEPTION_TRANSPORT_TAKEN"):
        monkeypatch.delenv(name, raising=False)
    return calls


@pytest.mark.parametrize("command", ["play", "doctor", "record"])
def test_they_take_what_run_takes(started, monkeypatch, command):
    arguments = [command, *(["bag.mcap"] if command == "play" else [])]
    monkeypatch.setattr(cli.sys, "argv", ["edge-perception", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    ((line, environment),) = started
    assert line[1:] == ["-m", "edge_perception.cli.main", *arguments]
    wanted = transport.transport_environment(dict(os.environ))
    assert wanted
    assert {name: environment[name] for name in wanted} == wanted


def test_once(started, monkeypatch):
    monkeypatch.setattr(cli.sys, "argv", ["edge-perception", "play", "/nowhere.mcap"])
    monkeypatch.setenv("EDGE_PERCEPTION_TRANSPORT_TAKEN", "1")
    assert cli.main() == 2
    assert started == []


def test_not_where_it_is_called_from_python(started):
    assert cli.main(["play", "/nowhere.mcap"]) == 2
    assert started == []
