"""`profile` on a recording: the models run on what their nodes would get."""

from __future__ import annotations

from edge_perception.cli.main import main


def test_the_inputs_are_frames_of_the_recording_and_a_source_without_any_is_named(drive, tmp_path):
    parameters = tmp_path / "vehicle.yaml"
    parameters.write_text("/**/fusion:\n  ros__parameters:\n    sources: [lidar, audio_rear]\n")
    code = main(
        ["profile", "--duration", "0", "--runs", "3", "--out", str(tmp_path), "--recording",
         str(drive), "--params-file", str(parameters)]
    )  # fmt: skip
    assert code == 0
    text = (tmp_path / "operators.txt").read_text()
    first, *tables = text.split("\n\n")
    assert first == "models of the parameter files: no node was asked"
    found = {table.split(":")[0].strip(): table for table in tables if table.strip()}
    assert set(found) == {"lidar", "audio_rear", "fusion"}
    for name in ("lidar", "fusion"):
        (inputs,) = (line for line in found[name].splitlines() if "inputs: " in line)
        assert inputs.endswith(f"frames of {drive.name}")
        assert 3 <= int(inputs.split()[1]) < 30, "it ends once all have run often enough"
    assert f"zeros: {drive.name} has none for it" in found["audio_rear"]
