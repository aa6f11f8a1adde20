"""How nodes of this package move large messages: environment of the processes to be started.

Camera images and point clouds are megabytes. By default Fast DDS has a shared-memory segment of
512 KB and cuts them into UDP datagrams, and glibc returns each freed block to the system; both
cost more than the message itself. The remedies must be in the environment before a process starts,
so whatever starts our nodes (launch files, `edge-perception run`, the demo) asks here.
`edge-perception bench transport` measures the difference.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.core.share import share_file
from edge_perception.running.transport_size import Sizes, sized_profile

PROFILE = "config/fastdds_shm.xml"
# Older Fast DDS reads the first name, Fast DDS 3 the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
# Somebody who set one of these chose transports; a profile would override the choice.
CHOICES = (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "SKIP_DEFAULT_XML")
CYCLONE_PROFILE = "config/cyclonedds.xml"
CYCLONE_BUFFER_BYTES = 10 * 10**6  # as in the profile
ZENOH_OVERRIDE = "transport/shared_memory/enabled=true"
RECEIVE_BUFFER = Path("/proc/sys/net/core/rmem_max")
SHARED_MEMORY = Path("/dev/shm")
PROCESSES = 8  # the nodes of one robot and its drivers, a segment each
SHARED_MEMORY_NEEDED_BYTES = PROCESSES * Sizes.segment
# A segment is made and locked in one go; a younger file may belong to a process at that very step.
SEGMENT_SETTLED_S = 5.0
# Above the largest message, and not above half an arena (32 MB), which older glibc refuses.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Models are loaded, run and closed by different threads: one arena gives their memory back,
    # several keep pieces of it (60 swaps of a LiDAR model: +21 % resident, with one arena +2 %).
    "MALLOC_ARENA_MAX": "1",
}


# Products in a node are small: a second BLAS thread would spin on the core that inference needs.
MATHEMATICS = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Transport:
    """Variables to add to an environment, and why they are these."""

    variables: dict[str, str] = field(default_factory=dict)
    reason: str


def transport_environment(current: Mapping[str, str], sizes: Sizes | None = None) -> dict[str, str]:
    """Return the variables to add to the environment of a process with nodes.

    Args:
        current: the environment so far; what it sets stays as it is.
        sizes: of the shared memory; those of the profile when not given.

    Returns:
        Only additions: ``{**current, **transport_environment(current)}`` is the environment to use.
    """
    wanted = ALLOCATOR | MATHEMATICS
    added = {name: value for name, value in wanted.items() if name not in current}
    return added | choose_transport(current, sizes).variables


def choose_transport(
    current: Mapping[str, str],
    sizes: Sizes | None = None,
    *,
    shared_memory_bytes: int | None = None,
) -> Transport:
    """Return the choice for the middleware alone, with its reason for logs and `doctor`.

    Args:
        current: the environment so far.
        sizes: of the shared memory; those of the profile when not given.
        shared_memory_bytes: free shared memory of the machine; read from it when not given.
    """
    rmw = current.get("RMW_IMPLEMENTATION", "")
    if rmw and not rmw.startswith("rmw_fastrtps"):
        return _of_other(rmw, current)
    for name in CHOICES:
        if current.get(name):
            return Transport(reason=f"{name} is {current[name]}: left as set")
    free = _free_shared_memory() if shared_memory_bytes is None else shared_memory_bytes
    sizes = sizes or Sizes()
    needed = (PROCESSES - 1) * Sizes.segment + sizes.segment
    if free < needed:
        return Transport(
            reason=f"{SHARED_MEMORY} has {free >> 20} MB free, {needed >> 20} "
            "MB needed: Fast DDS defaults, large messages may be lost"
        )
    profile = str(sized_profile(share_file(PROFILE), sizes, current))
    return Transport(
        variables=dict.fromkeys(PROFILE_VARIABLES, profile),
        reason=f"shared memory for large messages: {profile}",
    )


def _of_other(rmw: str, current: Mapping[str, str]) -> Transport:
    """Return the choice for Cyclone DDS and Zenoh, as far as the user has made none."""
    if rmw == "rmw_cyclonedds_cpp":
        chosen: tuple[str, ...] = ("CYCLONEDDS_URI",)
        wanted = f"file://{share_file(CYCLONE_PROFILE)}"
        reason = f"Cyclone DDS with large datagrams and buffers: {wanted}"
        most = _most_receive_buffer()
        if most < CYCLONE_BUFFER_BYTES:
            reason += (
                f"; net.core.rmem_max is {most >> 10} KB: large messages may be lost, "
                f"`sysctl -w net.core.rmem_max={CYCLONE_BUFFER_BYTES}` allows more"
            )
    elif rmw == "rmw_zenoh_cpp":
        chosen = ("ZENOH_CONFIG_OVERRIDE", "ZENOH_SESSION_CONFIG_URI")
        wanted, reason = ZENOH_OVERRIDE, f"Zenoh with shared memory: {ZENOH_OVERRIDE}"
    else:
        return Transport(reason=f"RMW_IMPLEMENTATION is {rmw}: its own transport")
    for name in chosen:
        if current.get(name):
            return Transport(reason=f"{name} is {current[name]}: left as set")
    return Transport(variables={chosen[0]: wanted}, reason=reason)


def release_dead_segments(directory: Path = SHARED_MEMORY) -> int:
    """Remove shared memory that killed Fast DDS processes left behind.

    A killed process cannot remove its segment, and nobody else does: a node that crashes and is
    started again would take another 64 MB each time. A living process holds a lock on the file
    beside its segment; what is not locked is dead (`fastdds shm clean` goes by the same rule).

    Args:
        directory: where the segments are.

    Returns:
        Bytes released.
    """
    released = 0
    for lock in directory.glob("fastrtps_*_el"):
        if lock.name.startswith("fastrtps_port"):
            continue
        with contextlib.suppress(OSError):  # locked, of another user, or gone meanwhile
            if time.time() - lock.stat().st_mtime < SEGMENT_SETTLED_S:
                continue
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                segment = lock.with_name(lock.name.removesuffix("_el"))
                if segment.exists():
                    released += segment.stat().st_size
                    segment.unlink()
                lock.unlink()
    return released


def _most_receive_buffer() -> int:
    try:
        return int(RECEIVE_BUFFER.read_text(encoding="ascii"))
    except (OSError, ValueError):  # not Linux
        return CYCLONE_BUFFER_BYTES


def _free_shared_memory() -> int:
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:  # no such file system: nothing free
        return 0
    return status.f_bavail * status.f_frsize
