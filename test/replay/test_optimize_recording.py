"""`optimize quantize` and `report` on a recorded drive: judged by labels and by agreement."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.models.manifest import load_bundle

pytestmark = pytest.mark.timeout(300)  # a drive, its labels and two helpers, also on a busy machine
SET = Path(__file__).parents[2] / "models" / "bev_lite"


def quantize(drive, folder, *more, remembered=None):
    if remembered is not None:
        (folder / "again").mkdir()
        shutil.copy(remembered, folder / "again")
    arguments = [
        "optimize", "quantize", SET / "lidar", "--models", SET, "--bag", drive,
        "--frames", "16", "--judge-frames", "8", "--work", folder / "work",
        "--into", folder / "models", "--json", folder / "found.json", *more,
    ]  # fmt: skip
    code = main(list(map(str, arguments)))
    found = folder / "found.json"
    return code, json.loads(found.read_text()) if found.is_file() else {}


@pytest.fixture(scope="module")
def made(drive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    code, found = quantize(
        drive, folder, "--method", "minmax", "--no-mixed", "--gate", "50", "--each"
    )
    return code, found, folder


def test_a_bundle_within_the_gate_is_a_variant_with_its_figures(made):
    code, found, folder = made
    assert code == 0
    bundle = load_bundle(folder / "models" / "bev_lite_lidar_int8")
    before = load_bundle(SET / "lidar")
    assert bundle.manifest.feature_space == before.manifest.feature_space
    assert bundle.manifest.runtime.precision == "int8"
    assert bundle.manifest.calibration_set.samples == 16
    assert len(bundle.read("model.onnx")) < 0.5 * len(before.read("model.onnx"))
    chosen = bundle.manifest.provenance.metrics["optimize"]
    assert chosen["candidate"] == found["figures"]["chosen"]["candidate"]
    assert chosen["ratio"] > 0
    own = "bev_lite_lidar_int8_" + chosen["candidate"].replace(" ", "_")
    assert own in found["figures"]["bundles"]
    each = load_bundle(folder / "models" / own)
    assert each.read("model.onnx") == bundle.read("model.onnx")
    assert chosen["memory_mb"] >= 0
    assert found["figures"]["judge"]["measure"] == "mAP"
    assert 4 <= found["figures"]["judge"]["frames"] <= 8  # none of those calibrated with


def test_beyond_the_gate_there_is_no_bundle_and_known_times_stand(made, drive, monkeypatch):
    from edge_perception.optimize import candidates

    def never(*_args, **_more):
        raise AssertionError("measured again")

    monkeypatch.setattr(candidates, "compare", never)
    _, before, folder = made
    code, found = quantize(
        drive, folder, "--method", "minmax", "--no-mixed", "--gate", "0", "--sure",
        "--judge", "agreement", "--name", "other", "--work", str(folder / "again"),
        remembered=folder / "work" / "remembered.json",
    )  # fmt: skip
    assert code == 1
    assert [f["code"] for f in found["findings"] if f["level"] == "error"] == ["gate"]
    assert found["figures"]["judge"]["measure"] == "agreement of decisions"
    assert not (folder / "models" / "other").exists()
    first, again = (f["tables"]["candidates"] for f in (before, found))
    assert [row["ratio"] for row in first] == [row["ratio"] for row in again]
    assert [row["loss_points"] for row in first] != [row["loss_points"] for row in again]


def test_a_page_shows_the_step(made, capsys):
    folder = made[2]
    assert main(["optimize", "report", str(folder / "work"), "--work", str(folder)]) == 0
    page = (folder / "index.html").read_text()
    assert "data:image/png;base64," in page
    assert "minmax" in page
    assert main(["optimize", "report", str(folder / "models"), "--work", str(folder)]) == 2
    assert "expected outcomes of check" in capsys.readouterr().err


def test_a_bundle_that_is_there_is_not_overwritten(made, drive, capsys):
    assert quantize(drive, made[2])[0] == 2
    assert "exists already" in capsys.readouterr().err


def test_bundles_are_compared_in_one_run(made, drive, capsys):
    folder = made[2]
    bundles = [SET / "lidar", folder / "models" / "bev_lite_lidar_int8"]
    more = [
        "--judge-bag", drive, "--judge-frames", "8", "--judge", "agreement", "--rounds", "2",
        "--runs", "2", "--work", folder / "compared", "--json", folder / "compared.json",
    ]  # fmt: skip
    assert main(list(map(str, ["optimize", "compare", *bundles, *more]))) == 0
    found = json.loads((folder / "compared.json").read_text())
    base, small = found["tables"]["candidates"]
    assert (base["ratio"], base["loss_points"]) == (1.0, 0.0)
    assert small["bytes"] < 0.5 * base["bytes"]
    assert set(base["losses_points"].values()) == {0.0}
    assert small["loss_points"] in small["losses_points"].values()
    assert 0 <= small["loss_points"] < 10  # some decision differs, or none of eight frames
    assert small["loss_low"] < small["loss_points"] < small["loss_high"]
    raw = found["figures"]["times_ms"]["bev_lite_lidar_int8"]
    assert [len(turn) for turn in raw] == [2, 2]
    assert main(["optimize", "compare", str(bundles[0]), str(SET / "camera"), *map(str, more)]) == 2
    assert "bev_lite_camera: expected the role of bev_lite_lidar" in capsys.readouterr().err
