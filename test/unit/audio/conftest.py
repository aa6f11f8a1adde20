import os
from pathlib import Path

import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.encoders.audio.encoder import AudioEncoder, AudioIntake
from edge_perception.models.manifest import Bundle, Manifest
from edge_perception.releases.importing import import_model

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
    return import_model(yamnet_source, adapter="yamnet", into=tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def yamnet_backend(yamnet_bundle):
    backend = backends()["onnxruntime"].load(yamnet_bundle.model_path, BackendOptions(threads=1))
    backend.warm_up(2)
    return backend


@pytest.fixture
def yamnet(yamnet_bundle, yamnet_backend) -> tuple[AudioEncoder, AudioIntake]:
    manifest: Manifest = yamnet_bundle.manifest
    return AudioEncoder(manifest, yamnet_backend), AudioIntake(manifest)
