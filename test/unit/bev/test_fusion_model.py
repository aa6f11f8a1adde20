import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_perception.core.errors import ManifestError, ModelError
from edge_perception.core.types import Feature, ModelVersion
from edge_perception.models.adapters.bev_center import make_decoder
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.loading import load_model

MODELS = Path(__file__).parents[3] / "models"
VERSION = ModelVersion(role="camera", name="m", version="1.0.0", sha256="")


@pytest.fixture(scope="module")
def loaded():
    options = ModelOptions(model="bev_lite/fusion", model_folders=(str(MODELS),))
    return load_model(options, role="fusion")


@pytest.fixture
def model(loaded):
    return BundleFusionModel(loaded)


@pytest.fixture(scope="module")
def golden(loaded):
    with np.load(loaded.bundle.path / loaded.bundle.manifest.golden.inputs) as data:
        return dict(data)


def feature(source: str, tensors: dict[str, np.ndarray], modality: str = "") -> Feature:
    return Feature(
        stamp_ns=1, frame_id="", source=source, modality=modality or source.split("_")[0],
        model=VERSION, sequence=0, tensors=tensors,
    )  # fmt: skip


@pytest.fixture
def features(golden):
    return {
        "camera": feature("camera", {"bev": golden["camera_bev"]}),
        "lidar": feature("lidar", {"bev": golden["lidar_bev"]}),
        "audio": feature("audio", {"embedding": golden["audio_embedding"]}),
    }


def test_identity_and_feature_spaces(model, loaded):
    assert model.version.role == "fusion"
    assert model.version.sha256 == loaded.bundle.sha256
    assert set(model.compatible) == set(loaded.bundle.manifest.compatible_with) != set()


@pytest.mark.parametrize(
    "present",
    [("camera", "lidar", "audio"), ("camera", "lidar"), ("lidar", "audio"), ("camera", "audio"),
     ("camera",), ("lidar",), ("audio",)],
)  # fmt: skip
def test_presence_says_which_modalities_are_there(model, features, present):
    chosen = {name: features[name] for name in present}
    inputs = model.inputs(chosen)
    expected = [float(name in present) for name in ("camera", "lidar", "audio")]
    assert inputs["presence"].tolist() == [expected]
    assert not inputs["camera_bev"].any() or "camera" in present
    output = model.run(chosen)
    assert all(0 <= o.score <= 1 for o in output.objects)


@pytest.mark.parametrize("key", ["lidar+camera", "radar", ""])
def test_calibration_of_a_subset_that_cannot_be_is_refused(loaded, key):
    manifest = loaded.bundle.manifest
    options = {**manifest.postprocessing, "subsets": {key: {"temperature": 2.0}}}
    with pytest.raises(ManifestError, match="camera\\+lidar"):
        make_decoder(dataclasses.replace(manifest, postprocessing=options))


def test_full_set_finds_what_the_golden_scene_holds(model, features):
    assert any(o.class_name == "car" for o in model.run(features).objects)


def test_hearing_alone_locates_nothing(model, features):
    assert model.run({"audio": features["audio"]}).objects == ()


def test_graph_ignores_what_an_absent_input_holds(loaded, golden):
    absent = {**golden, "presence": np.array([[0.0, 1.0, 1.0]], np.float32)}
    noise = np.random.default_rng(0).normal(0, 9, golden["camera_bev"].shape)
    first = loaded.backend.infer(absent)
    second = loaded.backend.infer({**absent, "camera_bev": noise.astype(np.float32)})
    for name, values in first.items():
        np.testing.assert_allclose(second[name], values, atol=1e-5)


def test_two_sources_of_a_modality_are_refused(model, features, golden):
    rear = feature("camera_rear", {"bev": golden["camera_bev"]}, "camera")
    with pytest.raises(ModelError, match=r"one source of modality camera.*'camera_rear'"):
        model.run({**features, "camera_rear": rear})


@pytest.mark.parametrize(
    ("tensors", "got"),
    [({}, "nothing"), ({"bev": np.zeros((1, 24, 9, 9), np.float32)}, r"\(1, 24, 9, 9\)"),
     ({"bev": np.zeros((1, 24, 96, 64))}, "float64")],
)  # fmt: skip
def test_feature_that_does_not_fit_is_refused(model, features, tensors, got):
    with pytest.raises(ModelError, match=f"lidar_bev.*{got}"):
        model.run({**features, "lidar": feature("lidar", tensors)})


def test_nan_in_a_feature_is_no_object(model, features, golden):
    poisoned = golden["lidar_bev"].copy()
    poisoned[0, 0, 5, 5] = np.nan
    with pytest.raises(ModelError, match="NaN"):
        model.run({"lidar": feature("lidar", {"bev": poisoned})})


def test_manifest_without_presence_is_refused(loaded):
    from dataclasses import replace

    manifest = replace(loaded.bundle.manifest, inputs=loaded.bundle.manifest.inputs[:-1])
    broken = replace(loaded, bundle=replace(loaded.bundle, manifest=manifest))
    with pytest.raises(ManifestError, match="presence"):
        BundleFusionModel(broken)
