"""`optimize prune`, `distill` and `qat` on a user's small model, a few steps each."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from optimize_commands import run_commands, why_not
from optimize_user import NETS

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.timeout(900),  # one process runs all commands, also on a busy machine
]

TRAINING = """

def frames():
    generator = torch.Generator().manual_seed(5)
    for _ in range(24):
        yield {"images": torch.rand(1, 3, 16, 16, generator=generator)}

def wrong_frames():
    yield {"pictures": torch.rand(1, 3, 16, 16)}

def breaking_frames():
    yield {"images": torch.rand(1, 3, 16, 16)}
    raise OSError("the disk went away")

def other_shapes():
    for width in (16, 20):
        yield {"images": torch.rand(1, 3, 16, width)}

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Block(3, 8, 2)
        self.head = nn.Conv2d(8, 4, 1)
        self.seen = nn.Conv2d(8, 8, 1)

    def forward(self, images):
        found = self.stem(images)
        return self.head(found), self.seen(found).mean(dim=(2, 3))

def small():
    torch.manual_seed(3)
    return Small(), example()

class Joined(nn.Module):

    def __init__(self):
        super().__init__()
        self.left, self.right = Block(2, 8), Block(1, 8)
        self.both = Block(16, 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, images):
        left = self.left(images[:, :2])
        seen = self.both(torch.cat([left, self.right(images[:, 2:])], dim=1)) + left
        return self.head(seen), seen.mean(dim=(2, 3))

def joined():
    torch.manual_seed(0)
    return Joined(), example()

def own_training(module):
    for parameter in module.parameters():
        parameter.data *= 0.5

def own_loss(module, inputs, outputs):
    with open("calls.txt", "a+") as calls:
        calls.write(".")
        if calls.tell() == 55:
            raise KeyboardInterrupt  # once, as Ctrl-C does
    return outputs["heat"].square().mean()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "nets.py").write_text(NETS + TRAINING)
    common = ["--output", "heat", "--output", "mean", "--work", "work", "--json"]
    data = ["--data", "nets:frames", "--frames", "24"]

    def command(step, model, out, *more):
        return ["optimize", step, model, *common, "--out", f"{out}.onnx", *more]

    commands = {
        "prune": command(
            "prune", "nets:made", "prune", *data, "--steps", "10", "--share", "0.5",
            "--rounds", "2", "--multiple", "2", "--half",
        ),
        "own training": command("prune", "nets:made", "own", "--train", "nets:own_training"),
        "distill": command(
            "distill", "nets:small", "distill", *data, "--teacher", "prune.onnx", "--steps", "60",
            "--rate", "0.01", "--alpha", "0.9", "--own-loss", "nets:own_loss",
        ),
        "distill again": [],
        "qat": command("qat", "nets:joined", "qat", *data, "--steps", "5"),
        "cannot run": command(
            "prune", "nets:made", "none", *data, "--steps", "9", "--opset", "99"
        ),
        "no frames": command("qat", "nets:made", "none"),
        "wrong frames": command("qat", "nets:made", "none", "--data", "nets:wrong_frames"),
        "breaking frames": command(
            "qat", "nets:made", "none", "--data", "nets:breaking_frames"
        ),
        "other shapes": command("qat", "nets:made", "none", "--data", "nets:other_shapes"),
        "full disk": [
            *command("distill", "nets:small", "none", *data, "--teacher", "nets:made"),
            "--steps", "1", "--work", "/dev/full",
        ],
        "no teacher": command("distill", "nets:small", "none", *data),
        "unknown module": command("prune", "nets:made", "none", *data, "--keep", "neck"),
    }  # fmt: skip
    commands["distill again"] = commands["distill"]
    return run_commands(folder, commands) | {"folder": folder}


def convolutions(told, name):
    model = onnx.load(told["folder"] / f"{name}.onnx")
    weights = {t.name: list(t.dims) for t in model.graph.initializer}
    found = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    return [weights[name] for name in found]


def test_channels_are_really_removed_and_outputs_keep_their_shapes(told):
    assert told["prune"].code == 0, told["prune"].err
    figures = told["prune"].outcome["figures"]
    assert figures["after"]["operations"] < 0.6 * figures["before"]["operations"]
    shapes = convolutions(told, "prune")
    assert shapes[0][0] == 4  # of 8
    assert shapes[-1][:1] == [4]  # classes
    kinds = {n.op_type for n in onnx.load(told["folder"] / "prune.onnx").graph.node}
    assert "BatchNormalization" not in kinds
    assert figures["training"]["steps"] == 10
    assert figures["rounds"] == 2
    assert not list((told["folder"] / "work").glob("*.checkpoint.pt"))


def test_own_training_is_given_the_pruned_module(told):
    assert told["own training"].code == 0, told["own training"].err
    assert (told["folder"] / "own.onnx").is_file()


def test_an_interrupted_student_goes_on_and_comes_nearer_to_its_teacher(told):
    assert told["distill"].code == 130
    assert "interrupted: the same command goes on with what is in work" in told["distill"].err
    again = told["distill again"]
    assert again.code == 0, again.err
    assert len((told["folder"] / "calls.txt").read_text()) == 55 + 60 - 50  # saved every 50 steps
    training = again.outcome["figures"]["training"]
    assert training["steps"] == 60
    assert training["loss_last"] < 0.7 * training["loss_first"]


def test_the_graph_of_qat_runs_as_it_was_trained(told):
    assert told["qat"].code == 0, told["qat"].err
    model = onnx.load(told["folder"] / "qat.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert {node.domain for node in model.graph.node} == {""}  # of ONNX, all of them
    assert "BatchNormalization" not in kinds
    kept = [t.data_type for t in model.graph.initializer if len(t.dims) == 4]
    assert kept == 4 * [onnx.TensorProto.INT8]
    assert layers_in_eight_bits(told["folder"] / "qat.onnx") >= 3  # all but what gives an output
    assert all(row["cosine"] > 0.999 for row in told["qat"].outcome["tables"]["outputs"])


def layers_in_eight_bits(path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".run.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return [node.op_type for node in nodes].count("QLinearConv")


def test_what_cannot_be_exported_or_run_is_refused_before_it_is_trained(told):
    assert told["cannot run"].code == 2, told["cannot run"]
    assert "opset" in told["cannot run"].err + told["cannot run"].out
    assert "teaching" not in told["cannot run"].err
    assert not (told["folder"] / "none.onnx").exists()


def test_what_lacks_is_named_before_anything_is_written(told):
    for name, why in (
        ("no frames", "expected frames to begin the ranges with"),
        ("wrong frames", "expected images in every frame, got pictures"),
        ("breaking frames", "nets:breaking_frames: raised OSError: the disk went away at"),
        ("other shapes", "frame 1: 'images' expects (1, 3, 16, 16) float32, got (1, 3, 16, 20)"),
        ("full disk", "/dev/full"),
        ("no teacher", "expected --teacher or --bundle"),
        ("unknown module", "no module neck in nets:made"),
    ):
        assert told[name].code == 2, told[name]
        assert why in told[name].err
    assert not (told["folder"] / "none.onnx").exists()
