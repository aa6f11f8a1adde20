"""A sensor, a runtime and a model family from outside the package, as far as no ROS is needed."""

import json

import numpy as np
import pytest
import radar
import yaml

from edge_perception.backends import BackendOptions, backends
from edge_perception.cli.main import main
from edge_perception.core.errors import (
    BackendError,
    ConfigurationError,
    ManifestError,
    UnknownNameError,
)
from edge_perception.core.plugins import add_plugin_folders
from edge_perception.encoders import encoders, locates, modality_of, sets_pace, source_defaults
from edge_perception.models.adapters import adapters
from edge_perception.models.loading import ModelOptions
from edge_perception.models.manifest import load_bundle
from edge_perception.releases.admission import AdmissionLimits, admit
from edge_perception.releases.roles import check_role
from edge_perception.running.process_plan import choose_sources, encoder_processes
from edge_perception.running.supervised_nodes import node_processes
from edge_perception.running.vehicle_plan import read_plan


@pytest.fixture
def extensions():
    add_plugin_folders([radar.EXTENSIONS])


def test_what_is_not_named_is_not_there():
    for registry, name in ((encoders(), "radar"), (backends(), "reference")):
        with pytest.raises(UnknownNameError, match=f"'{name}'; known: "):
            registry[name]
    with pytest.raises(UnknownNameError, match="radar_front"):
        modality_of("radar_front")


def test_all_three_kinds_are_found(extensions):
    assert modality_of("radar_front") == "radar"
    assert backends()["reference"].name == "reference"
    assert adapters()["radar_peaks"].roles == ("radar",)
    assert encoders().failures == adapters().failures == {}
    assert sets_pace("radar")
    assert locates("radar")
    assert source_defaults("radar_front") == {
        "source": "radar_front",
        "modality": "radar",
        "rate_hz": 20.0,
        "max_age_s": 0.4,
    }


def test_the_bundle_says_what_it_is(bundle):
    manifest = bundle.manifest
    assert (manifest.role, manifest.adapter) == ("radar", "radar_peaks")
    with np.load(bundle.path / "golden_inputs.npz") as golden:
        assert golden["grid"][0, 0].sum() > 0, "the modality says what it is tried with"


def test_its_role_must_be_known_where_it_is_taken_in(bundle, extensions, monkeypatch):
    check_role(bundle.manifest)
    monkeypatch.setattr("edge_perception.core.plugins._folders", ())
    with pytest.raises(ManifestError, match=r"manifest\.role: unknown modality 'radar'; known: "):
        check_role(bundle.manifest)


def test_verify_runs_it_on_both_runtimes(bundle, capsys):
    command = ["models", "verify", "radar_net", "--folder", str(bundle.path.parent), "--json"]
    command += ["--plugin-folder", str(radar.EXTENSIONS)]
    for runtime in ("reference", "onnxruntime"):
        assert main([*command, "--backend", runtime]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["passed"]
        assert answer["golden"][0]["absolute"] < 1e-6
    assert main([*command, "--backend", "no_such"]) == 2
    said = capsys.readouterr().err
    assert "unknown backend 'no_such'; known: " in said
    assert "reference" in said


def test_the_runtime_keeps_the_contract(bundle, extensions, tmp_path):
    session = backends()["reference"].load(bundle.model_path, BackendOptions())
    with pytest.raises(BackendError, match="input 'grid' is missing"):
        session.infer({})
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with pytest.raises(BackendError, match=r"bad\.onnx"):
        backends()["reference"].load(bad, BackendOptions())


def test_admission_tries_it_in_a_process_that_knows_the_plugins(bundle, extensions):
    admission = admit(bundle, AdmissionLimits(), ModelOptions(model="", backend="reference"))
    assert [item.passed for item in admission.golden] == [True]
    assert admission.latency_ms > 0


def test_the_plan_of_processes_has_the_generic_encoder(parameters):
    sources = choose_sources("", [parameters], namespace="")
    (plan,) = encoder_processes(sources)
    assert (plan.executable, plan.arguments) == ("encoder", ("--modality", "radar"))
    assert (plan.node_name, plan.source) == ("radar_encoder", "radar")
    command = node_processes(["radar_rear", "lidar"], [])[0].command
    assert command[3:6] == ("encoder", "--modality", "radar")
    assert "__node:=radar_rear_encoder" in command


def test_the_vehicle_plan_reads_the_folders_of_the_parameter_file(parameters):
    plan = read_plan([parameters])
    assert [source.name for source in plan.sources] == ["radar"]
    assert plan.sources[0].model.backend == "reference"
    assert plan.fusion.sources[0].max_age_s == 0.4


def test_names_are_checked_with_the_plugins(parameters, tmp_path):
    document = yaml.safe_load(parameters.read_text())
    document["/**/radar_encoder"]["ros__parameters"]["modle"] = "x"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(ConfigurationError, match=r"'modle' is no parameter.*nearest: 'model'"):
        read_plan([wrong])


def test_folders_of_another_vehicle_do_not_count(parameters, tmp_path):
    text = parameters.read_text().replace("/**:", "/other/**:")
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="radar"):
        read_plan([path], namespace="/mine")


def test_a_plugin_that_cannot_be_imported_says_why(tmp_path, capsys):
    place = tmp_path / "encoders" / "radar"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("import a_radar_library")
    add_plugin_folders([tmp_path])
    for ask in (lambda: encoders()["radar"], lambda: modality_of("radar_front")):
        with pytest.raises(ConfigurationError, match="No module named 'a_radar_library'"):
            ask()
    command = ["run", "--sources", "radar", "--supervise", "--plugin-folder", str(tmp_path)]
    assert main(command) == 2
    assert "No module named 'a_radar_library'" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path, capsys):
    assert main(["devices", "--plugin-folder", str(tmp_path / "nowhere")]) == 2
    assert "plugin_folders: expected a folder, got" in capsys.readouterr().err


def test_an_adapter_does_not_serve_another_role(tmp_path, capsys):
    onnx = radar.onnx_file(tmp_path / "net.onnx")
    fields = tmp_path / "fields.json"
    fields.write_text(json.dumps({"role": "lidar"}))
    command = ["models", "import", str(onnx), "--adapter", "radar_peaks", "--into", str(tmp_path)]
    command += ["--manifest", str(fields), "--plugin-folder", str(radar.EXTENSIONS)]
    assert main(command) == 1
    assert "adapter 'radar_peaks' expects radar, got 'lidar'" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_the_bundle_loads_where_nobody_knows_its_role(bundle):
    assert load_bundle(bundle.path).manifest.role == "radar"
