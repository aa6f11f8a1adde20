"""Files that are broken or made to hurt: one clear message, no endless run, no memory of others."""

from __future__ import annotations

import _thread
import resource
import threading
from pathlib import Path
from typing import Any

import foreign_graphs as graphs
import numpy as np
import pytest
from foreign_graphs import Signature, onnx

from edge_perception.cli.main import main
from edge_perception.core.errors import BackendError, ConfigurationError, ModelError
from edge_perception.models import limited_run
from edge_perception.models.adapters._picture_config import read_picture_config
from edge_perception.models.foreign import read_foreign
from edge_perception.releases.recognising import recognise

NAMES = ["person", "bicycle", "car"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("imgsz", "[" * 5000),
        ("imgsz", "[Infinity, Infinity]"),
        ("imgsz", "[1e999]"),
        ("names", "[" * 5000),
        ("names", "{1e999: 'car'}"),
    ],
)
def test_metadata_that_are_no_numbers_are_named(tmp_path: Path, key: str, value: str) -> None:
    signature = Signature({"output0": graphs.v8(3)}, metadata={key: value}, free=(2, 3))
    path = graphs.write(tmp_path / "model.onnx", signature)
    said = {} if key == "imgsz" else {"size": "96x64"}
    with pytest.raises(ModelError, match=f"metadata '{key}': expected"):
        recognise(path, said=said)


def test_a_size_without_an_end_is_refused_wherever_it_is_said(tmp_path: Path) -> None:
    signature = Signature({"output0": graphs.v8()}, free=(2, 3))
    path = graphs.write(tmp_path / "model.onnx", signature)
    with pytest.raises(ModelError, match="size: expected WIDTHxHEIGHT, got"):
        recognise(path, said={"size": [float("inf"), 64]})
    config = tmp_path / "infer_cfg.yml"
    config.write_text("Preprocess: [{type: Resize, target_size: [.inf, .inf]}]")
    with pytest.raises(ModelError, match="is not as exporters write it"):
        read_picture_config(config)


@pytest.mark.parametrize("side", [65536, 2**62, 1])
def test_a_picture_that_no_camera_gives_is_refused_before_it_is_made(
    tmp_path: Path, side: int
) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature({"output0": graphs.v8()}))
    model = onnx.load(str(path))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = side
    onnx.save(model, str(path))
    with pytest.raises(ModelError, match=f"expected 8 to 8192 px, got {side}x{side}"):
        recognise(path)


def _with_start(path: Path, nodes: list[Any], weights: dict[str, np.ndarray]) -> Path:
    """Let a graph add the tensor `made` to what it reads of the picture."""
    graphs.write(path, Signature({"output0": graphs.v8()}))
    model = onnx.load(str(path))
    last = next(n for n in model.graph.node if list(n.output) == ["nothing"])
    last.input[0] = "made"
    position = list(model.graph.node).index(last)
    for k, node in enumerate(nodes):
        model.graph.node.insert(position + k, node)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in weights.items())
    onnx.save(model, str(path))
    return path


def test_a_loop_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper, (number, truth, real) = onnx.helper, (7, 9, 1)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still"]),
            helper.make_node("Add", ["value", "value"], ["more"]),
        ],
        "body",
        [info("turn", number, []), info("on", truth, []), info("value", real, [])],
        [info("still", truth, []), info("more", real, [])],
    )
    nodes = [helper.make_node("Loop", ["turns", "yes", "most"], ["made"], body=body)]
    weights = {"turns": np.array(2**62), "yes": np.array(True)}
    path = _with_start(tmp_path / "model.onnx", nodes, weights)
    monkeypatch.setattr(limited_run, "LONGEST_S", 0.2)
    with pytest.raises(ModelError, match=r"one run takes longer than 0\.2 s: a loop in the graph"):
        recognise(path)


def test_an_interrupt_ends_the_run_before_the_process_ends() -> None:
    """A thread that is still inside the runtime would abort the process at its end."""
    stopped, ended = threading.Event(), threading.Event()

    class Endless:
        def infer(self, inputs: Any) -> Any:
            _thread.interrupt_main()
            stopped.wait(60.0)
            ended.set()
            raise BackendError("stopped")

        def stop(self) -> None:
            stopped.set()

    session: Any = Endless()
    with pytest.raises(KeyboardInterrupt):
        limited_run.run_limited(session, {})
    assert ended.is_set()


def test_memory_that_the_machine_has_not_to_spare_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 2**29

    node = onnx.helper.make_node
    nodes = [
        node("ConstantOfShape", ["sides"], ["large"]),  # 4 GB
        node("ReduceMax", ["large"], ["made"], keepdims=0),
    ]
    path = _with_start(tmp_path / "model.onnx", nodes, {"sides": np.array([1000, 1000, 1000])})
    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(limited_run.psutil, "virtual_memory", Little)
    with pytest.raises(ModelError, match=r"does not run with inputs .*4000000000"):
        recognise(path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (1, [[1, 2, 3]], "expected numbers of shape (1, 2), -1 for any length, or one for all"),
        (1, [1, 2], "expected numbers of shape (1, 2)"),
        (1, None, "expected numbers of the input's type, got [nan]"),
        (1, float("inf"), "expected numbers of the input's type, got [inf]"),
        (7, 1e30, "expected numbers of the input's type, got [1e+30]"),
        (7, 0.5, "expected numbers of the input's type, got [0.5]"),
        (2, -1, "expected numbers of the input's type, got [-1.0]"),
    ],
)
def test_a_constant_that_its_input_cannot_hold_is_refused(
    tmp_path: Path, kind: int, value: Any, text: str
) -> None:
    signature = Signature({"output0": graphs.v8()}, inputs={"aux": (kind, [1, 2])})
    path = graphs.write(tmp_path / "model.onnx", signature)
    with pytest.raises(ModelError) as caught:
        read_foreign(path, {"input.aux": value}, backend="onnxruntime")
    assert f"--assume input.aux: {text}" in str(caught.value)


@pytest.mark.parametrize("given", [5, "car", [], ["car", 5], {"0": "car"}])
def test_class_names_that_are_said_are_names(tmp_path: Path, given: Any) -> None:
    path = graphs.write(tmp_path / "model.onnx", Signature({"output0": graphs.v8(3)}))
    with pytest.raises((ConfigurationError, ModelError), match=r"labels: .*--labels FILE"):
        recognise(path, said={"labels": given})


def test_a_family_without_a_name_leaves_no_gap_in_the_message(tmp_path: Path) -> None:
    heads = graphs.lists(("a", "b", "c"), 1, graphs.corners, batch=False)
    path = graphs.write(tmp_path / "model.onnx", Signature(heads, whole=("c",)))
    with pytest.raises(ModelError, match=r"^model\.onnx: a detector: the file does not tell"):
        recognise(path, labels=NAMES)


@pytest.mark.parametrize("classes", [3, 4])
def test_codes_in_names_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int
) -> None:
    """Names of metadata could clear the screen, and with it what is assumed."""
    metadata = {
        "names": str({0: "person", 1: "\x1b[2Jbicycle", 2: "car\x9b2K\n"}),
        "description": "YOLO\x1b[31m model",
    }
    head = {"out\x1b[2Jput": graphs.v8(classes)}  # refused with the name where it is of 4 classes
    path = graphs.write(tmp_path / "model.onnx", Signature(head, metadata=metadata))
    status = main(["models", "import", str(path), "--into", str(tmp_path / "models")])
    assert status == (classes == 4)
    printed = "".join(capsys.readouterr())
    assert "[2Jput" in printed
    assert not {"\x1b", "\x9b"} & set(printed)


def test_a_head_in_two_layouts_is_asked_which_is_meant(tmp_path: Path) -> None:
    rows = graphs.v8(3).transpose(0, 2, 1)
    signature = Signature({"a": graphs.v8(3), "b": rows}, metadata={"names": str(NAMES)})
    path = graphs.write(tmp_path / "model.onnx", signature)
    with pytest.raises(ModelError, match=r'--assume outputs=\["a"\] or \["b"\]'):
        recognise(path)
    for name, layout in (("a", "columns"), ("b", "rows")):
        found = recognise(path, said={"outputs": [name]})
        assert found.manifest["postprocessing"]["layout"] == layout
