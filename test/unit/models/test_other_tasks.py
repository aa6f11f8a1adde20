"""Files that no family fits are refused by what they are for, with what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_graphs import onnx

from edge_perception.core.errors import ModelError
from edge_perception.releases.recognising import recognise

FLOAT, UINT8, INT64, STRING = 1, 2, 7, 8
Tensors = dict[str, tuple[int, list[Any]]]  # type and shape by name


def network(path: Path, inputs: Tensors, outputs: Tensors) -> Path:
    """A graph with these ends: each output is a weight plus 0 times the first input."""
    helper = onnx.helper
    first = next(iter(inputs))
    nodes = [
        helper.make_node("Cast", [first], ["numbers"], to=FLOAT),
        helper.make_node("ReduceMax", ["numbers"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
    ]
    weights = {"zero": np.array(0.0, np.float32)}
    for name, (_, shape) in outputs.items():
        whole = [n if isinstance(n, int) else 7 for n in shape]
        weights[f"{name}_w"] = np.zeros(whole, np.float32)
        nodes.append(helper.make_node("Add", [f"{name}_w", "nothing"], [name]))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path


# Name: inputs, outputs, what is said of it.
OTHERS: dict[str, tuple[Tensors, Tensors, str]] = {
    "silero vad 5": (
        {"input": (FLOAT, ["b", "n"]), "state": (FLOAT, [2, "b", 128]), "sr": (INT64, [])},
        {"output": (FLOAT, ["b", 1]), "stateN": (FLOAT, [2, "b", 128])},
        "output 'stateN' is input 'state' of the next call: a network with a memory"),
    "silero vad 4": (
        {"input": (FLOAT, ["b", "n"]), "sr": (INT64, []), "h": (FLOAT, [2, "b", 64]),
         "c": (FLOAT, [2, "b", 64])},
        {"output": (FLOAT, ["b", 1]), "hn": (FLOAT, [2, "b", 64]), "cn": (FLOAT, [2, "b", 64])},
        "output 'hn' is input 'h' of the next call"),
    "clap of transformers": (
        {"input_ids": (INT64, ["t", "s"]), "input_features": (FLOAT, ["a", 1, 1001, 64]),
         "attention_mask": (INT64, ["t", "s"])},
        {"logits_per_audio": (FLOAT, ["a", "t"]), "audio_embeds": (FLOAT, ["a", 512])},
        "input 'input_ids' takes texts, as CLAP"),
    "clap's sounds": (
        {"audio": (FLOAT, [1, 480_000])}, {"embedding": (FLOAT, [1, 512])},
        "512 numbers out, which is neither AudioSet's 521 or 527 classes nor what --labels names"),
    "classes of one's own": (
        {"waveform": (FLOAT, ["b", "n"])}, {"logits": (FLOAT, ["b", 50])},
        "50 numbers out, which is neither AudioSet's 521 or 527 classes nor what --labels names "
        "(no names are given): give --labels FILE with a name for each"),
    "a file": (
        {"image": (UINT8, ["bytes"])}, {"found": (FLOAT, ["n"])},
        "input 'image' takes bytes, as of a file: give the network from behind its decoding"),
    "range image": (
        {"scan": (FLOAT, [1, 5, 64, 2048])}, {"classes": (FLOAT, [1, 20, 64, 2048])},
        "as of segmentation of LiDAR (RangeNet++"),
    "points": (
        {"points": (FLOAT, [1, 4096, 4])}, {"classes": (FLOAT, [1, 4096, 13])},
        "output 'classes' has a class for each place of input 'points'"),
    "transfusion": (
        {"voxels": (FLOAT, ["n", 10, 5]), "num_points": (INT64, ["n"]), "coors": (INT64, ["n", 4])},
        {"cls_score0": (FLOAT, [1, 5, 500]), "bbox_pred0": (FLOAT, [1, 8, 500]),
         "dir_cls_pred0": (FLOAT, [1, 2, 500])},
        "boxes of queries, as TransFusion"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_network_is_for_is_said(tmp_path: Path, name: str) -> None:
    inputs, outputs, told = OTHERS[name]
    with pytest.raises(ModelError) as refused:
        recognise(network(tmp_path / "model.onnx", inputs, outputs))
    assert told in str(refused.value)


def test_what_the_encoder_of_pillars_gives_is_no_segmentation(tmp_path: Path) -> None:
    path = network(
        tmp_path / "pfe.onnx",
        {"features": (FLOAT, ["n", 32, 9])},
        {"pillars": (FLOAT, ["n", 32])},
    )
    with pytest.raises(ModelError) as refused:
        recognise(path)
    assert "segmentation" not in str(refused.value)


@pytest.mark.parametrize("domain", ["com.microsoft.extensions", "ai.onnx.contrib"])
def test_operators_of_onnxruntime_extensions_are_named_with_what_to_give(
    tmp_path: Path, domain: str
) -> None:
    path = network(
        tmp_path / "model.onnx",
        {"images": (FLOAT, [1, 3, 64, 96])},
        {"output0": (FLOAT, [1, 84, 126])},
    )
    model = onnx.load(str(path))
    model.graph.node.append(onnx.helper.make_node("DecodeImage", ["images"], ["x"], domain=domain))
    model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match="from before add_pre_post_processing_to_model"):
        recognise(path)


@pytest.mark.parametrize("what", ["sequence", "text"])
def test_outputs_that_are_no_numbers_are_refused_with_what_to_change(
    tmp_path: Path, what: str
) -> None:
    helper = onnx.helper
    image = helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 96])
    if what == "sequence":
        nodes = [helper.make_node("SequenceConstruct", ["images"], ["found"])]
        output = helper.make_tensor_sequence_value_info("found", FLOAT, None)
    else:
        nodes = [helper.make_node("Cast", ["images"], ["found"], to=STRING)]
        output = helper.make_tensor_value_info("found", STRING, [1, 3, 64, 96])
    graph = helper.make_graph(nodes, "test", [image], [output])
    path = tmp_path / "model.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    told = {"sequence": "got sequence_type: export it with tensors alone",
            "text": "expected numbers, got text: export it from behind"}  # fmt: skip
    with pytest.raises(ModelError, match=told[what]):
        recognise(path)
