"""Writing bundles, finding them, and comparing with their golden outputs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import HEADS, INPUTS, bundle_of, constant_heads, tiny

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BundleError, ManifestError, ModelError, UnknownNameError
from edge_perception.models import writing
from edge_perception.models.folders import (
    find_bundle,
    installed_model_folders,
    list_bundles,
    stored_bundles,
)
from edge_perception.models.golden import (
    compare_golden,
    generated_inputs,
    read_golden,
    rounded,
    save_arrays,
)
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import (
    Gates,
    OutputGate,
    TensorSpec,
    file_entry,
    load_bundle,
    parse_manifest,
)
from edge_perception.models.writing import write_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two sets of bundles, and a damaged one."""
    folder = tmp_path / "models"
    for path, name in (("lite/lidar", "lite_lidar"), ("single", "alone"), ("lite/bad", "bad")):
        bundle_of(folder / path, tiny(name=name), HEADS)
    with (folder / "lite" / "bad" / "model.onnx").open("ab") as file:
        file.write(b"x")
    return folder


# -- finding --


@pytest.mark.parametrize("name", ["lite/lidar", "lite_lidar"])
def test_found_by_path_and_by_name(models: Path, name: str) -> None:
    assert find_bundle(name, [models]).path == models / "lite" / "lidar"


def test_first_folder_wins(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    bundle_of(other / "single", tiny(name="alone", version="9.0.0"), HEADS)
    assert find_bundle("single", [other, models]).manifest.version == "9.0.0"
    assert find_bundle("alone", [models, other]).manifest.version == "1.0.0"


def test_unknown_name_lists_what_there_is(models: Path) -> None:
    with pytest.raises(UnknownNameError, match="'nope'; known: lite/bad, lite/lidar, single"):
        find_bundle("nope", [models])
    with pytest.raises(UnknownNameError, match="known: none"):
        find_bundle("nope", [])


@pytest.mark.parametrize(
    "name", ["", "..", "../single", "lite/../single", "/etc", "lite//lidar", ".", "a\\b", "a\0b"]
)
def test_names_that_leave_the_folders(models: Path, name: str) -> None:
    with pytest.raises(ModelError, match="not a path out of the folders"):
        find_bundle(name, [models / "lite"])


def test_damaged_bundle_is_named_and_hides_no_other(models: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx: expected \d+ bytes"):
        find_bundle("lite/bad", [models])
    assert [b.manifest.name for b in list_bundles([models])] == ["lite_lidar", "alone"]
    errors = {entry.name: entry.error for entry in stored_bundles([models])}
    assert "expected" in errors.pop("lite/bad")
    assert errors == {"lite/lidar": "", "single": ""}


def test_broken_manifest_beside_it(models: Path) -> None:
    (models / "single" / "manifest.json").write_text("{")
    assert find_bundle("lite_lidar", [models]).manifest.name == "lite_lidar"


def test_unfinished_bundle_is_not_seen(models: Path) -> None:
    shutil.copytree(models / "single", models / ".single.half")
    assert [entry.name for entry in stored_bundles([models])] == [
        "lite/bad",
        "lite/lidar",
        "single",
    ]


def test_installed_folders_exist() -> None:
    for folder in installed_model_folders():
        assert folder.is_dir()


# -- writing --


def test_more_files_and_their_hashes(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("what it is")
    source = constant_heads(tmp_path / "m.onnx", INPUTS, HEADS)
    bundle = write_bundle(
        tmp_path / "models" / "x",
        manifest=tiny(provenance={"licence": "Apache-2.0", "model_card": "card.md"}),
        model=source.read_bytes(),
        golden_inputs={"raster": np.ones((1, 2, 4, 4), np.float32)},
        files={"card.md": card, "notes.txt": b"notes"},
    )
    assert set(bundle.manifest.files) == {
        "model.onnx",
        "golden_inputs.npz",
        "golden_outputs.npz",
        "card.md",
        "notes.txt",
    }
    assert (bundle.path / "notes.txt").read_bytes() == b"notes"
    inputs, outputs = read_golden(bundle)
    np.testing.assert_array_equal(inputs["raster"], 1.0)
    np.testing.assert_allclose(outputs["heatmap"], HEADS["heatmap"], atol=2e-3 / 16)  # of the gates


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"inputs": []}, "manifest.inputs: got {}, the graph has"),
        ({"labels": "car"}, "manifest.labels: expected a list"),
        ({"role": "Radar 1"}, "manifest.role: expected fusion or a modality"),
        ({"name": "a/b"}, "manifest.name"),
    ],
)
def test_manifest_that_does_not_fit_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    source = constant_heads(tmp_path / "m.onnx", INPUTS, HEADS)
    zeros = {"raster": np.zeros((1, 2, 4, 4), np.float32)}
    with pytest.raises(ManifestError, match=text):
        write_bundle(
            tmp_path / "out" / "x", manifest=tiny(**changes), model=source, golden_inputs=zeros
        )
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_failure_while_replacing_keeps_the_old_bundle(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_bundle(models / "single")

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_sync", full)
    source = constant_heads(models / "m.onnx", INPUTS, HEADS)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(
            models / "single",
            manifest=tiny(name="alone", version="3.0.0"),
            model=source,
            golden_inputs={"raster": np.zeros((1, 2, 4, 4), np.float32)},
            replace=True,
        )
    assert load_bundle(models / "single") == before
    assert not [path for path in models.iterdir() if path.name.startswith(".")]


# -- golden data --


def backend_of(bundle: Any) -> Any:
    return backends()["onnxruntime"].load(bundle.model_path, BackendOptions())


def with_golden(bundle: Any, data: Any) -> Any:
    """Other golden outputs, and a manifest that says so."""
    path = bundle.path / "golden_outputs.npz"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        save_arrays(path, data)
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["files"][path.name] = dataclasses.asdict(file_entry(path))
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(bundle.path)


def test_outputs_that_differ_are_named(models: Path) -> None:
    bundle = load_bundle(models / "single")
    wrong = {"heatmap": HEADS["heatmap"].copy()}
    wrong["heatmap"][0, 0, 1, 2] += 0.5
    wrong["heatmap"][0, 0, 0, 0] = np.nan
    bundle = with_golden(bundle, wrong)
    (deviation,) = compare_golden(bundle, backend_of(bundle))
    assert not deviation.passed
    assert deviation.output == "heatmap"
    assert deviation.reason.startswith("2 of 16 values differ")


def test_gates_of_the_manifest_decide(models: Path) -> None:
    bundle = load_bundle(models / "single")
    bundle = with_golden(bundle, {"heatmap": HEADS["heatmap"] + 9e-4})
    assert compare_golden(bundle, backend_of(bundle))[0].passed
    bundle = with_golden(bundle, {"heatmap": HEADS["heatmap"] + 4e-3})
    assert not compare_golden(bundle, backend_of(bundle))[0].passed


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({}, "'heatmap' expects .* got nothing"),
        ({"heatmap": np.zeros((1, 1, 4, 5), np.float32)}, r"got \(1, 1, 4, 5\) float32"),
        ({"heatmap": np.zeros((1, 1, 4, 4), np.float64)}, "float64"),
    ],
)
def test_golden_data_that_does_not_fit(models: Path, arrays: dict, text: str) -> None:
    bundle = load_bundle(models / "single")
    bundle = with_golden(bundle, arrays)
    with pytest.raises(BundleError, match=text):
        read_golden(bundle)
    bundle = with_golden(bundle, b"nothing")
    with pytest.raises(BundleError, match="NumPy archive"):
        read_golden(bundle)


def test_what_was_replaced_since_it_was_verified_is_not_read(models: Path) -> None:
    bundle = load_bundle(models / "single")
    model = bundle.path / bundle.manifest.model
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.onnx: expected sha256"):
        open_bundle(bundle, ModelOptions(model="single"))
    model.write_bytes(data + b"more")
    with pytest.raises(BundleError, match="or more"):
        bundle.read(bundle.manifest.model)
    with pytest.raises(BundleError, match=r"no file '\.\./x'"):
        bundle.read("../x")


def test_bundle_without_golden_data(models: Path) -> None:
    path = models / "single" / "manifest.json"
    data = json.loads(path.read_text())
    data["golden"] = None
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"manifest\.golden"):
        read_golden(load_bundle(models / "single"))


def test_saved_arrays_are_the_same_bytes_and_any_name_works(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "a/b:0": np.ones((2, 2), np.float32)}
    for name in ("x.npz", "y.npz"):
        save_arrays(tmp_path / name, arrays)
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()
    with np.load(tmp_path / "x.npz") as archive:
        for name, array in arrays.items():
            np.testing.assert_array_equal(archive[name], array)
    assert zipfile.is_zipfile(tmp_path / "x.npz")


def test_generated_inputs_are_the_same_for_ever() -> None:
    specs = (
        TensorSpec(name="a", dtype="float32", shape=(1, 2, 20, 33)),
        TensorSpec(name="b", dtype="int64", shape=(1, 5)),
        TensorSpec(name="c", dtype="float32", shape=(3,)),
    )
    first, second = generated_inputs(specs), generated_inputs(specs)
    for spec in specs:
        assert first[spec.name].shape == spec.shape
        assert first[spec.name].dtype == spec.dtype
        np.testing.assert_array_equal(first[spec.name], second[spec.name])
    assert 0 <= first["a"].min() < 0.4 < 0.6 < first["a"].max() <= 1
    assert np.abs(np.diff(first["a"])).max() < 0.1  # smooth
    assert first["a"][0, 0, 0, 0] == np.float32(0.637)


def test_an_older_manifest_may_have_fields_that_nothing_reads_any_more(tmp_path: Path) -> None:
    text = json.loads(
        (
            find_bundle("bev_lite/audio", installed_model_folders()).path / "manifest.json"
        ).read_bytes()
    )
    new = parse_manifest(json.dumps(text))
    for part, name in ((text["runtime"], "providers"), (text["resources"], "load_s")):
        part[name] = ["CPUExecutionProvider"] if name == "providers" else 0.5
    for tensor in (*text["inputs"], *text["outputs"]):
        tensor["layout"] = "NCHW"
    assert parse_manifest(json.dumps(text)) == new
    text["runtime"]["layout"] = "NCHW"  # never was there
    with pytest.raises(ManifestError, match=r"manifest\.runtime"):
        parse_manifest(json.dumps(text))
    made = write_bundle(
        tmp_path / "tiny",
        manifest=tiny(runtime={"opset": 17, "providers": ["CPUExecutionProvider"]}),
        model=constant_heads(tmp_path / "m.onnx", INPUTS, HEADS),
        golden_inputs={"raster": np.ones((1, 2, 4, 4), np.float32)},
    )
    assert "providers" not in (made.path / "manifest.json").read_text()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_golden_outputs_lose_digits_that_their_gates_are_far_from_seeing(dtype):
    rng = np.random.default_rng(1)
    values = (rng.normal(0.0, 3.0, 5000) * rng.choice([1e-3, 1.0, 30.0], 5000)).astype(dtype)
    values[:3] = np.nan, np.inf, -np.inf
    gates = Gates(absolute_tolerance=2e-3, relative_tolerance=2e-3)
    made = rounded("y", values, gates)
    assert made.dtype == values.dtype
    np.testing.assert_array_equal(made[:3], values[:3])
    limit = gates.absolute_tolerance + gates.relative_tolerance * np.abs(values[3:])
    assert (np.abs(made[3:] - values[3:]) <= limit / 16).all()
    assert len(np.unique(made)) < len(np.unique(values)) or dtype == "float16"
    # Gates of quantised models allow everything but another direction.
    wide = Gates(outputs={"y": OutputGate(absolute_tolerance=10.0, cosine=0.99)})
    finite = values[3:].astype(np.float64)
    made = rounded("y", values, wide)[3:].astype(np.float64)
    assert finite @ made / np.linalg.norm(finite) / np.linalg.norm(made) > 0.999_999
    for kept in (np.arange(5), np.zeros(4, dtype)):
        np.testing.assert_array_equal(rounded("y", kept, gates), kept)
    exact = Gates(absolute_tolerance=0.0)
    np.testing.assert_array_equal(rounded("y", values, exact), values)
