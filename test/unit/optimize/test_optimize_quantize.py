"""Quantisation on small graphs: methods, layers that collapse, another domain, mixed precision."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from optimize_commands import run_python, why_not

from edge_perception.cli.main import main
from edge_perception.optimize.calibration import (
    check_domain,
    check_frames,
    check_layers,
    check_light,
    sensitivity,
)
from edge_perception.optimize.candidates import Candidate
from edge_perception.optimize.findings import Outcome
from edge_perception.optimize.graph_check import run_graph
from edge_perception.optimize.methods import (
    METHODS,
    Quantiser,
    UnsuitableError,
    dynamic,
    first_layers,
    half,
    layers,
    made,
    prepared,
)
from edge_perception.optimize.quantizing import Quantizing
from edge_perception.optimize.ranges import least_squares
from edge_perception.optimize.verdicts import Gate, Verdict


def graph(nodes, weights, inputs, outputs):
    value = onnx.helper.make_tensor_value_info
    made_graph = onnx.helper.make_graph(
        nodes, "small", [value(n, 1, s) for n, s in inputs.items()],
        [value(n, 1, s) for n, s in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(
        made_graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.checker.check_model(model, full_check=True)
    return prepared(model.SerializeToString())


def convolutions(count=4, width=8):
    """A chain; the second layer is the sensitive one: most of its weights are beside a huge one."""
    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for i in range(count):
        given = "x" if i == 0 else f"r{i - 1}"
        w = rng.normal(0, 0.3, (width, 3 if i == 0 else width, 3, 3)).astype(np.float32)
        if i == 1:
            w[:, 0, 0, 0] = 30.0
        weights[f"w{i}"] = w
        node = onnx.helper.make_node
        nodes.append(node("Conv", [given, f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"))
    shape = [1, width, 8, 8]
    return graph(nodes, weights, {"x": [1, 3, 8, 8]}, {f"r{count - 1}": shape})


def frames(count=20, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [{"x": (scale * rng.random((1, 3, 8, 8))).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module")
def quantiser():
    return Quantiser(convolutions(), frames())


@pytest.mark.parametrize(
    "name", ["minmax", "percentile", "entropy", "mse", "symmetric", "per_tensor"]
)
def test_every_static_method_gives_eight_bits_that_say_nearly_the_same(quantiser, name):
    data = made(METHODS[name], quantiser)
    kinds = [t.data_type for t in onnx.load_model_from_string(data).graph.initializer]
    assert kinds.count(onnx.TensorProto.INT8) >= 4
    frame = frames(1, seed=5)[0]
    got, wanted = (run_graph("g", d, frame)["r3"] for d in (data, quantiser.data))
    assert 0 < np.square(got - wanted).sum() < 0.1 * np.square(wanted).sum()


def test_a_layer_is_rounded_once_after_its_activation(quantiser):
    model = onnx.load_model_from_string(made(METHODS["minmax"], quantiser))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 4
    assert "Relu" not in kinds  # steps from zero on
    assert kinds.count("QuantizeLinear") == 5  # the input and each layer
    some = made(METHODS["minmax"], quantiser, exclude=["conv3"])  # the last one stays in float
    assert [n.op_type for n in onnx.load_model_from_string(some).graph.node].count("Relu") == 1


def test_what_layers_lose_in_the_mean_is_given_back(quantiser):
    # Half of the channels of a layer that is followed by a mean: rounding must not move it.
    plain, corrected = (
        quantiser.static(replace(METHODS["per_tensor"], corrected=corrected))
        for corrected in (False, True)
    )
    given = frames(8, seed=7)
    wanted, before, after = (
        np.mean([run_graph("g", data, frame)["r3"] for frame in given], axis=(0, 1, 3, 4))
        for data in (quantiser.data, plain, corrected)
    )
    assert np.abs(after - wanted).sum() < 0.5 * np.abs(before - wanted).sum()


def test_the_range_of_least_squares_leaves_rare_values_out():
    counts, edges = np.zeros(160), np.linspace(-8, 8, 161)
    counts[80:90] = 1e5  # a million between 0 and 1
    counts[-1] = 1
    low, high = least_squares(counts, edges, (0.0, 8.0))
    assert low == 0.0
    assert 1.0 <= high < 4.0
    counts[-1] = 1e4  # these are no chance
    assert least_squares(counts, edges, (0.0, 8.0))[1] > 7.0


def test_symmetric_ranges_have_no_zero_point(quantiser):
    def zero_points(data):
        model = onnx.load_model_from_string(data)
        points = {n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"}
        tensors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        return {int(tensors[name]) for name in points}

    assert zero_points(made(METHODS["symmetric"], quantiser)) == {0}


def test_other_precisions_run(quantiser):
    frame = frames(1)[0]
    wanted = run_graph("g", quantiser.data, frame)["r3"]
    assert np.abs(run_graph("g", half(quantiser.data), frame)["r3"] - wanted).max() < 0.1
    assert run_graph("g", dynamic(quantiser.data), frame)["r3"].shape == wanted.shape
    with pytest.raises(UnsuitableError, match="no convolution or matrix product"):
        quantiser.static(METHODS["minmax"], exclude=quantiser.layers)


FOUR_BITS = """
import json, sys
import numpy as np
from edge_perception.optimize.graph_check import run_graph
from edge_perception.optimize.methods import Quantiser, four_bits, with_nncf
data, conv = (open(name, "rb").read() for name in ("product.onnx", "conv.onnx"))
frame = {"x": np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)}
small = four_bits(data)
got, wanted = (run_graph("g", d, frame)["y"] for d in (small, data))
frames = [
    {"x": np.random.default_rng(i).random((1, 3, 8, 8)).astype(np.float32)} for i in range(20)
]
nncf = with_nncf(conv, frames)
one, other = (run_graph("g", d, frames[0])["r3"] for d in (nncf, conv))
print(json.dumps({
    "share": len(small) / len(data),
    "cosine": float((got * wanted).sum() / np.linalg.norm(got) / np.linalg.norm(wanted)),
    "nncf": float(np.square(one - other).sum() / np.square(other).sum()),
}))
"""


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_four_bits_are_for_matrix_products_and_nncf_for_convolutions(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(64, 64)).astype(np.float32)}
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    data = graph([node], weights, {"x": [1, 64]}, {"y": [1, 64]})
    (tmp_path / "product.onnx").write_bytes(data)
    (tmp_path / "conv.onnx").write_bytes(convolutions())
    told = json.loads(run_python(tmp_path, FOUR_BITS).splitlines()[-1])
    assert told["share"] < 0.5
    assert 0.9 < told["cosine"] < 1.0
    assert 0 < told["nncf"] < 0.1


def test_a_layer_that_collapses_is_named():
    # One channel is a hundred thousand times the other, and they share a range.
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "wide"], ["both"], name="wide"),
        node("Slice", ["both", "one", "two", "axis"], ["small"], name="slice"),
        node("Conv", ["small", "next"], ["y"], name="starved"),
    ]
    weights = {
        "wide": np.array([1e5, 1.0], np.float32).reshape(2, 1, 1, 1),
        "next": np.ones((1, 1, 1, 1), np.float32),
        "one": np.array([1]), "two": np.array([2]), "axis": np.array([1]),
    }  # fmt: skip
    data = graph(nodes, weights, {"x": [1, 1, 8, 8]}, {"y": [1, 1, 8, 8]})
    given = [{"x": f["x"][:, :1]} for f in frames()]
    quantiser, outcome = Quantiser(data, given), Outcome(step="quantize", subject="planted")
    broken = check_layers(
        quantiser, made(METHODS["minmax"], quantiser), given[:2], outcome, "minmax"
    )
    assert broken == ["starved"]
    (finding,) = [f for f in outcome.findings if f.code == "collapsed_layer"]
    assert "layer 'starved' collapses: all of its values are zero" in finding.text


def test_healthy_layers_are_not_named(quantiser):
    outcome = Outcome(step="quantize", subject="healthy")
    data = made(METHODS["minmax"], quantiser)
    assert check_layers(quantiser, data, frames(2), outcome, "minmax") == []
    assert len(outcome.tables["layers of minmax"]) == 4


def test_calibration_of_another_domain_is_named(quantiser):
    night = Quantiser(quantiser.data, frames(scale=0.05))
    outcome = Outcome(step="quantize", subject="planted")
    check_domain(night, {"the judged frames": frames(4, seed=3)}, outcome, "night.mcap")
    assert not outcome.passed
    assert "night.mcap is of another domain than the judged frames" in outcome.findings[0].text
    same = Outcome(step="quantize", subject="same")
    check_domain(quantiser, {"the judged frames": frames(4, seed=3)}, same, "day.mcap")
    assert same.passed


def test_light_that_was_not_calibrated_with_is_named():
    def found(own, theirs):
        outcome = Outcome(step="quantize", subject="planted")
        check_light([[tag] for tag in own], [[tag] for tag in theirs], outcome, "drive.mcap")
        return [(f.level, f.text) for f in outcome.findings]

    night, day = ["night"] * 20, ["day", "far"] * 10
    text = "drive.mcap is of night only; the judged frames are of day"
    assert found(night, day) == [("error", text)]
    assert found(night, night + day)[0][0] == "warning"
    assert not found(day, day)
    assert not found(["far"] * 20, ["far"] * 20)  # a sensor that does not tell the light


def test_frames_that_teach_nothing_are_refused():
    for given, why in (
        (frames(3), "expected 16 or more frames"),
        ([{"x": np.zeros((1, 3, 8, 8), np.float32)}] * 20, "constant in every frame"),
        (frames(1) * 20, "all 20 frames are the same"),
    ):
        outcome = Outcome(step="quantize", subject="planted")
        check_frames(given, outcome, "drive.mcap")
        assert not outcome.passed
        assert any(why in f.text for f in outcome.findings)


def test_the_most_sensitive_layer_comes_first(quantiser):
    rows = sensitivity(
        quantiser,
        lambda exclude: quantiser.static(METHODS["per_tensor"], exclude=exclude),
        frames(2),
        lambda _done: None,
    )
    assert rows[0]["layer"] == "conv1"
    assert [row["noise"] for row in rows] == sorted((r["noise"] for r in rows), reverse=True)
    assert layers(quantiser.data) == ["conv0", "conv1", "conv2", "conv3"]


class MadeUpTrials:
    """Verdicts by what is quantised: a loss of two points while conv1 is."""

    def __init__(self, tmp_path, loss=2.0):
        from edge_perception.optimize.candidates import Remembered

        self.remembered, self._loss = Remembered(tmp_path / "r.json"), loss
        self.frames = 8
        self.judged = []

    def verdict(self, data, backend="onnxruntime"):
        model = onnx.load_model_from_string(data)
        weights = {n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
        loss = self._loss if any(name.startswith("w1") for name in weights) else 0.2
        self.judged.append(loss)
        return Verdict(loss=loss, base=60.0, score=60.0 - loss, error=0.4)

    def candidate(self, name, data, precision, note="", backend="onnxruntime"):
        ratio = {"mixed": 0.6, "fp16": 1.2}.get(name, 0.5)
        return Candidate(
            name=name, data=data, precision=precision, verdict=self.verdict(data), ratio=ratio,
            note=note,
        )  # fmt: skip


def run_of(quantiser, trials, methods, allowed=1.0):
    outcome = Outcome(step="quantize", subject="small")
    run = Quantizing(
        quantiser, trials, gate=Gate(points=allowed), outcome=outcome, say=lambda _: None
    )
    return run.run(methods, mixed=True, progress=lambda _done: None), outcome


def test_sensitive_layers_go_back_to_float_until_the_gate_holds(quantiser, tmp_path):
    best, outcome = run_of(quantiser, MadeUpTrials(tmp_path), ["per_tensor", "fp16"])
    assert best.name == "mixed"
    assert outcome.figures["mixed_in_float"] == ["conv1"]
    assert outcome.tables["sensitivity"][0]["layer"] == "conv1"


def test_the_quickest_within_the_gate_is_chosen(quantiser, tmp_path):
    best, _ = run_of(quantiser, MadeUpTrials(tmp_path, loss=0.5), ["minmax", "fp16"])
    assert best.name == "minmax"


def test_what_is_best_is_also_tried_with_the_first_layer_in_float(quantiser, tmp_path):
    assert first_layers(quantiser.data) == ["conv0"]
    _, outcome = run_of(quantiser, MadeUpTrials(tmp_path, loss=0.5), ["minmax"])
    names = [row["candidate"] for row in outcome.tables["candidates"]]
    assert names == ["minmax", "minmax but first"]
    assert outcome.tables["candidates"][1]["note"] == "conv0 in float"
    spared = made(METHODS["minmax"], quantiser, first_layers(quantiser.data))
    weights = {t.name for t in onnx.load_model_from_string(spared).graph.initializer}
    assert "w0" in weights


def test_few_frames_for_a_narrow_gate_are_told(quantiser, tmp_path):
    for allowed, told in ((1.0, 0), (0.3, 1)):  # 0.2 points, between -0.58 and 0.98
        _, outcome = run_of(
            quantiser, MadeUpTrials(tmp_path, loss=0.2), ["minmax"], allowed=allowed
        )
        found = [f.text for f in outcome.findings if f.code == "frames"]
        assert len(found) == told
    assert "8 frames put the loss of minmax between -0.58 and 0.98 points (95 %)" in found[0]


def test_beyond_the_gate_nothing_is_chosen_and_the_nearest_is_named(quantiser, tmp_path):
    best, outcome = run_of(quantiser, MadeUpTrials(tmp_path), ["minmax"], allowed=0.1)
    assert best is None
    (finding,) = [f for f in outcome.findings if f.code == "gate"]
    assert "no candidate is within 0.1 points" in finding.text


def test_never_random_data(tmp_path, capsys):
    arguments = ["--work", str(tmp_path), "--into", str(tmp_path / "models")]
    assert main(["optimize", "quantize", "bev_lite/lidar", *arguments]) == 2
    assert "ranges of random data say" in capsys.readouterr().err
    bag = tmp_path / "none.mcap"
    assert main(["optimize", "quantize", "bev_lite/lidar", *arguments, "--bag", str(bag)]) == 2
    assert "none.mcap: expected a recording" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
