"""Sets run from frame to fused objects, as on a vehicle, and the picture shows what they cost."""

from dataclasses import replace

import numpy as np
import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import BackendError
from edge_perception.encoders.camera import encoder as camera_encoder
from edge_perception.evaluation.rig import Rig, load_set
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.optimize import pareto
from edge_perception.optimize.configuration import Configuration
from edge_perception.optimize.measuring import Comparison, Runner
from edge_perception.optimize.plan import as_json, page, plan_of
from edge_perception.optimize.runner import SetRunner
from edge_perception.optimize.set_frames import SetFrames, read_set_frames, simulated_frames
from edge_perception.optimize.set_stages import FusionStage, SourceStage
from edge_perception.optimize.tune import MeasuredSet, Tried, Tuning

ROLES = ("camera", "lidar", "audio", "fusion")


@pytest.fixture(scope="module")
def served():
    return {role: find_bundle(f"bev_lite/{role}", installed_model_folders()) for role in ROLES}


@pytest.fixture(scope="module")
def frames(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    found = simulated_frames(served, folder)
    found.write(folder / "frames")
    assert set(read_set_frames(folder / "frames")) == {"camera", "lidar", "audio"}
    return found, folder / "frames"


def test_a_source_goes_from_its_frame_to_decisions(served, frames):
    found, _ = frames
    loaded = {r: open_bundle(served[r], ModelOptions(model=r)) for r in ROLES}
    try:
        stages = [SourceStage(r, 0, loaded[r], found.by_role[r]) for r in ROLES[:3]]
        features = {stage.source: stage.run() for stage in stages}
        rig = Rig(load_set(served["camera"].path.parent))
        frame, geometry = found.by_role["lidar"][0]
        expected = rig.feature("lidar", frame, geometry)
        rig.close()
        for name, tensor in expected.tensors.items():
            np.testing.assert_allclose(features["lidar"].tensors[name], tensor, atol=1e-4)
        assert features["camera"].objects or features["lidar"].objects
        assert FusionStage(list(features), loaded["fusion"]).run(features).objects
    finally:
        for item in loaded.values():
            item.backend.close()


def test_sound_that_comes_again_is_heard_anew(served, frames):
    """An encoder keeps its work on samples that it knows by their numbers."""
    windows = frames[0].by_role["audio"]
    loaded = open_bundle(served["audio"], ModelOptions(model="audio"))
    try:
        stage = SourceStage("audio", 0, loaded, windows[:2])
        seen = []
        inner = stage._encoder.preprocess
        stage._encoder.preprocess = lambda w, g: seen.append(w.segment) or inner(w, g)
        for _ in range(4):
            stage.run()
    finally:
        loaded.backend.close()
    assert seen[0] == seen[1]
    assert seen[2] == seen[3] != seen[0]


def test_sets_in_a_helper_run_on_frames_and_one_role_may_run_alone(served, frames):
    ways = {role: Configuration(bundle=bundle) for role, bundle in served.items()}
    with Runner(ways, frames[1]) as runner:
        times = runner.run(2)
        assert all(len(times["role_ms"][role]) == 2 for role in ROLES)
        alone = runner.run(3, "lidar")["role_ms"]
        assert [len(alone[role]) for role in ROLES] == [0, 3, 0, 0]
        assert len(runner.run(1, "fusion")["role_ms"]["fusion"]) == 1


def test_preprocessing_is_part_of_a_set(served, frames, monkeypatch):
    job = {"bundle": str(served["camera"].path), "options": {"model": "camera"}, "sources": 2}
    called = []
    preprocess = camera_encoder.CameraEncoder.preprocess
    monkeypatch.setattr(
        camera_encoder.CameraEncoder,
        "preprocess",
        lambda self, *args: called.append(self) or preprocess(self, *args),
    )
    runner = SetRunner({"camera": job}, frames[0].by_role)
    runner.run(1)
    runner.close()
    assert len(set(map(id, called))) == 2  # an encoder for each source


def test_a_model_that_cannot_use_the_frames_is_told(served, frames, tmp_path):
    cloud, geometry = frames[0].by_role["lidar"][0]
    worthless = replace(cloud, xyz_m=cloud.xyz_m[:0], intensity=None)
    SetFrames(by_role={"camera": [(worthless, geometry)]}).write(tmp_path / "frames")
    with pytest.raises(BackendError):
        Runner({"camera": Configuration(bundle=served["camera"])}, tmp_path / "frames")


def test_a_recording_that_is_not_there_is_named(capsys, tmp_path):
    out = tmp_path / "plan.yaml"
    assert main(["tune", "--recording", str(tmp_path / "no.mcap"), "--out", str(out)]) == 2
    assert "no.mcap: expected a recording, got none" in capsys.readouterr().err


def test_poses_without_a_recording_are_refused(capsys, tmp_path):
    assert main(["tune", "--params-file", str(tmp_path)]) == 2
    assert "--params-file: is of --recording only" in capsys.readouterr().err


@pytest.fixture
def found(served):
    """A default, a faster choice, one that is faster still and costs more, one that is neither."""
    way = Configuration(bundle=served["audio"])
    ways = {
        name: replace(way, precision=name) if name != "fp32" else way
        for name in ("fp32", "bf16", "fp16", "int8", "auto")
    }
    last = Comparison(
        ratio=0.5, ratio_low=0.4, ratio_high=0.6, p50_ms=10.0, p99_ms=12.0,
        role_p50_ms={"audio": 10.0}, role_p99_ms={"audio": 12.0},
        told={"audio": {"golden": []}}, base_p50_ms=20.0,
    )  # fmt: skip
    return Tuning(
        default={"audio": ways["fp32"]},
        chosen={"audio": ways["bf16"]},
        last=last,
        measured_on="6 frames of a drive",
        map_default=60.0,
        map_chosen=59.6,
        judged_on=("60 simulated frames", "8 labelled frames of drive.mcap"),
        recording_default=50.0,
        recording_chosen=49.5,
        sets=[
            MeasuredSet(setting={"audio": ways["fp32"]}, ratio=1.0, loss=0.0),
            MeasuredSet(setting={"audio": ways["bf16"]}, ratio=0.5, loss=0.4),
            MeasuredSet(setting={"audio": ways["int8"]}, ratio=0.3, loss=3.0),
            MeasuredSet(setting={"audio": ways["fp16"]}, ratio=0.9, loss=1.0),
            MeasuredSet(setting={"audio": ways["auto"]}, ratio=0.2),
        ],
        tried=[
            Tried(role="audio", configuration=way, alone_ms=1.0, memory_mb=5.0)
            for way in ways.values()
        ],
    )


def test_the_front_is_what_nothing_beats_in_time_and_accuracy(found):
    assert [item.ratio for item in pareto.front(found.sets)] == [0.3, 0.5, 1.0]
    found.sets.append(MeasuredSet(setting={}, ratio=0.1, loss=float("nan")))
    assert [item.ratio for item in pareto.front(found.sets)] == [0.3, 0.5, 1.0]


def test_the_picture_has_time_against_accuracy_the_front_the_choice_and_the_default(found):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots()
    pareto._sets(axes, found)
    assert "ms (p50), on 6 frames of a drive" in axes.get_xlabel()
    assert "points of mAP" in axes.get_ylabel()
    by_name = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    assert list(by_name["chosen plan"].get_offsets()[0]) == [10.0, 0.4]
    assert list(by_name["default"].get_offsets()[0]) == [20.0, 0.0]
    (line,) = (line for name, line in by_name.items() if name.startswith("front"))
    assert list(line.get_xdata()) == [6.0, 10.0, 20.0]
    assert list(line.get_ydata()) == [3.0, 0.4, 0.0]
    assert "accuracy not measured" in by_name
    assert "5 MB" in {text.get_text() for text in axes.texts}
    pyplot.close(figure)


def test_plan_page_and_json_say_what_was_measured_on(found):
    plan = plan_of(found, {})
    assert "measured on 6 frames of a drive" in plan.notes
    assert any("8 labelled frames of drive.mcap" in note for note in plan.notes)
    text = page(found, plan)
    assert "measured on 6 frames of a drive" in text
    assert "+0.50 points on the recordings" in text
    told = as_json(found, plan)
    assert told["measured_on"] == "6 frames of a drive"
    assert [item["on_front"] for item in told["sets"]] == [True, True, True, False, False]
    assert [item["p50_ms"] for item in told["sets"]][:2] == [20.0, 10.0]
