"""`optimize check`, `export` and `parity` on a user's small model, each planted fault named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from optimize_commands import run_commands, why_not
from optimize_user import NETS

from edge_perception.cli.main import main

needs_torch = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
JSON = ["--work", "work", "--json"]
pytestmark = pytest.mark.timeout(900)  # one process runs all commands, also on a busy machine


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "nets.py").write_text(NETS)
    first = {
        name: ["optimize", "check", f"nets:{name}", *JSON]
        for name in (
            "loop", "branch", "custom", "noisy", "mixed", "with_arguments", "raising", "lost",
        )
    }  # fmt: skip
    first["made"] = [
        "optimize", "check", "nets:made", *JSON, "--budget-ms", "1000", "--percentile", "90",
        "--opset", "17",
    ]  # fmt: skip
    first["opset"] = ["optimize", "check", "nets:made", *JSON, "--opset", "40"]
    export = ["optimize", "export", "nets:made", *JSON, "--output", "heat", "--output", "mean"]
    first["export"] = [*export, "--out", "made.onnx"]
    first["export again"] = [*export, "--out", "made.onnx"]
    first["export of loop"] = ["optimize", "export", "nets:loop", *JSON, "--out", "loop.onnx"]
    first["planted"] = ["python", PLANT, "made.onnx", "planted.onnx"]
    first |= {
        f"{graph} {how}": ["optimize", "parity", f"{graph}.onnx", reference, "--layers", *JSON]
        for graph in ("made", "planted")
        for how, reference in (("torch", "nets:made"), ("onnx", "made.onnx"))
    }
    return run_commands(folder, first) | {"folder": folder}


# Changes one convolution.
PLANT = """
import onnx
source, target = argv
model = onnx.load(source)
convolution = [node for node in model.graph.node if node.op_type == "Conv"][3]
tensor = next(t for t in model.graph.initializer if t.name == convolution.input[1])
values = onnx.numpy_helper.to_array(tensor).copy()
values[0] *= 1.5
tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
onnx.save(model, target)
"""


@needs_torch
@pytest.mark.parametrize("name", ["loop", "branch"])
def test_control_flow_that_depends_on_the_data_is_named_with_its_line(told, name):
    (text,) = told[name].errors("data_dependent")
    line = {"loop": "for _ in range(int(", "branch": "if images.mean() > 0"}[name]
    number = next(i for i, text in enumerate(NETS.splitlines(), 1) if line in text)
    assert f"nets.py:{number}" in text
    assert told[name].code == 1


@needs_torch
def test_custom_operators_are_named(told):
    assert "mine::twice, 1 times" in told["custom"].errors("custom_operator")[0]


@needs_torch
def test_an_operator_set_that_no_runtime_takes_is_named_with_the_one_to_ask_for(told):
    finding = next(f for f in told["opset"].outcome["findings"] if "onnxruntime takes" in f["text"])
    assert "40 was asked for, onnxruntime takes up to" in finding["text"]
    assert finding["change"].startswith("--opset ")
    assert told["opset"].code == 1
    assert not told["made"].texts("opset")


@needs_torch
def test_randomness_and_outputs_that_are_no_tensors_are_named(told):
    assert "differs between two runs" in told["noisy"].errors("random")[0]
    assert "'count' is int" in told["mixed"].errors("signature")[0]


@needs_torch
def test_a_factory_that_cannot_be_used_is_refused_with_the_line_to_change(told):
    assert told["with_arguments"].code == told["raising"].code == told["lost"].code == 2
    assert "needs the arguments width, and is called with 0" in told["with_arguments"].err
    assert "ValueError: the weights are on another disk at" in told["raising"].err
    assert "expected a function 'lost'" in told["lost"].err


@needs_torch
def test_pytorch_is_measured_against_the_budget(told):
    figures = told["made"].outcome["figures"]
    times = figures["pytorch_ms"]
    assert times["p90_low"] <= times["p90"] <= times["p90_high"] < 1000
    assert "no export is needed" in told["made"].texts("need")[0]
    assert figures["operations"] > 0
    assert figures["weight_bytes"] > 0


@needs_torch
def test_an_export_is_checked_compared_and_never_overwritten(told):
    assert told["export"].code == 0, told["export"].err
    outcome = told["export"].outcome
    assert {row["output"] for row in outcome["tables"]["outputs"]} == {"heat", "mean"}
    assert all(row["max_relative"] < 1e-4 for row in outcome["tables"]["layers"])
    assert len(outcome["tables"]["layers"]) >= 11
    assert told["export again"].code == 2
    assert "exists already" in told["export again"].err
    assert (told["folder"] / "work" / "graph.html").read_text().count("Conv") >= 6


@needs_torch
def test_what_cannot_be_exported_leaves_no_file(told):
    assert told["export of loop"].code == 1
    assert told["export of loop"].errors("data_dependent")
    assert not (told["folder"] / "loop.onnx").exists()


@needs_torch
@pytest.mark.parametrize("how", ["torch", "onnx"])
def test_the_first_layer_that_parts_is_named(told, how):
    assert told[f"made {how}"].code == 0
    planted = told[f"planted {how}"]
    assert planted.code == 1
    model = onnx.load(told["folder"] / "made.onnx")
    convolutions = [i for i, node in enumerate(model.graph.node) if node.op_type == "Conv"]
    first = planted.outcome["figures"]["first_that_parts"]
    assert first["position"] == convolutions[3]
    assert first["layer"] == model.graph.node[convolutions[3]].output[0]


# -- without PyTorch --


def chain(path, *, changed=-1, prefix="t", layers=24, domain="", opset=17):
    """A chain of matrix products, one of them changed."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for index in range(layers):
        values = rng.normal(0, 0.5, (8, 8)).astype(np.float32)
        values = values * (1.3 if index == changed else 1.0)
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), f"w{index}"))
        given = "x" if index == 0 else f"{prefix}{index - 1}"
        nodes.append(onnx.helper.make_node("MatMul", [given, f"w{index}"], [f"{prefix}{index}"]))
    nodes.append(
        onnx.helper.make_node("Tanh", [f"{prefix}{layers - 1}"], ["logits"], domain=domain)
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "chain", [value("x", 1, [1, 8])], [value("logits", 1, [1, 8])], weights
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    imports += [onnx.helper.make_opsetid(domain, 1)] if domain else []
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def outcome_of(arguments, capsys, code):
    import json

    assert main(["optimize", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("prefix", ["t", "other"])
def test_layer_seventeen_is_found_by_name_and_by_position(tmp_path, capsys, prefix):
    good = chain(tmp_path / "good.onnx")
    bad = chain(tmp_path / "bad.onnx", changed=17, prefix=prefix)
    common = ["--layers", "--preset", "exact", "--work", tmp_path / "work"]
    found = outcome_of(["parity", bad, good, *common], capsys, 1)
    assert found["figures"]["first_that_parts"]["position"] == 17
    assert found["tables"]["layers"][0]["matched_by"] == ("name" if prefix == "t" else "position")
    assert outcome_of(["parity", good, good, *common], capsys, 0)["passed"]


def test_a_graph_that_no_runtime_runs_names_the_operator(tmp_path, capsys):
    graph = chain(tmp_path / "own.onnx", domain="acme.kernels")
    found = outcome_of(["check", graph, "--work", tmp_path / "work"], capsys, 1)
    texts = [f["text"] for f in found["findings"] if f["code"] == "custom_operator"]
    assert texts
    assert "acme.kernels::Tanh" in texts[0]
    assert any(f["code"] == "unsupported" for f in found["findings"])


def test_a_bundle_passes_and_its_graph_has_a_page(tmp_path, capsys):
    found = outcome_of(["check", "bev_lite/audio", "--work", tmp_path], capsys, 0)
    assert found["figures"]["graph"]["opset"] == 17
    assert any(row["runs"] for row in found["tables"]["runtimes"])
    assert "Cost by operator" in (tmp_path / "graph.html").read_text()


def test_what_is_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "empty.onnx").touch()
    for text in ("no_such_bundle", tmp_path / "empty.onnx", tmp_path / "none.onnx"):
        assert main(["optimize", "check", str(text), "--work", str(tmp_path)]) == 2
    assert main(["optimize", "parity", "bev_lite/audio", "bev_lite/lidar",
                 "--work", str(tmp_path)]) == 2  # fmt: skip
    assert "takes" in capsys.readouterr().err
