"""`training.family`: a variant of the set with what was measured of it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.share import share_directory
from edge_perception.models.golden import compare_golden, read_golden
from edge_perception.models.manifest import load_bundle
from training.family import light, row_of, write

MODELS = share_directory() / "models"
COMPARED = {
    "figures": {"judge": {"measure": "mAP", "frames": 40}, "machine": "Some CPU, 2 cores"},
    "tables": {
        "candidates": [
            {"candidate": "bev_lite_lidar"},
            {
                "candidate": "mine", "backend": "onnxruntime", "loss_points": 1.25,
                "loss_low": -0.5, "loss_high": 3.0, "ratio": 0.5, "ratio_low": 0.4,
                "ratio_high": 0.6, "losses_points": {"lidar": 1.25, "fused": 0.75},
            },
        ]
    },
}  # fmt: skip


def test_card_and_manifest_say_what_was_measured_and_nothing_of_the_large_one(tmp_path):
    large = load_bundle(MODELS / "bev_lite" / "lidar")
    made = load_bundle(MODELS / "bev_lite_int8" / "lidar")
    measured = row_of(COMPARED, "mine")
    written = write(
        made,
        large,
        tmp_path / "lidar",
        "tiny_lidar",
        "with half of it",
        measured,
        version="0.5.1",
        release=6,
    )
    manifest = written.manifest
    assert (manifest.name, manifest.version, manifest.release) == ("tiny_lidar", "0.5.1", 6)
    assert manifest.feature_space == large.manifest.feature_space
    assert manifest.preprocessing == large.manifest.preprocessing
    assert set(manifest.provenance.metrics) == {"compared"}
    assert manifest.provenance.metrics["compared"]["losses_points"] == {
        "lidar": 1.25,
        "fused": 0.75,
    }
    card = written.read("MODEL_CARD.md").decode()
    for text in (
        "# tiny_lidar 0.5.1", "with half of it", "40 simulated frames", "1.25 points of mAP lost",
        "0.50 of the time", "| lidar alone | 1.25 |", "CC BY 4.0", "## Limits", "## Intended use",
    ):  # fmt: skip
        assert text in card
    assert "pandaset_002" not in card  # figures of the large one
    assert "figures below" not in card
    assert card.count("Made by") == 1
    session = backends()["onnxruntime"].load(written.model_path, BackendOptions())
    assert all(deviation.passed for deviation in compare_golden(written, session))
    sizes = [b.manifest.files["golden_inputs.npz"].size for b in (written, large)]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_row_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(KeyError, match="yours: expected one of bev_lite_lidar, mine"):
        row_of(COMPARED, "yours")


@pytest.mark.parametrize("role", ["camera", "lidar"])
def test_light_inputs_are_nearly_those_of_the_large_one(role):
    inputs = read_golden(load_bundle(MODELS / "bev_lite" / role))[0]
    made = light(inputs)
    for name, array in inputs.items():
        assert made[name].shape == array.shape
        assert made[name].dtype == array.dtype
        if name == "images":
            near = array[..., ::2, ::2]
            assert np.allclose(made[name][..., 1::2, 1::2], near, rtol=2**-8)
        else:
            assert np.allclose(made[name], array, rtol=2**-8)
