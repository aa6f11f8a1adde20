"""Two models side by side, tensor by tensor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the Python package onnx is not installed")

from edge_perception.cli.main import main
from edge_perception.core.errors import ModelError
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.layers import compare_models
from edge_perception.models.manifest import Bundle
from edge_perception.releases.repacking import repack


@pytest.fixture(scope="module")
def lidar() -> Bundle:
    return find_bundle("bev_lite/lidar", installed_model_folders())


def negate(graph):
    """Turn the weights of the third convolution round."""
    from onnx import numpy_helper

    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    weight = next(t for t in graph.graph.initializer if t.name == convolutions[2].input[1])
    values = -numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return convolutions[2].output[0]


def changed(lidar: Bundle, folder: Path, edit) -> tuple[Bundle, str]:
    where = []
    bundle = repack(
        lidar, folder, changes={"version": "2.0.0"}, edit=lambda g: where.append(edit(g))
    )
    return bundle, where[0]


def test_the_layer_where_two_models_part_is_found(lidar: Bundle, tmp_path: Path) -> None:
    candidate, where = changed(lidar, tmp_path / "negated", negate)
    parity = compare_models(candidate, lidar, layers=True)
    parted = [tensor.name for tensor in parity.tensors if not tensor.cosine > 0.99]
    assert parted[0] == where
    before = parity.tensors[: [t.name for t in parity.tensors].index(where)]
    assert before
    assert all(tensor.max_absolute == 0.0 for tensor in before)
    turned = next(tensor for tensor in parity.tensors if tensor.name == where)
    assert turned.cosine < 0
    assert turned.passed is None
    assert not parity.passed
    assert {t.name for t in parity.tensors if t.output} == {s.name for s in lidar.manifest.outputs}
    outputs = compare_models(candidate, lidar)
    assert all(tensor.output for tensor in outputs.tensors)


def test_a_model_against_itself(lidar: Bundle) -> None:
    parity = compare_models(lidar, lidar, layers=True)
    assert parity.passed
    assert not parity.only_candidate
    assert not parity.only_current
    assert all(tensor.max_absolute == 0.0 for tensor in parity.tensors)
    assert all(tensor.cosine == pytest.approx(1.0) for tensor in parity.tensors)


def test_layers_of_one_model_alone_are_named(lidar: Bundle, tmp_path: Path) -> None:
    def rename(graph):
        """Give the first convolution's output another name."""
        old = next(node for node in graph.graph.node if node.op_type == "Conv").output[0]
        for node in graph.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = "renamed" if name == old else name
        for value in graph.graph.value_info:
            value.name = "renamed" if value.name == old else value.name
        return old

    candidate, old = changed(lidar, tmp_path / "renamed", rename)
    parity = compare_models(candidate, lidar, layers=True)
    assert "renamed" in parity.only_candidate
    assert old in parity.only_current
    assert parity.passed


def test_other_inputs_are_refused(lidar: Bundle) -> None:
    camera = find_bundle("bev_lite/camera", installed_model_folders())
    with pytest.raises(ModelError, match="expected the inputs of"):
        compare_models(lidar, camera)


def test_compare_as_a_person_types_it(
    lidar: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate, where = changed(lidar, tmp_path / "made" / "negated", negate)
    command = ["models", "compare", "made/negated", "bev_lite/lidar", "--folder", str(tmp_path)]
    command += ["--store", str(tmp_path / "none")]
    assert main([*command, "--layers"]) == 1
    text = capsys.readouterr().out
    assert f"first with a cosine below 0.99: {where} (Conv)" in text
    assert "FAILED" in text
    assert main([*command, "--layers", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["candidate"]["sha256"] == candidate.sha256
    assert np.isfinite(data["tensors"][0]["cosine"])
    same = ["models", "compare", "bev_lite/lidar", "bev_lite/lidar:0.0.0"]
    assert main([*same, "--store", str(tmp_path / "none")]) == 2
    assert "expected version 0.0.0" in capsys.readouterr().err
    assert main(["models", "compare", "bev_lite/lidar", "--store", str(tmp_path / "none")]) == 2
    assert "name one" in capsys.readouterr().err
