import pytest

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.simulation.scenario import Emergency, Scenario, ScenarioError, random_scenario
from edge_perception.simulation.scenario_file import (
    load_scenario,
    parse_scenario,
    scenario_names,
)


def test_the_library_has_the_named_scenarios_and_each_loads():
    names = scenario_names()
    assert {"intersection", "siren_from_behind", "night_fog", "occluded_pedestrian"} <= set(names)
    assert len(names) >= 12
    for name in names:
        scenario = load_scenario(name)
        assert scenario.name == name
        assert scenario.description


def test_unknown_name_is_answered_with_the_names_that_exist():
    with pytest.raises(UnknownNameError, match=r"unknown scenario 'moon'.*intersection"):
        load_scenario("moon")


def test_values_of_a_file_reach_the_scenario(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "weather: fog\nego_speed_mps: 3\nactors: {car: 4, pedestrian: [1, 2]}\n"
        "emergency: {direction: left, siren: yelp}\n"
        "microphones: {positions_m: [[0, 0.1, 1.5], [0, -0.1, 1.5], [0.2, 0, 1.5]]}\n"
    )
    scenario = load_scenario(path)
    assert scenario.name == "mine"
    assert scenario.weather == "fog"
    assert scenario.ego_speed_mps == 3.0
    assert scenario.actors.car == (4, 4)
    assert scenario.actors.pedestrian == (1, 2)
    assert scenario.emergency == Emergency(direction="left", siren="yelp")
    assert len(scenario.microphones.positions_m) == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("light: day\nweather: sunny", 2, "weather: expects one of clear, fog, rain, got 'sunny'"),
        ("wether: fog", 1, "unknown field 'wether'; allowed: name, .*weather"),
        ("camera:\n  width: 10", 2, "camera.width: expects 64 to 4096, got 10"),
        ("camera:\n  widht: 100", 2, "camera: unknown field 'widht'; allowed: width"),
        ("more_cameras:\n  - {name: left}", 2, "expects camera or camera_…, got 'left'"),
        ("more_lidars:\n  - {model: velo}", 2, "more_lidars.0..model: expects one of pandar64"),
        ("more_cameras:\n  - {name: camera_a}\n  - {name: camera_a}", 3,
         "'camera_a' is the name of another sensor"),
        ("a: [", 1, "not valid YAML"),
        ("", 1, "empty"),
        ("- 3", 1, "expects a mapping"),
        ("actors:\n  car: [5, 2]", 2, "minimum 5 is above maximum 2"),
        ("actors:\n  car: [5, 2, 3]", 2, "expects 2 values, got 3"),
        ("actors:\n  car: many", 2, "expects an integer, got 'many'"),
        ("actors:\n  car: -1", 2, "expects 0 to 200, got -1"),
        ("ego_speed_mps: .nan", 1, "expects 0.0 to 20.0, got nan"),
        ("ego_speed_mps: 1e999", 1, "expects"),
        ("occlusion: 1", 1, "expects true or false, got '1'"),
        ("emergency: {direction: up}", 1, "expects one of behind, ahead, left, right, got 'up'"),
        ("sounds: [street,\n rain]", 1, "has 'rain', but weather is 'clear'"),
        ("sounds:\n - street\n - drums", 3, "expects one of horn, .*got 'drums'"),
        ("sensors: []", 1, "at least one of camera, lidar, audio"),
        ("occlusion: true\nactors: {pedestrian: 0}", 1, "needs a pedestrian"),
        ("sensors: [camera]\noutages:\n - {sensor: lidar, start_s: 1, end_s: 2}", 3,
         "'lidar' is not in sensors"),
        ("outages:\n - {sensor: lidar, start_s: 3, end_s: 2}", 2, "start_s < end_s"),
        ("outages:\n - {sensor: lidar}", 2, "missing field"),
        ("sensors: [audio]\nlidar: {dropout: 0.5}", 2, "sensors has no lidar"),
        ("sensors: [lidar]\ncamera: {wet_lens: 0.5}", 2, "camera.wet_lens: is set, but sensors"),
        ("camera:\n  wet_lens: 20", 2, "camera.wet_lens: expects 0.0 to 1.0, got 20"),
        ("weather: fog\nweather: rain", 2, "given twice"),
        ("microphones: {positions_m: [[0, 0, 1], [0, 50, 1]]}", 1, "expects -3.0 to 3.0, got 50"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_with_file_line_and_what_is_allowed(text, line, words):
    with pytest.raises(ConfigurationError, match=rf"bad.yaml:{line}: .*{words}"):
        parse_scenario(text, source="bad.yaml", name="bad")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing\.yaml: cannot be read"):
        load_scenario(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigurationError, match=r"binary\.yaml: cannot be read"):
        load_scenario(tmp_path / "binary.yaml")


def test_a_scenario_built_in_code_is_checked_too():
    with pytest.raises(ScenarioError, match="weather"):
        Scenario(name="x", weather="hail")


def test_random_scenarios_are_fixed_by_the_seed_and_differ_between_seeds():
    assert random_scenario(5) == random_scenario(5)
    drawn = [random_scenario(seed) for seed in range(60)]
    assert {s.weather for s in drawn} == {"clear", "fog", "rain"}
    assert {s.light for s in drawn} == {"day", "dusk", "night"}
    assert {s.emergency.direction for s in drawn if s.emergency} >= {"behind", "left"}
