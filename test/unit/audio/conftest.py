import json
import os
from pathlib import Path

import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake
from edge_perception.models.adapters.yamnet import describe
from edge_perception.models.manifest import Bundle, Manifest, file_entry, load_bundle

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(scope="session")
def audio_folder() -> Path:
    folder = DATA / "audio"
    if not folder.is_dir():
        pytest.skip(f"no recordings: {folder}")
    return folder


@pytest.fixture(scope="session")
def yamnet_source() -> Path:
    model = DATA / "models" / "yamnet_spectra_in.onnx"
    if not model.is_file():
        pytest.skip(f"no model: {model}")
    pytest.importorskip("onnx")
    return model


@pytest.fixture(scope="session")
def yamnet_bundle(yamnet_source, tmp_path_factory) -> Bundle:
    return bundle_yamnet(yamnet_source, tmp_path_factory.mktemp("yamnet"))


def bundle_yamnet(source: Path, folder: Path) -> Bundle:
    """Make a bundle of the YAMNet file, its embedding a graph output."""
    import onnx

    described = describe(source)
    model = onnx.load(str(source))
    present = {value.name for value in model.graph.output}
    for spec in described["outputs"]:
        if spec["name"] not in present:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(
                    spec["name"], onnx.TensorProto.FLOAT, spec["shape"]
                )
            )
    onnx.save(model, str(folder / "model.onnx"))
    entry = file_entry(folder / "model.onnx")
    described["files"] = {"model.onnx": {"sha256": entry.sha256, "size": entry.size}}
    (folder / "manifest.json").write_text(json.dumps(described))
    return load_bundle(folder)


@pytest.fixture(scope="session")
def yamnet_backend(yamnet_bundle):
    backend = backends()["onnxruntime"].load(yamnet_bundle.model_path, BackendOptions(threads=1))
    backend.warm_up(2)
    return backend


@pytest.fixture
def yamnet(yamnet_bundle, yamnet_backend) -> tuple[AudioEncoder, AudioIntake]:
    manifest: Manifest = yamnet_bundle.manifest
    return AudioEncoder(manifest, yamnet_backend), AudioIntake(manifest)
