"""A short simulated drive, its replay and its baseline, made once."""

import dataclasses
from pathlib import Path

import pytest

from edge_perception.validation.bags import run_bags
from edge_perception.validation.result import ValidationOptions
from edge_perception.validation.settings import ReplaySettings

SECONDS = 4.0


def quiet(_text):
    pass


@pytest.fixture(scope="session")
def drive(tmp_path_factory) -> Path:
    """A recording of 4 s with camera, LiDAR, microphone and labels."""
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed: it writes the recording")
    from edge_perception.samples.build import BuildOptions, build_recording
    from edge_perception.samples.simulated import simulated_scene

    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    build_recording(simulated_scene(), path, BuildOptions(duration_s=SECONDS))
    return path


@pytest.fixture(scope="session")
def baseline(drive, tmp_path_factory) -> Path:
    """A folder with the baseline of the drive."""
    folder = tmp_path_factory.mktemp("baseline") / "drive"
    options = ValidationOptions(
        out=tmp_path_factory.mktemp("made"), baseline=folder, update_baseline=True
    )
    (result,) = run_bags({"drive": ReplaySettings(bag=str(drive))}, options, quiet)
    assert not result.failure
    return folder


@pytest.fixture(scope="session")
def plain(drive, tmp_path_factory):
    """The result of a plain replay."""
    options = ValidationOptions(out=tmp_path_factory.mktemp("plain"))
    (result,) = run_bags({"drive": ReplaySettings(bag=str(drive))}, options, quiet)
    assert not result.failure
    return result


@pytest.fixture
def replay(drive, tmp_path):
    """Replays the drive with changed settings; returns the result."""
    count = [0]

    def run(*, bag=None, baseline=None, jobs=1, ray="", options=None, **settings):
        count[0] += 1
        asked = ReplaySettings(bag=str(bag or drive), **settings)
        given = options or ValidationOptions(
            out=tmp_path / f"run{count[0]}", baseline=baseline, jobs=jobs, ray=ray
        )
        (result,) = run_bags({"run": asked}, dataclasses.replace(given), quiet)
        return result

    return run
