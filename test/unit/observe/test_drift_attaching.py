"""A reference in a bundle: read from there, held against the model, refused for another."""

import json
import shutil

import pytest

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.share import share_file
from edge_perception.encoders.watch import reference_of
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import load_bundle
from edge_perception.monitoring.drift.reference import Reference, SectionBuilder
from edge_perception.observe.drift.attaching import attach
from edge_perception.observe.drift.making import Held


def _reference(model_sha256):
    builder = SectionBuilder()
    for step in range(200):
        builder.add({"score": [0.5 + 0.001 * (step % 7)]}, ["car"])
    return Reference(
        schema_version=1,
        source="lidar",
        modality="lidar",
        model="m",
        model_sha256=model_sha256,
        sections={"all": builder.section()},
    )


@pytest.fixture
def bundle():
    return load_bundle(share_file("models/bev_lite/lidar"))


def test_a_bundle_with_its_reference_loads_and_is_watched_with_it(bundle, tmp_path):
    reference = _reference(bundle.manifest.files[bundle.manifest.model].sha256)
    path = tmp_path / "lidar.drift.json"
    reference.write(path)
    made = attach(bundle.path, path, tmp_path / "with")
    loaded = open_bundle(made, ModelOptions(model="lidar"))
    try:
        assert reference_of(loaded, "") == (reference, "")
        other = _reference("f" * 64)
        other.write(path)
        found, why = reference_of(loaded, str(path))
        assert found is None
        assert why.startswith("the reference is of m ffffffffffff")
        found, why = reference_of(loaded, str(tmp_path / "gone.json"))
        assert found is None
        assert "expected a drift reference" in why
    finally:
        loaded.backend.close()
    with pytest.raises(ConfigurationError, match="expected the model"):
        attach(bundle.path, path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("drift", "findings", "judged", "good"),
    [
        ("none", (), True, True),
        ("none", ("lidar: drift of score, over before the end",), True, False),
        ("score", ("lidar: drift of score",), True, False),
        ("not known: no reference", (), False, True),
        ("not known: fewer than 3 looks yet", (), False, False),
    ],
)
def test_a_recording_is_good_where_every_reference_could_judge_it(drift, findings, judged, good):
    held = Held(source="lidar", said={"drift": drift}, findings=findings)
    assert (held.judged, held.good) == (judged, good)


def test_a_bundle_without_one_says_so(bundle, tmp_path):
    loaded = open_bundle(bundle, ModelOptions(model="lidar"))
    try:
        assert reference_of(loaded, "") == (None, "no reference")
    finally:
        loaded.backend.close()
    folder = tmp_path / "changed"
    shutil.copytree(bundle.path, folder)
    (folder / "drift.json").write_text(json.dumps({}))  # in the folder, and not in the manifest
    loaded = open_bundle(load_bundle(folder), ModelOptions(model="lidar"))
    try:
        assert reference_of(loaded, "") == (None, "no reference")
    finally:
        loaded.backend.close()
