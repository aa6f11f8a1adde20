"""A short drive through the vehicle's encoders and fusion, in every way, and its tables."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_perception.evaluation import drive_recordings, drives
from edge_perception.evaluation.drive_tables import emergency_table, lines, track_table
from edge_perception.evaluation.report import without_nan
from edge_perception.simulation.scenario import Actors, Emergency, Lidar

SET = Path(__file__).parents[3] / "models" / "bev_lite"
SEED = 4_000_000


def small_scenario(seed, rig="1 camera"):
    scenario = drive_scenario(seed, rig)
    return replace(
        scenario,
        camera=replace(scenario.camera, width=160, height=90),
        lidar=Lidar(model="spinning32"),
        actors=Actors(car=(6, 6), truck=(0, 0), bus=(0, 0), pedestrian=(0, 0), cyclist=(0, 0)),
        emergency=Emergency(direction="ahead", distance_m=20.0, speed_mps=3.0),
    )


drive_scenario = drive_recordings.drive_scenario


def test_a_drive_is_fused_in_every_way_and_makes_the_tables(tmp_path, monkeypatch):
    pytest.importorskip("rclpy", reason="rclpy is not installed: nothing can be recorded")
    for module in (drive_recordings, drives):
        monkeypatch.setattr(module, "drive_scenario", small_scenario)
    monkeypatch.setattr(drives, "SETTLED_S", 0.5)
    plan = drives.DrivePlan(models=SET, cache=tmp_path, seconds=1.0)
    result = drives.Drives(plan)(SEED)
    assert result.has_siren
    assert list(result.ways) == [way.name for way in drives.WAYS]
    assert len(list(tmp_path.rglob("*.mcap"))) == 1
    told = result.ways["all sensors"]
    assert len(told.steps["car"]) >= 8
    assert all(moment.sounding for moment in told.sirens)
    report = {"tracks": track_table([result]), "emergency": emergency_table([result])}
    table = report["tracks"]["1 camera"]
    assert table["drives"] == 1
    assert table["all sensors"]["wanted"] > 8
    assert table["all sensors"]["recall"] > 0.2
    assert 0.0 <= table["all sensors"]["amota"] <= 1.0
    visible = report["emergency"]["1 camera"]["all sensors"]["visible"]
    assert visible["views"] >= 3
    assert visible["right"] + visible["wrong"] + sum(visible["nobody"].values()) == pytest.approx(1)
    json.dumps(without_nan(report), allow_nan=False)
    assert any(line.startswith("all sensors") for line in lines(report))
