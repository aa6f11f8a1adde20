"""What a machine tells from outside ROS: domains in use, room for shared memory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from edge_perception.running.transport import (
    CHOICES,
    PROFILE,
    PROFILE_VARIABLES,
    SHARED_MEMORY,
    SHARED_MEMORY_NEEDED_BYTES,
)
from edge_perception.running.transport_size import Sizes

# RTPS 2.5, 9.6.1.1: port = 7400 + 250 x domain + offset
_PORT_BASE, _DOMAIN_GAIN, _MAX_DOMAIN = 7400, 250, 232


def domains_in_use(*, exclude: int) -> tuple[int, ...]:
    """Return ROS domains with a participant on this machine, from the UDP ports that are bound.

    Args:
        exclude: a domain to leave out.
    """
    found = {
        domain
        for domain, offset in _ports()
        # Discovery: multicast at offset 0, unicast at 10 and every second port after it.
        if (offset == 0 or 10 <= offset < 130) and domain != exclude
    }
    return tuple(sorted(found))


def participants(domain_id: int) -> int:
    """Return how many participants of a domain this machine has; 0: it does not tell."""
    ports = _ports()
    return len({o for d, o in ports if d == domain_id and 10 <= o < 130 and o % 2 == 0})


def _ports() -> set[tuple[int, int]]:
    """Return the bound ports as domains and offsets in them; none where the system has no table."""
    path = Path("/proc/net/udp")
    table = path.read_text() if path.exists() else ""
    ports = re.findall(r"^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4})", table, re.M)
    split = {divmod(int(port, 16) - _PORT_BASE, _DOMAIN_GAIN) for port in ports}
    return {(domain, offset) for domain, offset in split if 0 <= domain <= _MAX_DOMAIN}


def shared_memory_problem(
    environment: Mapping[str, str] | None = None, *, size: tuple[int, int] | None = None
) -> str:
    """Say when large messages have no room; empty: they have, or another transport was chosen.

    Args:
        environment: None: of this process.
        size: bytes of the shared memory, all and free; None: read them.
    """
    environment = os.environ if environment is None else environment
    if _chose_another(environment):
        return ""
    if size is None:
        try:
            status = os.statvfs(SHARED_MEMORY)
        except OSError:
            return f"{SHARED_MEMORY} is not there: large messages may be lost"
        size = (status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)
    total, free = size
    if total < SHARED_MEMORY_NEEDED_BYTES:
        return (
            f"{SHARED_MEMORY} has {total >> 20} MB, {SHARED_MEMORY_NEEDED_BYTES >> 20} MB needed: "
            "large messages may be lost"
        )
    if free < Sizes.segment:
        return (
            f"{SHARED_MEMORY} is full: {free >> 20} MB free of {total >> 20} MB, a process needs "
            f"{Sizes.segment >> 20} MB: large messages may be lost"
        )
    return ""


def _chose_another(environment: Mapping[str, str]) -> bool:
    rmw = environment.get("RMW_IMPLEMENTATION", "")
    if rmw and not rmw.startswith("rmw_fastrtps"):
        return True
    ours = Path(PROFILE).stem
    return any(
        value and not (name in PROFILE_VARIABLES and Path(value).stem.startswith(ours))
        for name in CHOICES
        if (value := environment.get(name))
    )
