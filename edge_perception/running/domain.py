"""A ROS domain of its own for a run, so that several on one machine do not hear each other."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from edge_perception.core.errors import ConfigurationError

# Ports of ROS's own domain_coordinator: runs of other packages' tests keep away too. Domains up
# to 101 keep the middleware's own ports below Linux's ephemeral ones.
PORT_BASE = 32768
DOMAINS = range(1, 102)


@contextmanager
def reserved_domain(wanted: int | None = None) -> Iterator[int]:
    """Reserve a domain as long as the context lasts.

    Args:
        wanted: use exactly this one, reserved or not; None: any that is free.

    Raises:
        ConfigurationError: none is free.
    """
    if wanted is not None:
        yield wanted
        return
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        with socket.socket() as reservation:
            try:
                reservation.bind(("", PORT_BASE + domain))
            except OSError:
                continue  # somebody else's
            yield domain
            return
    raise ConfigurationError(
        f"ROS domain: expected a free one of {DOMAINS[0]} to {DOMAINS[-1]}, all are in use"
    )
