"""The environment that carries large messages."""

import argparse
import fcntl
import os
import time
import xml.etree.ElementTree as ElementTree

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.running import transport
from edge_perception.running.transport import (
    ALLOCATOR,
    CHOICES,
    MATHEMATICS,
    PROFILE,
    PROFILE_VARIABLES,
    SEGMENT_SETTLED_S,
    SHARED_MEMORY_NEEDED_BYTES,
    choose_transport,
    release_dead_segments,
    transport_environment,
)
from edge_perception.running.transport_size import Sensor, Sizes, sizes_for

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
    chosen = choose_transport({"RMW_IMPLEMENTATION": "rmw_other"}, shared_memory_bytes=ENOUGH)

    assert chosen.variables == {}
    assert "rmw_other" in chosen.reason


def test_cyclone_gets_its_profile_and_a_small_kernel_buffer_is_told(tmp_path, monkeypatch):
    limit = tmp_path / "rmem_max"
    limit.write_text("212992\n", encoding="ascii")
    monkeypatch.setattr(transport, "RECEIVE_BUFFER", limit)
    chosen = choose_transport({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})

    uri = chosen.variables["CYCLONEDDS_URI"]
    root = ElementTree.parse(uri.removeprefix("file://")).getroot()
    buffer = next(root.iter("{https://cdds.io/config}SocketReceiveBufferSize"))
    assert buffer.attrib == {"max": "10MB"}, "with min it does not start where less is allowed"
    assert "rmem_max is 208 KB" in chosen.reason
    limit.write_text("20000000\n", encoding="ascii")
    assert "rmem_max" not in choose_transport({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}).reason


def test_zenoh_gets_shared_memory():
    chosen = choose_transport({"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"})
    assert chosen.variables == {"ZENOH_CONFIG_OVERRIDE": "transport/shared_memory/enabled=true"}


@pytest.mark.parametrize(
    ("rmw", "name"),
    [
        ("rmw_cyclonedds_cpp", "CYCLONEDDS_URI"),
        ("rmw_zenoh_cpp", "ZENOH_CONFIG_OVERRIDE"),
        ("rmw_zenoh_cpp", "ZENOH_SESSION_CONFIG_URI"),
    ],
)
def test_what_the_user_chose_for_another_middleware_stays(rmw, name):
    chosen = choose_transport({"RMW_IMPLEMENTATION": rmw, name: "theirs"})

    assert chosen.variables == {}
    assert f"{name} is theirs" in chosen.reason


def test_too_little_shared_memory_is_said_and_no_profile_is_set():
    chosen = choose_transport({}, shared_memory_bytes=64 * 2**20)

    assert chosen.variables == {}
    assert "64 MB free, 512 MB needed" in chosen.reason


def test_the_environment_only_adds():
    current = {"MALLOC_TOP_PAD_": "1", "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "PATH": "/bin"}

    added = transport_environment(current)

    assert not set(added) & set(current)
    wanted = ALLOCATOR | MATHEMATICS
    assert added == {k: v for k, v in wanted.items() if k != "MALLOC_TOP_PAD_"}


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

    for name in (*CHOICES, *ALLOCATOR, *MATHEMATICS, "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)

    parser = argparse.ArgumentParser()
    transport.add_arguments(parser)
    assert transport.run(parser.parse_args([])) == 0

    printed = capsys.readouterr()
    added = transport_environment(dict(os.environ))
    assert printed.out.splitlines() == [f"export {k}={v}" for k, v in added.items()]
    assert choose_transport(dict(os.environ)).reason in printed.err


MB = 2**20


def test_small_sensors_keep_the_profile_as_it_is():
    assert sizes_for([Sensor.image("1280x720"), Sensor.cloud("100000")], 2) == Sizes()


def test_a_segment_holds_the_queue_of_every_topic_and_the_message_being_written():
    sizes = sizes_for([Sensor.image("3840x2160"), Sensor.cloud("250000x16")], 5)

    assert sizes.message == 24 * MB  # 3840 * 2160 * 3 = 23.7 MB
    assert sizes.segment == (24 + 4) * 7 * MB


@pytest.mark.parametrize(
    "text", ["", "1920", "1920x", "x1080", "0x10", "1920x1080x3x1", "-1x5", "a"]
)
def test_an_image_size_that_is_none_is_refused(text):
    with pytest.raises(ConfigurationError, match="WIDTHxHEIGHT"):
        Sensor.image(text)


def test_more_than_fast_dds_can_hold_is_refused_with_the_numbers():
    with pytest.raises(ConfigurationError, match=r"at most 2047 MB.* need 2400 MB"):
        sizes_for([Sensor.image("3840x2160")], 98)


def test_the_sized_profile_has_the_sizes_and_all_else_of_ours(tmp_path):
    sizes = Sizes(segment=196 * MB, message=24 * MB)
    chosen = choose_transport(
        {"XDG_CACHE_HOME": str(tmp_path)}, sizes, shared_memory_bytes=ENOUGH + 132 * MB
    )

    made = ElementTree.parse(chosen.variables[PROFILE_VARIABLES[0]]).getroot()
    ours = ElementTree.parse(share_file(PROFILE)).getroot()
    different = {
        (a.tag.split("}")[-1], b.text)
        for a, b in zip(ours.iter(), made.iter(), strict=True)
        if a.text != b.text
    }
    assert different == {("segment_size", str(196 * MB)), ("maxMessageSize", str(24 * MB))}


def test_shared_memory_too_small_for_the_sizes_is_said(tmp_path):
    chosen = choose_transport(
        {"XDG_CACHE_HOME": str(tmp_path)},
        Sizes(segment=196 * MB, message=24 * MB),
        shared_memory_bytes=ENOUGH,
    )

    assert chosen.variables == {}
    assert "512 MB free, 644 MB needed" in chosen.reason
