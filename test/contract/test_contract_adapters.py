"""Every adapter that is found keeps the contract of adapters, with each bundle that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_perception.core.errors import ManifestError, ModelError
from edge_perception.models.adapters import AdapterSpec, adapters
from edge_perception.models.folders import installed_model_folders, list_bundles
from edge_perception.models.manifest import Manifest, load_bundle

ADAPTERS = sorted(adapters().specs)
BUNDLES = list_bundles(installed_model_folders())
ROLES = {"camera", "lidar", "audio", "fusion"}


def test_every_adapter_was_found() -> None:
    assert adapters().failures == {}
    assert set(ADAPTERS) >= {
        *("yolox", "yolo", "nanodet", "detr", "detections", "wasm", "centerpoint", "pointpillars"),
        *("bev_center", "audio_tagger", "yamnet"),
    }


@pytest.fixture(params=ADAPTERS)
def spec(request: pytest.FixtureRequest) -> AdapterSpec:
    return adapters()[request.param]


def test_spec(spec: AdapterSpec) -> None:
    assert spec.roles
    assert set(spec.roles) <= ROLES
    assert adapters().specs[spec.name] is spec


@pytest.mark.parametrize("name", [n for n in ADAPTERS if adapters()[n].describe])
def test_describe_refuses_what_is_no_model(name: str, tmp_path: Path) -> None:
    spec = adapters()[name]
    assert spec.describe is not None
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        spec.describe(path)
    with pytest.raises(ModelError):
        spec.describe(tmp_path / "none.onnx")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: b.manifest.name)
def test_decoder_of_every_bundle(bundle) -> None:
    manifest: Manifest = bundle.manifest
    spec = adapters()[manifest.adapter]
    assert manifest.role in spec.roles
    assert callable(spec.make_decoder(manifest))


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: b.manifest.name)
def test_unknown_option_is_refused(bundle) -> None:
    manifest = load_bundle(bundle.path).manifest
    changed = {**manifest.postprocessing, "no_such_option": 1}
    object.__setattr__(manifest, "postprocessing", changed)
    with pytest.raises(ManifestError, match="no_such_option"):
        adapters()[manifest.adapter].make_decoder(manifest)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: b.manifest.name)
def test_golden_outputs_are_what_the_manifest_says(bundle) -> None:
    manifest = bundle.manifest
    assert manifest.golden is not None
    with np.load(bundle.path / manifest.golden.outputs, allow_pickle=False) as arrays:
        for output in manifest.outputs:
            assert arrays[output.name].shape == output.shape
