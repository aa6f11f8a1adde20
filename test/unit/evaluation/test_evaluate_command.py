"""`edge-perception evaluate` on two frames: every table, repeatable, frames kept."""

import json
from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.core.types import Geometry
from edge_perception.evaluation.frames import FIRST_SEED, by_clear_day, load_frame
from edge_perception.evaluation.rig import SUBSETS, load_set, miscalibrated, shipped_thresholds
from edge_perception.evaluation.surround import TRIALS
from edge_perception.simulation.rigs import RIGS
from edge_perception.simulation.scenario import random_scenario

SET = Path(__file__).parents[3] / "models" / "bev_lite"
FRAMES = ("--frames", "2", "--extra", "1", "--rigs", "1", "--drives", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


def evaluate(folder, name, *more):
    path = folder / f"{name}.json"
    arguments = ["--models", str(SET), "--json", str(path), "--cache", str(folder / "cache")]
    assert main(["evaluate", *arguments, "--processes", "1", *more]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def report(folder):
    plots = folder / "plots"
    return evaluate(folder, "first", *FRAMES, "--real", "1", "--plots", str(plots))


def test_every_table_is_there(report):
    assert tuple(report["subsets"]) == SUBSETS
    for name, entry in report["subsets"].items():
        assert 0.0 <= entry["map"] <= 1.0
        assert set(entry["ap"]) <= {"car", "truck", "bus", "pedestrian", "cyclist"}
        assert (entry["siren_f1"] is not None) == ("audio" in name)
        assert (entry["bearing"] is not None) == ("audio" in name)
    assert set(report["subsets"]["camera+lidar+audio"]["bearing"]) == {
        "siren", "car_horn", "speech"
    }  # fmt: skip
    assert {"decision_camera+lidar", "best_single"} < set(report["decision_vs_feature"])
    assert list(report["stamp_offset_ms"]) == ["0", "50", "100", "150", "200"]
    assert list(report["calibration_error_deg"]) == ["0", "0.5", "1", "2"]
    assert sum(report["conditions"][k]["frames"] for k in ("clear", "rain", "fog")
               if k in report["conditions"]) == 2  # fmt: skip
    assert report["int8_delta"] is None


def test_what_weather_and_light_cost_is_told_on_the_same_scenes(report):
    for entry in report["conditions"].values():
        lost = entry["clear_day"]["camera+lidar+audio"] - entry["camera+lidar+audio"]
        assert entry["lost_points"] == pytest.approx(100 * lost)
    assert report["conditions"]["day"]["lost_points"] == 0  # a clear one
    assert report["conditions"]["dusk"]["lost_points"] != 0


def test_a_scene_by_clear_day_is_the_same_scene(tmp_path):
    conditions = {s: random_scenario(s) for s in range(FIRST_SEED, FIRST_SEED + 99)}
    for scenario in conditions.values():  # those with the sound of rain, too
        assert by_clear_day(scenario).actors == scenario.actors
    seed = next(s for s, c in conditions.items() if (c.weather, c.light) == ("fog", "night"))
    fog, clear = (load_frame(seed, tmp_path, clear_day=day) for day in (False, True))
    assert (fog.weather, fog.light) == ("fog", "night")
    assert (clear.weather, clear.light) == ("clear", "day")
    assert (fog.truth.center_m == clear.truth.center_m).all()
    assert len(fog.truth.center_m)
    assert clear.truth.in_lidar.sum() > fog.truth.in_lidar.sum()
    assert clear.images[0].bgr.mean() > 2 * fog.images[0].bgr.mean()
    assert (load_frame(seed, tmp_path).cloud.xyz_m == fog.cloud.xyz_m).all()  # kept apart


def test_lenses_are_judged_on_the_same_frames(report):
    table = dict(report["lens"])
    assert table.pop("frames") == 1
    assert list(table) == ["clean", "dirty_20", "dirty_50", "wet_20", "wet_50"]
    assert table["clean"]["camera+lidar"] == report["stamp_offset_ms"]["0"]["map"]
    for entry in table.values():
        assert entry["camera+lidar"] > 0.3  # the LiDAR sees on
    assert table["dirty_50"] != table["clean"]


def test_rigs_of_cameras_are_all_fused_at_the_feature_level(report):
    assert list(report["rigs"]) == list(RIGS)
    for entry in report["rigs"].values():
        assert entry["frames"] == 1
        assert entry["at_feature_level"] == 1.0
        assert set(entry["map"]) == set(TRIALS)
        assert all(0.0 <= value <= 1.0 for value in entry["map"].values())
    six, two_lidars = report["rigs"]["6 cameras"], report["rigs"]["6 cameras, 2 LiDARs"]
    assert len(six["sources"]) == 7
    assert {"lidar", "lidar_rear"} < set(two_lidars["sources"])
    assert six["map"]["all"] > 0.3


def test_what_other_sensors_cost_is_told_by_kind(report):
    table = report["robustness"]["simulated"]
    assert set(table["kinds"]) == {
        "intensity", "returns below the road", "mounting", "beams", "view", "noise"
    }  # fmt: skip
    for kind, bound in (("intensity", 3), ("returns below the road", 2), ("mounting", 5)):
        for entry in table["kinds"][kind].values():
            assert entry["bound"] == bound
            assert entry["reached"] is (entry["points"] >= -bound)
    beams = table["kinds"]["beams"]
    # Of one frame: fewer beams change what is found, for the worse only on the mean of many.
    assert beams["a quarter (16)"]["points"] != 0
    assert beams["a quarter (16)"]["reached"] is None
    if (real := report["robustness"]["real"])["frames"]:
        assert real["car_ap"] > 0.5
        assert real["kinds"]["beams"]["a quarter (16)"]["points"] < 0
        assert real["kinds"]["intensity"]["absent"]["interval"] is None  # of one frame


def test_hearing_alone_finds_no_object_and_changes_none(report):
    maps = {name: entry["map"] for name, entry in report["subsets"].items()}
    assert maps["audio"] == 0.0
    assert maps["camera+lidar+audio"] == maps["camera+lidar"]
    assert maps["lidar"] > maps["audio"]


def test_pictures_are_drawn(report, folder):
    pictures = {path.stem: path.stat().st_size for path in (folder / "plots").glob("*.png")}
    assert set(pictures) == {"degradation", "precision_recall", "reliability"}
    assert min(pictures.values()) > 10_000


def test_second_run_takes_the_kept_frames_and_says_the_same(report, folder):
    frames = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npz")}
    assert len(frames) == 4  # two, one of them by clear day too, and one of a rig
    again = evaluate(folder, "second", *FRAMES, "--real", "0")
    assert again["robustness"].pop("real")["why_not"] == "not asked for (--real 0)"
    assert again == {**report, "robustness": {"simulated": report["robustness"]["simulated"]}}
    assert {path: path.stat().st_mtime_ns for path in frames} == frames


def test_wherever_it_is_called_the_models_of_the_package_are_taken(folder, report, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["evaluate", "--json", "third.json", "--cache", "cache", "--processes", "1"]
    assert main([*command, *FRAMES, "--real", "0"]) == 0
    assert json.loads(Path("third.json").read_text())["subsets"] == report["subsets"]


def test_wrong_numbers_and_folders_are_refused(folder, capsys):
    assert main(["evaluate", "--frames", "3", "--extra", "4"]) == 2
    assert "0 to 3" in capsys.readouterr().err
    assert main(["evaluate", "--drives", "-1"]) == 2
    assert "--drives: expected 0 or more" in capsys.readouterr().err
    assert main(["evaluate", "--models", str(folder / "nowhere")]) == 1
    assert "camera" in capsys.readouterr().err


def test_degraded_subsets_have_calibrations_of_their_own():
    bundle = load_set(SET).fusion
    subsets = bundle.manifest.postprocessing["subsets"]
    assert set(subsets) == set(SUBSETS) - {"audio"}
    assert subsets["camera"]["temperature"] != subsets["camera+lidar"]["temperature"]
    # Fusion leaves out what is weaker than its own limit.
    assert min(shipped_thresholds(bundle, "camera").values()) >= 0.2


def test_miscalibration_turns_the_camera_and_leaves_its_place():
    geometry = Geometry()
    turned = miscalibrated(geometry, 90.0, (0.0, 0.0, 1.0)).T_base_sensor
    assert turned[:3, 0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-9)
    assert turned[:3, 3] == pytest.approx([0.0, 0.0, 0.0])
