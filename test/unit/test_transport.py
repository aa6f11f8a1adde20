"""The environment that carries large messages."""

import fcntl
import os
import time
import xml.etree.ElementTree as ElementTree

import pytest

from edge_perception.share import share_file
from edge_perception.transport import (
    ALLOCATOR,
    CHOICES,
    PROFILE,
    PROFILE_VARIABLES,
    SEGMENT_SETTLED_S,
    SHARED_MEMORY_NEEDED_BYTES,
    choose_transport,
    release_dead_segments,
    transport_environment,
)

ENOUGH = SHARED_MEMORY_NEEDED_BYTES
NAMESPACE = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}


@pytest.mark.parametrize("rmw", ["", "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"])
def test_fast_dds_gets_the_profile_that_exists(rmw):
    chosen = choose_transport({"RMW_IMPLEMENTATION": rmw}, shared_memory_bytes=ENOUGH)

    assert chosen.variables == dict.fromkeys(PROFILE_VARIABLES, str(share_file(PROFILE)))
    assert str(share_file(PROFILE)) in chosen.reason


@pytest.mark.parametrize("name", CHOICES)
def test_what_the_user_chose_stays(name):
    chosen = choose_transport({name: "theirs"}, shared_memory_bytes=ENOUGH)

    assert chosen.variables == {}
    assert f"{name} is theirs" in chosen.reason


def test_another_middleware_keeps_its_own_transport():
    chosen = choose_transport(
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, shared_memory_bytes=ENOUGH
    )

    assert chosen.variables == {}
    assert "rmw_cyclonedds_cpp" in chosen.reason


def test_too_little_shared_memory_is_said_and_no_profile_is_set():
    chosen = choose_transport({}, shared_memory_bytes=64 * 2**20)

    assert chosen.variables == {}
    assert "64 MB free, 512 MB needed" in chosen.reason


def test_the_environment_only_adds():
    current = {"MALLOC_TOP_PAD_": "1", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "PATH": "/bin"}

    added = transport_environment(current)

    assert not set(added) & set(current)
    assert added == {k: v for k, v in ALLOCATOR.items() if k != "MALLOC_TOP_PAD_"}


def test_the_profile_has_shared_memory_and_udp_and_is_the_default():
    profiles = ElementTree.parse(share_file(PROFILE)).getroot().find("dds:profiles", NAMESPACE)
    descriptors = {
        d.findtext("dds:transport_id", namespaces=NAMESPACE): d
        for d in profiles.iterfind("dds:transport_descriptors/dds:transport_descriptor", NAMESPACE)
    }
    participant = profiles.find("dds:participant", NAMESPACE)
    used = [e.text for e in participant.iterfind(".//dds:userTransports/*", NAMESPACE)]
    by_type = {descriptors[u].findtext("dds:type", namespaces=NAMESPACE): u for u in used}
    shared = descriptors[by_type["SHM"]]

    assert participant.get("is_default_profile") == "true"
    assert set(by_type) == {"SHM", "UDPv4"}
    assert int(shared.findtext("dds:segment_size", namespaces=NAMESPACE)) == 64 * 2**20
    assert int(shared.findtext("dds:maxMessageSize", namespaces=NAMESPACE)) == 16 * 2**20
    # An image must not be split over the whole segment, nor be handed back to mmap by glibc.
    assert int(ALLOCATOR["MALLOC_MMAP_THRESHOLD_"]) > 16 * 2**20


def segment(folder, name, *, age_s):
    (folder / name).write_bytes(b"x" * 100)
    lock = folder / f"{name}_el"
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    return lock


def test_only_segments_of_dead_processes_are_released(tmp_path):
    old = 2 * SEGMENT_SETTLED_S
    segment(tmp_path, "fastrtps_dead", age_s=old)
    segment(tmp_path, "fastrtps_starting", age_s=0)
    segment(tmp_path, "fastrtps_port7412", age_s=old)
    segment(tmp_path, "something_else", age_s=old)
    with segment(tmp_path, "fastrtps_alive", age_s=old).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert release_dead_segments(tmp_path) == 100

    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith("_el")}
    assert left == {"fastrtps_starting", "fastrtps_port7412", "something_else", "fastrtps_alive"}
    assert not (tmp_path / "fastrtps_dead_el").exists()


def test_a_machine_without_shared_memory_has_nothing_to_release(tmp_path):
    assert release_dead_segments(tmp_path / "absent") == 0


def test_the_shell_lines_set_what_drivers_need(capsys, monkeypatch):
    from edge_perception.cli import transport

    for name in (*CHOICES, *ALLOCATOR, "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)

    assert transport.run(None) == 0

    printed = capsys.readouterr()
    added = transport_environment(dict(os.environ))
    assert printed.out.splitlines() == [f"export {k}={v}" for k, v in added.items()]
    assert choose_transport(dict(os.environ)).reason in printed.err
