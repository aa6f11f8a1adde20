"""Weights in a file of their own: loaded from the bytes that were verified, like the graph."""

import json

import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BundleError, ModelError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.graph import with_weights
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import MANIFEST_NAME, load_bundle
from edge_perception.models.triton_repository import export_triton
from edge_perception.models.writing import write_bundle

onnx = pytest.importorskip("onnx")


@pytest.fixture
def split(tmp_path):
    """The audio model with its weights in weights.bin."""
    source = find_bundle("bev_lite/audio", installed_model_folders())
    model = onnx.load(str(source.model_path))
    (tmp_path / "split").mkdir()
    onnx.save_model(
        model,
        str(tmp_path / "split" / "model.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    manifest = json.loads((source.path / MANIFEST_NAME).read_text())
    for name in ("files", "golden", "schema_version"):
        manifest.pop(name)
    return write_bundle(
        tmp_path / "bundle",
        manifest=manifest,
        model=tmp_path / "split" / "model.onnx",
        golden_inputs=read_golden(source)[0],
        files={
            "weights.bin": tmp_path / "split" / "weights.bin",
            "MODEL_CARD.md": source.path / "MODEL_CARD.md",
        },
    )


def test_it_runs_and_no_file_is_read_again(split):
    assert split.manifest.files["model.onnx"].size < split.manifest.files["weights.bin"].size
    bundle = load_bundle(split.path)
    loaded = open_bundle(bundle, ModelOptions(model=""))
    assert all(deviation.passed for deviation in compare_golden(bundle, loaded.backend))
    loaded.backend.close()
    weights = split.path / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"weights\.bin: expected sha256"):
        open_bundle(bundle, ModelOptions(model=""))


def test_a_server_is_given_all_of_it(split, tmp_path):
    """Of a bundle it gets one file."""
    folder = export_triton(split, tmp_path / "repository")
    exported = backends()["onnxruntime"].load(folder / "1" / "model.onnx", BackendOptions())
    assert all(deviation.passed for deviation in compare_golden(split, exported))
    exported.close()


def test_what_is_not_in_the_bundle_or_in_the_file_is_refused(split):
    data = split.read("model.onnx")
    with pytest.raises(ModelError, match=r"of 'weights\.bin', which has 3"):
        with_weights("m", data, lambda _: b"abc")
    moved = data.replace(b"weights.bin", b"../../x.bin")
    with pytest.raises(BundleError, match=r"no file '\.\./\.\./x\.bin'"):
        with_weights("m", moved, split.read)
    with pytest.raises(ModelError, match="expected an ONNX model"):
        with_weights("m", b"\xff" * 50, split.read)


@pytest.mark.parametrize("model", ["model.onnx", "model.bin"])
def test_weights_that_the_manifest_does_not_name_are_not_taken_from_the_working_folder(
    split, tmp_path, monkeypatch, model
):
    """A runtime that is given bytes looks there: nobody signed what lies there."""
    manifest = json.loads((split.path / MANIFEST_NAME).read_text())
    del manifest["files"]["weights.bin"]
    manifest["files"][model] = manifest["files"].pop("model.onnx")
    manifest["model"] = model
    (split.path / "model.onnx").rename(split.path / model)
    (split.path / MANIFEST_NAME).write_text(json.dumps(manifest))
    monkeypatch.chdir(split.path)
    with pytest.raises(BundleError, match=r"no file 'weights\.bin' in its manifest"):
        open_bundle(load_bundle(split.path), ModelOptions(model=""))


@pytest.mark.parametrize(("embedded", "refused"), [(0, True), (1, False)])
def test_a_part_that_was_compiled_into_a_file_of_its_own_is_refused(embedded, refused):
    make = onnx.helper
    values = [make.make_tensor_value_info(name, 1, (1,)) for name in "xy"]
    part = make.make_node(
        "EPContext", ["x"], ["y"], name="part", domain="com.microsoft", embed_mode=embedded,
        ep_cache_context="engine.bin",
    )  # fmt: skip
    graph = make.make_graph([part], "g", values[:1], values[1:])
    data = make.make_model(graph).SerializeToString()
    if not refused:
        assert with_weights("m", data, lambda _: b"") == data
        return
    with pytest.raises(ModelError, match="'part' is a part that was compiled into a file"):
        with_weights("m", data, lambda _: b"")
