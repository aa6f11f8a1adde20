"""Runs of a real MLflow: their model as a bundle in a registry, with their metrics."""

from __future__ import annotations

import json

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file

mlflow = pytest.importorskip(
    "mlflow", reason="mlflow is not installed: extra `mlflow` (mlflow-skinny or mlflow)"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of runs in a folder, as MLflow itself writes it."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("hearing")
    return uri


def logged(*, log=None, status="FINISHED"):
    run = mlflow.start_run(run_name="first")
    mlflow.log_param("rate", 0.01)
    for step, value in enumerate((0.8, 0.9)):
        mlflow.log_metric("f1", value, step=step)
    if log is not None:
        log()
    mlflow.end_run(status)
    return run.info.run_id


def with_model():
    """Log the bundled model that hears; MLflow puts its weights into a file beside it."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(share_file("models/bev_lite/audio/model.onnx")))
    mlflow.onnx.log_model(graph, name="model")


def test_a_run_becomes_a_release_with_its_metrics(owner, store, tmp_path, capsys):
    run = logged(log=with_model)
    like = share_file("models/bev_lite/audio")
    key = tmp_path / "release.pem"
    assert main(["models", "keygen", str(key), "--trust", str(tmp_path / "trust.json")]) == 0
    place, keys = str(owner.place.folder), str(owner.keys.folder)
    add = ["registry", "add", place, "--keys", keys, "--mlflow", run, "--mlflow-uri", store]
    assert main(add) == 2
    assert "--out: expected a new folder" in capsys.readouterr().err
    assert main([*add, "--out", str(tmp_path / "made")]) == 2
    assert "--like, --version" in capsys.readouterr().err
    add += ["--out", str(tmp_path / "made"), "--like", str(like), "--version", "0.7.0"]
    assert main([*add, "--sign", str(key), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == "bev_lite_audio 0.7.0 any"
    (document,) = owner.registry().releases("perception")
    told = document.metrics["mlflow"]
    assert (told["run"], told["experiment"], told["name"]) == (run, "hearing", "first")
    assert told["metrics"] == {"f1": 0.9}  # the newest
    assert told["params"] == {"rate": "0.01"}
    assert not list((tmp_path / "made").glob("*.data")), "one file has all weights"


def test_a_bundle_among_the_artifacts_is_taken_as_it_is(owner, store, tmp_path):
    bundle = owner.bundle()
    run = logged(log=lambda: mlflow.log_artifacts(str(bundle.path), "bundle"))
    add = ["registry", "add", str(owner.place.folder), "--keys", str(owner.keys.folder)]
    add += ["--mlflow", run, "--mlflow-uri", store, "--out", str(tmp_path / "taken")]
    # Its hash and its signature are those it had.
    assert main(add) == 0
    (document,) = owner.registry().releases("perception")
    assert document.manifest_sha256 == bundle.sha256
    assert document.metrics["f1"] == 0.5
    assert document.metrics["mlflow"]["metrics"] == {"f1": 0.9}


def test_runs_that_cannot_be_added_are_refused_by_name(store):
    from edge_perception.fleet.mlflow_run import mlflow_run

    def refused(run, said):
        with pytest.raises(ConfigurationError, match=said), mlflow_run(run, store):
            pass

    refused("0" * 32, "run 0000.*: ")
    refused(logged(), "expected an ONNX model or a bundle among its artifacts, got nothing")
    refused(logged(status="FAILED"), "FINISHED, got FAILED")
    refused(
        logged(log=lambda: [mlflow.log_text("x", f"{n}.onnx") for n in "ab"]),
        "expected one model, got run/a.onnx, run/b.onnx",
    )
