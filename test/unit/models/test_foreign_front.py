"""What a graph does with its picture first is seen however exporters write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import NAMES, Signature, onnx
from foreign_imports import bring, check

ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": str(NAMES)}
MEAN, DEVIATION = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def written(path: Path, steps: list, weights: dict[str, Any], functions: list) -> Path:
    """YOLOv8 whose picture goes through these steps first, from `raw` to `pixels`."""
    model = onnx.load(str(graphs.write(path, Signature({"output0": graphs.v8(len(NAMES))}))))
    first = next(node for node in model.graph.node if node.op_type == "Cast")
    first.output[0] = "raw"
    for k, step in enumerate(steps):
        model.graph.node.insert(1 + k, step)
    constants = (onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items())
    model.graph.initializer.extend(constants)
    model.functions.extend(functions)
    if functions:
        model.opset_import.append(onnx.helper.make_opsetid("local", 1))
    onnx.helper.set_model_props(model, ULTRALYTICS)
    onnx.save(model, str(path))
    return path


def _ways(how: str) -> tuple[list, dict[str, Any], list]:
    node = onnx.helper.make_node
    if how == "a number in a node":
        return [node("Constant", [], ["by"], value_float=255.0),
                node("Div", ["raw", "by"], ["pixels"])], {}, []  # fmt: skip
    if how == "a constant that is cast":
        return [node("Constant", [], ["whole"], value_int=255),
                node("Cast", ["whole"], ["by"], to=1),
                node("Div", ["raw", "by"], ["pixels"])], {}, []  # fmt: skip
    if how == "a function":
        inside = [node("Constant", [], ["by"], value_float=255.0), node("Div", ["x", "by"], ["y"])]
        opset = [onnx.helper.make_opsetid("", 17)]
        made = onnx.helper.make_function("local", "Scale", ["x"], ["y"], inside, opset)
        return [node("Scale", ["raw"], ["pixels"], domain="local")], {}, [made]
    weights = {
        "scale": np.ones(3, np.float32), "shift": np.zeros(3, np.float32),
        "mean": np.array(MEAN, np.float32), "variance": np.array(DEVIATION, np.float32) ** 2,
    }  # fmt: skip
    inputs = ["raw", "scale", "shift", "mean", "variance"]
    return [node("BatchNormalization", inputs, ["pixels"], epsilon=0.0)], weights, []


@pytest.mark.parametrize(
    "how", ["a number in a node", "a constant that is cast", "a function", "a batch normalisation"]
)
def test_pixels_that_are_scaled_inside_are_not_scaled_before(tmp_path: Path, how: str) -> None:
    bundle, seen, recognised = bring(written(tmp_path / "yolo.onnx", *_ways(how)), {})
    assert bundle.manifest.preprocessing["scale"] == 1.0
    whys = {row.name: row.why for row in recognised.assumptions}
    assert "the graph begins with pixel *" in whys["scale"]
    check(seen, "center")


def _points(how: str) -> tuple[list, dict[str, Any], list]:
    """ImageNet's normalisation in a first convolution of single pixels, (x - mean) / deviation."""
    node = onnx.helper.make_node
    gain = 1 / np.array(DEVIATION, np.float32)
    shift = (-np.array(MEAN) * gain).astype(np.float32)
    if how == "a group a colour":
        weights = {"w": gain.reshape(3, 1, 1, 1), "b": shift}
        return (
            [node("Conv", ["raw", "w", "b"], ["pixels"], group=3, kernel_shape=[1, 1])],
            weights,
            [],
        )
    if how == "without the mean":
        conv = node("Conv", ["raw", "w"], ["less"], kernel_shape=[1, 1])
        weights = {"w": np.diag(gain).reshape(3, 3, 1, 1), "b": shift.reshape(1, 3, 1, 1)}
        return [conv, node("Add", ["less", "b"], ["pixels"])], weights, []
    weights = {"w": np.diag(gain).reshape(3, 3, 1, 1), "b": shift}
    if how == "turned":  # takes BGR, makes RGB
        weights["w"] = np.ascontiguousarray(weights["w"][:, ::-1])
    return [node("Conv", ["raw", "w", "b"], ["pixels"], kernel_shape=[1, 1])], weights, []


@pytest.mark.parametrize("how", ["a number a colour", "a group a colour", "without the mean"])
def test_a_normalisation_in_a_convolution_of_single_pixels_is_not_done_twice(
    tmp_path: Path, how: str
) -> None:
    bundle, seen, recognised = bring(written(tmp_path / "yolo.onnx", *_points(how)), {})
    prepared = bundle.manifest.preprocessing
    assert (prepared["scale"], prepared["color"]) == (1.0, "rgb")
    assert prepared.get("mean", [0.0] * 3) == [0.0] * 3
    whys = {row.name: row.why for row in recognised.assumptions}
    assert "the graph begins with pixel * 0.01712" in whys["scale"]
    check(seen, "center")


def test_colours_that_a_convolution_turns_come_in_the_other_order(tmp_path: Path) -> None:
    bundle, seen, _ = bring(written(tmp_path / "yolo.onnx", *_points("turned")), {})
    assert bundle.manifest.preprocessing["color"] == "bgr"
    assert bundle.manifest.preprocessing["scale"] == 1.0
    check(seen, "center")


def test_a_first_layer_that_mixes_colours_is_no_normalisation(tmp_path: Path) -> None:
    mixes = np.full((3, 3, 1, 1), 0.01, np.float32)
    conv = onnx.helper.make_node("Conv", ["raw", "w"], ["pixels"], kernel_shape=[1, 1])
    bundle, _, _ = bring(written(tmp_path / "yolo.onnx", [conv], {"w": mixes}, []), {})
    assert bundle.manifest.preprocessing["scale"] == pytest.approx(1 / 255)
