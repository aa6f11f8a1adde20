"""A port for a server that is a process of its own and cannot say which one it took."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10240  # below are ports with a use of their own
_TRIES = 100


def free_port(range_file: Path = _RANGE) -> int:
    """Return a TCP port of loopback that nobody listens at.

    It lies below the ports that the kernel gives to connections and to who asks for any (ip(7)):
    until the server listens, another process takes it only where it asks for this very one.

    Args:
        range_file: where the kernel says which ports it gives.
    """
    try:
        below = int(range_file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        below = 32768
    chosen = random.sample(range(_FIRST, below), _TRIES) if below - _FIRST > _TRIES else []
    for port in (*chosen, 0):  # 0: the kernel chooses
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody has it
            return int(found.getsockname()[1])
    raise OSError("no port of loopback is free")
