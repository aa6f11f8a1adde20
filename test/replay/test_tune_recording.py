"""`tune --recording` measures on the frames of a recording, and judges by its labels."""

import json
import shutil
from argparse import Namespace

import pytest

from edge_perception.cli.main import main
from edge_perception.cli.tune import _labelled
from edge_perception.models.device_plan import read_device_plan
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.optimize.set_frames import recorded_frames

pytestmark = pytest.mark.timeout(300)
SENSORS = ("camera", "lidar", "audio")


@pytest.fixture(scope="module")
def served():
    return {
        role: find_bundle(f"bev_lite/{role}", installed_model_folders())
        for role in (*SENSORS, "fusion")
    }


def test_frames_of_each_sensor_come_from_all_over_the_recording(drive, served):
    found = recorded_frames(served, [drive])
    assert set(found.by_role) == set(SENSORS)
    for role in ("camera", "lidar"):
        stamps = [frame.stamp_ns for frame, _ in found.by_role[role]]
        assert len(set(stamps)) == len(stamps) >= 4
        assert max(stamps) - min(stamps) > 2e9
        assert all(geometry.pose_source for _, geometry in found.by_role[role])
    assert drive.name in found.told
    assert found.by_role["camera"][0][0].bgr.any()


def test_the_plan_says_that_it_was_measured_and_judged_on_the_recording(
    drive, tmp_path, monkeypatch
):
    out, told, page = (tmp_path / name for name in ("plan.yaml", "all.json", "page.html"))
    arguments = [
        "tune", "--budget-s", "8", "--frames", "2", "--cache", tmp_path / "cache",
        "--recording", drive, "--out", out, "--json", told, "--page", page,
    ]  # fmt: skip
    assert main(list(map(str, arguments))) == 0
    notes = " ".join(read_device_plan(out).notes)
    assert f"measured on frames of {drive.name}" in notes
    assert f"labelled frames of {drive.name}" in notes
    assert f"frames of {drive.name}" in json.loads(told.read_text())["measured_on"]
    assert f"frames of {drive.name}" in page.read_text()


def test_a_recording_whose_labels_cannot_be_used_says_why(drive, tmp_path, capsys):
    copy = tmp_path / drive.name
    shutil.copy(drive, copy)  # without its parameters: nobody knows where its sensors sit
    assert _labelled(Namespace(recording=[copy], params_file=[])) == ([], [])
    said = capsys.readouterr().out
    assert "neither parameters nor tf give its pose" in said
    assert "accuracy is not measured on it" in said
