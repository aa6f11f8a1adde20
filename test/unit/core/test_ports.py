"""A free port is one that the kernel gives to nobody by chance."""

import socket

import pytest

from edge_perception.core.ports import free_port


def test_a_port_lies_below_those_that_the_kernel_gives(tmp_path):
    given = tmp_path / "ip_local_port_range"
    given.write_text("20000\t60999\n")
    ports = {free_port(given) for _ in range(20)}
    assert len(ports) > 1
    assert all(10240 <= port < 20000 for port in ports)


def test_a_port_that_somebody_has_is_not_given(tmp_path, monkeypatch):
    given = tmp_path / "ip_local_port_range"
    given.write_text("20000\t60999\n")
    with socket.socket() as taken:
        port = free_port(given)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        other = free_port(given)
        assert other != port
        monkeypatch.setattr("random.sample", lambda *_: [port, other])
        assert free_port(given) == other


@pytest.mark.parametrize("text", ["1024\t65535\n", "nonsense\n", None])
def test_a_machine_that_leaves_none_or_says_nothing_gives_any(tmp_path, text):
    given = tmp_path / "ip_local_port_range"
    if text is not None:
        given.write_text(text)
    assert 1024 <= free_port(given) < 65536
