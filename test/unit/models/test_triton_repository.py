"""Bundles in a model repository."""

from pathlib import Path

import pytest

from edge_perception.cli.main import main
from edge_perception.core.errors import ModelError
from edge_perception.models.manifest import load_bundle
from edge_perception.models.triton_repository import export_triton

AUDIO = Path(__file__).parents[3] / "models" / "bev_lite" / "audio"


def test_the_command_writes_what_a_server_reads(tmp_path, capsys):
    assert main(["models", "export-triton", str(tmp_path), "bev_lite/audio"]) == 0
    told = capsys.readouterr().out
    folder = tmp_path / "bev_lite_audio"
    config = (folder / "config.pbtxt").read_text()
    assert (folder / "1" / "model.onnx").read_bytes() == (AUDIO / "model.onnx").read_bytes()
    assert 'backend: "onnxruntime"' in config
    assert 'name: "log_mel" data_type: TYPE_FP32 dims: [ 1, 1, 96, 64 ]' in config
    assert "dynamic_batching" not in config
    assert "kserve.model=bev_lite_audio" in told


def test_what_is_there_is_not_overwritten(tmp_path):
    bundle = load_bundle(AUDIO)
    export_triton(bundle, tmp_path)
    with pytest.raises(ModelError, match="is there already"):
        export_triton(bundle, tmp_path)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "../up"}, "expected letters"),
        ({"backend": "tensorrrt"}, "expected one of onnxruntime, python"),
        ({"max_batch": 4}, "first dimension of log_mel"),
    ],
)
def test_what_a_server_would_not_take_is_refused(tmp_path, options, text):
    with pytest.raises(ModelError, match=text):
        export_triton(load_bundle(AUDIO), tmp_path, **options)
    assert not list(tmp_path.iterdir())
