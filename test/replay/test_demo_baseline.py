"""The bundled baselines fit the demo's recording, on any machine."""

import json
from pathlib import Path

import pytest

from edge_perception.cli.main import main

BASELINES = Path(__file__).parent / "baselines" / "demo"


@pytest.fixture(scope="module")
def demo_recording(tmp_path_factory):
    """The recording that `edge-perception demo` makes: of the data folder, else simulated."""
    for module in ("rclpy", "edge_perception.msg"):
        pytest.importorskip(module, reason=f"{module} is not installed: it writes the recording")
    from edge_perception.samples.build import BuildOptions, build_recording
    from edge_perception.samples.data import data_folder, load_scene

    path = tmp_path_factory.mktemp("demo_out") / "recording.mcap"
    build_recording(load_scene(data_folder()), path, BuildOptions(duration_s=20.0))
    return path


def test_the_demo_recording_passes_and_a_drop_is_named(demo_recording, tmp_path, capsys):
    asked = ["validate", str(demo_recording), "--quiet", "--baseline", str(BASELINES)]
    assert main([*asked, "--out", str(tmp_path / "a")]) == 0, capsys.readouterr().out
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["baseline"]["same_recording"] in (True, False)
    assert not [f for f in result["findings"] if f["failed"]]
    assert main([*asked, "--drop", "lidar:5-8", "--out", str(tmp_path / "b")]) == 1
    said = capsys.readouterr().out
    assert "lidar does not contribute any more from 5." in said


def test_both_recordings_have_a_small_baseline():
    names = {json.loads(p.read_text())["name"] for p in BASELINES.glob("*/baseline.json")}
    assert names == {"recording.mcap"}
    assert len(list(BASELINES.iterdir())) == 2, "one of recorded data, one simulated"
    assert sum(f.stat().st_size for f in BASELINES.rglob("*")) < 100_000
