"""What differs between two releases, as the command says it."""

import json

import pytest

from edge_perception.cli.main import main
from edge_perception.models.differences import differences, text_of
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.manifest import load_bundle
from edge_perception.releases.repacking import repack

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def audio():
    return find_bundle("bev_lite/audio", installed_model_folders())


def made(audio, folder, *, scale=1.0, edit=None, **changes):
    changes = {"version": "1.10.0", "release": 12, **changes}
    return repack(audio, folder, changes=changes, scale=scale, edit=edit)


def test_a_release_of_the_same_model_differs_in_nothing_that_counts(audio, tmp_path):
    found = differences(audio, made(audio, tmp_path / "a"))
    assert found.same
    assert found.newer == "after"
    assert found.weights.same > 4
    ninth = made(audio, tmp_path / "b", version="0.9.0")
    tenth = made(audio, tmp_path / "c", version="0.10.0")
    assert differences(ninth, tenth).newer == "after"
    assert differences(tenth, ninth).newer == "before"
    assert differences(tenth, made(audio, tmp_path / "d", version="0.10.0")).newer == "same"


def test_every_part_is_named(audio, tmp_path):
    labels = list(audio.manifest.labels)
    swapped = [labels[1], labels[0], *labels[2:-1], "tram"]
    metrics = {"evaluation": {"f1": 0.9}, "new": 1.5}
    preprocessing = {**audio.manifest.preprocessing, "mel_max_hz": 7600.0}

    def edit(graph):
        next(n for n in graph.graph.node if n.op_type == "Relu").op_type = "Abs"

    other = made(
        audio,
        tmp_path / "other",
        scale=1.02,
        edit=edit,
        labels=swapped,
        preprocessing=preprocessing,
        provenance={"licence": "MIT", "metrics": metrics},
        changelog="Hears trams.\nForgets rain.",
        calibration_set={"name": "streets", "sha256": "ab" * 32, "samples": 120},
        gates={"latency_ms": 7.0},
    )
    found = differences(audio, other)
    assert not found.same
    assert found.weights.changed
    assert all(0.0199 < change.relative < 0.0201 for change in found.weights.changed)
    assert not found.graph.same
    assert {change.what for change in found.graph.operators} == {"Relu", "Abs"}
    moved = {change.what: (change.before, change.after) for change in found.labels}
    assert moved[labels[0]] == (0, 1)
    assert moved["tram"] == (None, len(labels) - 1)
    assert moved[labels[-1]] == (len(labels) - 1, None)
    assert [c.what for c in found.preprocessing] == ["mel_max_hz"]
    assert {"new", "evaluation.f1"} <= {c.what for c in found.metrics}
    rest = {c.what: c.after for c in found.manifest}
    assert rest["calibration_set.samples"] == 120
    assert rest["provenance.licence"] == "MIT"
    assert rest["gates.latency_ms"] == 7.0
    text = "\n".join(text_of(found))
    for part in ("mel_max_hz: 7500.0 -> 7600.0 (+100)", "Forgets rain.", "tram: nothing -> 4"):
        assert part in text


def test_command(audio, tmp_path, capsys):
    other = made(audio, tmp_path / "other", scale=1.01)
    arguments = ["models", "diff", "bev_lite/audio", str(other.path)]
    arguments += ["--store", str(tmp_path / "none")]
    assert main(arguments) == 0
    assert "0 tensors the same" not in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["after"]["sha256"] == load_bundle(other.path).sha256
    assert told["weights"]["changed"][0]["relative"] == pytest.approx(0.01, rel=1e-3)
    assert main(["models", "diff", "bev_lite/audio", "bev_lite/nothing"]) == 2
