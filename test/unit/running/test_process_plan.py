"""Sources and processes of a launch."""

import pytest
import yaml

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.core.share import share_file
from edge_perception.running.process_plan import (
    choose_sources,
    encoder_processes,
    sources_of_files,
    topic_remaps,
)
from edge_perception.samples.truth import matrix_of
from edge_perception.simulation.camera import pinhole_of
from edge_perception.simulation.rigs import RIGS


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


def section(name, sources):
    return f"{name}:\n  ros__parameters:\n    sources: {sources}\n"


def test_one_encoder_a_source():
    processes = encoder_processes(["camera_front", "camera_rear", "audio"])

    assert not any(p.arguments for p in processes)
    assert [(p.executable, p.node_name, p.source) for p in processes] == [
        ("camera_encoder", "camera_front_encoder", "camera_front"),
        ("camera_encoder", "camera_rear_encoder", "camera_rear"),
        ("audio_encoder", "audio_encoder", "audio"),
    ]


def test_unknown_and_repeated_sources_are_refused():
    with pytest.raises(UnknownNameError, match="sonar_left"):
        encoder_processes(["sonar_left"])
    with pytest.raises(ConfigurationError, match="each name once, got lidar, lidar"):
        encoder_processes(["lidar", "lidar"])


def test_named_sources_win_over_the_file(write):
    path = write(section("/**/fusion", "[lidar]"))

    assert choose_sources(" camera, lidar,", [path], namespace="") == ("camera", "lidar")
    assert choose_sources("", [path], namespace="") == ("lidar",)


def test_a_file_without_sources_leaves_the_packages_own(write):
    path = write("/**/fusion:\n  ros__parameters:\n    deadline_s: 0.2\n")

    assert choose_sources("", [path], namespace="") == ("camera", "lidar", "audio")


@pytest.mark.parametrize(
    ("name", "namespace", "matches"),
    [
        ("fusion", "", True),
        ("/fusion", "", True),
        ("/fusion", "car", False),
        ("/car/fusion", "/car", True),
        ("/**", "car/front", True),
        ("/**/fusion", "", True),
        ("/**/fusion", "car/front", True),
        ("/*/fusion", "car", True),
        ("/*/fusion", "car/front", False),
        ("/**/lidar_encoder", "", False),
    ],
)
def test_sections_mean_nodes_as_in_ros(write, name, namespace, matches):
    path = write(section(name, "[lidar]"))

    assert sources_of_files([path], namespace=namespace) == (("lidar",) if matches else ())


def test_the_last_section_wins(write):
    path = write(section("/**", "[camera]") + section("/**/fusion", "[lidar]"))

    assert sources_of_files([path], namespace="") == ("lidar",)


@pytest.mark.parametrize("text", ["[1", "- a\n", section("fusion", "lidar"), section("/**", "3")])
def test_a_wrong_file_is_named(write, text):
    path = write(text)

    with pytest.raises(ConfigurationError, match=r"params\.yaml"):
        sources_of_files([path], namespace="")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        sources_of_files([tmp_path / "nowhere.yaml"], namespace="")


def test_a_name_that_nothing_reads_starts_no_process(write):
    path = write("fusion:\n  ros__parameters: {sources: [lidar], deadlin_s: 0.3}\n")
    with pytest.raises(ConfigurationError, match="nearest: 'deadline_s'"):
        choose_sources("", [path], namespace="")


def test_sources_that_are_asked_for_are_known(write):
    path = write("camera_rear_encoder:\n  ros__parameters: {threads: 2}\n")
    assert choose_sources("camera_rear", [path], namespace="") == ("camera_rear",)
    with pytest.raises(ConfigurationError, match="no node reads"):
        choose_sources("lidar", [path], namespace="")


def test_the_example_of_a_surround_rig_is_the_simulated_one():
    path = share_file("config/surround.yaml")
    sources = choose_sources("", [path], namespace="")
    cameras, _ = RIGS["6 cameras"]
    assert {*sources} == {"camera", *(camera.name for camera in cameras), "lidar", "audio"}
    known = yaml.safe_load(path.read_text())
    for camera in cameras:
        section = known[f"/**/{camera.name}_encoder"]["ros__parameters"]
        pose = matrix_of(tuple(section["T_base_sensor"]))
        assert pose == pytest.approx(pinhole_of(camera).T_base_camera, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("camera=/front/", "expected source:=topic, got 'camera=/front/'"),
        ("camera:=", "expected source:=topic"),
        ("radar:=/r", "expected one of camera, lidar, got 'radar'"),
        ("camera:=/a,camera:=/b", "camera is named twice"),
    ],
)
def test_topics_that_cannot_be_meant_are_refused(text, said):
    with pytest.raises(ConfigurationError, match=said):
        topic_remaps(text, ("camera", "lidar"))


def test_no_topics_no_remaps():
    assert topic_remaps("", ("camera",)) == ()
