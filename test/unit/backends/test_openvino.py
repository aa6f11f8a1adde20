"""What OpenVINO promises beyond the contract of backends."""

from pathlib import Path

import numpy as np
import pytest

from edge_perception.backends import BackendOptions, backends
from edge_perception.core.errors import BackendError
from edge_perception.models.golden import compare_golden
from edge_perception.models.manifest import load_bundle

pytest.importorskip("openvino", reason="openvino is not installed: the extra `openvino`")

SET = Path(__file__).parents[3] / "models" / "bev_lite"


def load(role: str, **options):
    return backends()["openvino"].load(SET / role / "model.onnx", BackendOptions(**options))


@pytest.mark.parametrize("role", ["camera", "lidar", "audio", "fusion"])
def test_the_bundled_models_agree_with_their_golden_outputs(role):
    session = load(role)
    deviations = compare_golden(load_bundle(SET / role), session)
    info = session.describe()
    session.close()
    assert all(deviation.passed for deviation in deviations), deviations
    assert info.precision == "f32"
    assert set(info.assignment) == {"CPU f32"}


def test_the_precision_is_the_one_that_was_asked_for_or_it_is_said():
    session = load("audio", precision="bf16")
    info = session.describe()
    session.close()
    assert info.precision == "bf16" or any("bf16" in note for note in info.notes)


def test_a_compiled_model_is_found_again(tmp_path):
    first, second = (load("lidar", cache=tmp_path) for _ in range(2))
    hits = [session.describe().cache_hit for session in (first, second)]
    zeros = {t.name: np.zeros(t.shape, t.dtype) for t in first.describe().inputs}
    a, b = first.infer(zeros), second.infer(zeros)
    for session in (first, second):
        session.close()
    assert hits == [False, True]
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_device_that_is_not_here():
    with pytest.raises(BackendError, match="NPU is not here; OpenVINO finds CPU"):
        load("audio", provider=("NPU",))
    session = load("audio", provider=("NPU", "CPU"))
    info = session.describe()
    session.close()
    assert info.provider == "CPU"
    assert any("NPU is not here" in note for note in info.notes)
    with pytest.raises(BackendError, match="NPU"):
        load("audio", provider=("NPU", "CPU"), strict=True)
