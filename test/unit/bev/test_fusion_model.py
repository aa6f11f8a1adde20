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


@pytest.fixture(scope="module")
def of_one_camera(loaded):
    """The same model, as somebody else's would be: no input says how sources are merged."""
    manifest = loaded.bundle.manifest
    inputs = tuple(dataclasses.replace(spec, merge="", weight="") for spec in manifest.inputs)
    plain = dataclasses.replace(manifest, inputs=inputs)
    bundle = dataclasses.replace(loaded.bundle, manifest=plain)
    return BundleFusionModel(dataclasses.replace(loaded, bundle=bundle))


def test_two_sources_of_an_input_that_takes_one_are_refused(of_one_camera, features, golden):
    rear = feature("camera_rear", {"bev": golden["camera_bev"]}, "camera")
    with pytest.raises(ModelError, match=r"one source of modality camera.*'camera_rear'"):
        of_one_camera.run({**features, "camera_rear": rear})


def camera_of(name: str, value: float, columns: slice, golden) -> Feature:
    seen = np.zeros((1, 1, *golden["camera_bev"].shape[2:]), np.uint8)
    seen[..., columns] = 1
    bev = np.full_like(golden["camera_bev"], value)
    return feature(name, {"bev": bev, "seen": seen}, "camera")


def test_each_cell_is_what_the_cameras_that_see_it_say(model, golden):
    left, right = slice(32, None), slice(0, 40)
    cameras = [camera_of("camera_left", 1.0, left, golden),
               camera_of("camera_right", 3.0, right, golden)]  # fmt: skip
    bev = model.inputs({item.source: item for item in cameras})["camera_bev"]
    assert bev.dtype == np.float32
    np.testing.assert_allclose(bev[..., :32], 3.0, rtol=1e-4)
    np.testing.assert_allclose(bev[..., 32:40], 2.0, rtol=1e-4)
    np.testing.assert_allclose(bev[..., 40:], 1.0, rtol=1e-4)


def test_a_camera_alone_is_given_as_it_is(model, features, golden):
    bev = model.inputs({"camera_left": camera_of("camera_left", 7.0, slice(0, 1), golden)})
    assert (bev["camera_bev"] == 7.0).all(), "what nobody sees is the network's answer to nothing"


@pytest.mark.parametrize("count", [2, 8])
def test_copies_of_one_source_say_what_it_says_alone(model, features, count):
    """Also without a tensor that says what is seen: then each counts everywhere."""
    copies = {
        f"{name}_{index}": dataclasses.replace(item, source=f"{name}_{index}")
        for name, item in features.items()
        for index in range(count)
    }
    many, one = model.inputs(copies), model.inputs(features)
    for name, array in one.items():
        np.testing.assert_allclose(many[name], array, atol=1e-5)


def test_what_is_seen_moves_along_with_the_vehicle(model, golden):
    T = np.eye(4)
    T[0, 3] = -8.0  # ten cells ahead since the image
    wall = camera_of("camera_left", 1.0, slice(None), golden)
    wall.tensors["seen"][0, 0, :50] = 0
    moved = dataclasses.replace(wall, displacement=T)
    other = camera_of("camera_right", 5.0, slice(None), golden)
    bev = model.inputs({"camera_left": moved, "camera_right": other})["camera_bev"][0, 0]
    np.testing.assert_allclose(bev[:40], 5.0, rtol=1e-4)
    np.testing.assert_allclose(bev[41:85], 3.0, rtol=1e-4)
    np.testing.assert_allclose(bev[87:], 5.0, rtol=1e-4)  # left the grid


@pytest.mark.parametrize(
    ("seen", "got"),
    [(np.ones((1, 1, 3, 3), np.uint8), r"\(1, 1, 3, 3\)"),
     (np.ones((96, 64), np.float32), r"\(96, 64\)")],
)  # fmt: skip
def test_a_weight_of_another_shape_is_refused(model, features, golden, seen, got):
    odd = feature("camera_rear", {"bev": golden["camera_bev"], "seen": seen}, "camera")
    with pytest.raises(ModelError, match=f"'seen'.*'camera_rear', got {got}"):
        model.run({**features, "camera_rear": odd})


def test_a_weight_from_outside_counts_at_most_once(model, golden):
    loud = camera_of("camera_a", 1.0, slice(None), golden)
    loud.tensors["seen"][:] = 255
    quiet = camera_of("camera_b", 3.0, slice(None), golden)
    bev = model.inputs({"camera_a": loud, "camera_b": quiet})["camera_bev"]
    np.testing.assert_allclose(bev, 2.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"merge": "", "weight": "seen"}, "has a weight: expected merge"),
     ({"merge": "mean", "weight": "seen", "shape": (1, 32)}, r"shape \(1, C, H, W\)")],
)  # fmt: skip
def test_a_weight_that_nothing_would_read_is_refused(loaded, change, words):
    manifest = loaded.bundle.manifest
    inputs = (dataclasses.replace(manifest.inputs[0], **change), *manifest.inputs[1:])
    plain = dataclasses.replace(manifest, inputs=inputs)
    broken = dataclasses.replace(loaded, bundle=dataclasses.replace(loaded.bundle, manifest=plain))
    with pytest.raises(ManifestError, match=words):
        BundleFusionModel(broken)


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
