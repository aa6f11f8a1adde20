"""``edge-perception optimize``: from a trained model to a fast one, each step with its proof.

Steps write what they found into the folder --work, from which `report` makes one page. Exit
status: 0 passed, 1 found what must not be or missed the gate, 2 wrong usage or input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_perception.cli._numbers import number, whole
from edge_perception.cli._optimize_smaller import METHOD_NAMES
from edge_perception.core.errors import ConfigurationError, ModelError

NAME = "optimize"
HELP = "check, export, compare, quantise, prune and distil a model, with gates and a report"
BESIDE = ".venv-optimize"  # where a checkout has PyTorch
_OPSET = 18
_RESUMED = ("quantize", "prune", "distill", "qat", "compare")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one subcommand a step."""
    steps = parser.add_subparsers(dest="action", required=True, metavar="STEP")
    _add_check(_step(steps, "check", "is a model fit for export, or a graph for its runtimes"))
    _add_export(_step(steps, "export", "PyTorch to ONNX, checked, compared and imported"))
    _add_parity(_step(steps, "parity", "compare a graph with its original, also layer by layer"))
    _add_quantize(_step(steps, "quantize", "a smaller variant of a bundle, within a gate"))
    _add_prune(_step(steps, "prune", "remove channels of a PyTorch model, and train the rest"))
    _add_distill(_step(steps, "distill", "teach a small PyTorch model what a large one says"))
    _add_qat(_step(steps, "qat", "train a PyTorch model with quantisation in the loop"))
    _add_compare(_step(steps, "compare", "bundles side by side: size, accuracy, time, in one run"))
    report = steps.add_parser("report", help="one page of what the steps found")
    report.add_argument(
        "outcome", nargs="*", type=Path, help="JSON of steps, or folders of them (default: --work)"
    )
    report.add_argument(
        "--work", type=Path, default=Path("optimize_out"), help="folder of the steps (%(default)s)"
    )
    report.add_argument("--out", type=Path, help="the page (default: index.html in --work)")
    report.add_argument(
        "--json", nargs="?", const="-", default="", metavar="FILE",
        help="the same as JSON, without FILE to the standard output",
    )  # fmt: skip


def _step(steps: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    step: argparse.ArgumentParser = steps.add_parser(name, help=text)
    step.add_argument(
        "--work", type=Path, default=Path("optimize_out"),
        help="folder for what steps found, and for the report",
    )  # fmt: skip
    step.add_argument(
        "--json", nargs="?", const="-", default="", metavar="FILE",
        help="everything found as JSON, without FILE to the standard output",
    )  # fmt: skip
    return step


def _add_model(parser: argparse.ArgumentParser, name: str = "model") -> None:
    parser.add_argument(
        name, help="MODULE:FACTORY, a TorchScript .pt, an .onnx file, or a bundle's folder or name"
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=1x3x64x64[:dtype]",
        help="input to try a PyTorch module with; repeatable",
    )  # fmt: skip
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="the inputs as .npz")
    parser.add_argument("--weights", type=Path, help="state dict for what the factory returns")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more folders of bundles"
    )


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--opset", type=whole(7, 99), help="operator set that is asked for")
    parser.add_argument(
        "--budget-ms", type=number(0.001, 1e6), help="say whether PyTorch alone keeps it here"
    )
    parser.add_argument(
        "--percentile", type=number(50, 99.9), default=99.0, help="of the times (%(default)s)"
    )
    parser.add_argument(
        "--measure-s", type=number(0.1, 3600), default=30.0, help="no longer than (%(default)s)"
    )
    parser.add_argument("--threads", type=whole(1, 64), default=1, help="of PyTorch (%(default)s)")


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--opset", type=whole(7, 99), default=_OPSET, help="(%(default)s)")
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="of each output; repeatable"
    )
    parser.add_argument(
        "--dynamic", action="append", default=[], metavar="INPUT:AXIS=LOW..HIGH",
        help="a dimension that stays free within bounds; repeatable",
    )  # fmt: skip
    parser.add_argument("--adapter", default="", help="also import it as a bundle of this family")
    parser.add_argument("--manifest", type=Path, help="JSON with fields of its manifest")
    parser.add_argument("--labels", type=Path, help="class names, one a line, or CSV")
    parser.add_argument("--name", default="", help="of the bundle")
    parser.add_argument("--into", type=Path, default=Path("models"), help="folder of the bundle")
    parser.add_argument("--replace", action="store_true", help="overwrite what is there")


def _add_parity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("candidate", help=".onnx file, or a bundle's folder or name")
    _add_model(parser, "reference")
    parser.add_argument("--layers", action="store_true", help="also the tensors inside")
    parser.add_argument(
        "--preset", action="append", default=[], metavar="[OUTPUT=]NAME",
        help="what is still the same: exact, class_scores, regression, boxes, bev_heatmap, "
        "embedding, lidar, radar; default: by the output's name",
    )  # fmt: skip
    parser.add_argument(
        "--bag", type=Path, action="append", default=[],
        help="recording whose frames are compared on, for a bundle; repeatable",
    )  # fmt: skip
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")
    parser.add_argument(
        "--frames", type=whole(1, 100000), default=100, help="of the recordings (%(default)s)"
    )
    parser.add_argument("--backend", default="onnxruntime", help="of the candidate (%(default)s)")
    parser.add_argument("--provider", default="", help="of that runtime")
    parser.add_argument(
        "--precision", default="fp32", choices=("fp32", "fp16", "bf16", "auto"),
        help="of its arithmetic (%(default)s)",
    )  # fmt: skip


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder or name")
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more folders of bundles"
    )
    parser.add_argument(
        "--bag", type=Path, action="append", default=[], help="to calibrate with; repeatable"
    )
    parser.add_argument(
        "--frames", type=whole(1, 100000), default=120,
        help="to calibrate with, evenly from all recordings (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--method", action="append", default=[], choices=METHOD_NAMES,
        help="to try; repeatable (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--no-mixed", action="store_true", help="leave out mixed precision by sensitivity"
    )
    parser.add_argument(
        "--each", action="store_true",
        help="also write every other candidate within the gate, as NAME_METHOD",
    )  # fmt: skip
    _add_gate(parser)
    _add_target(parser)


def _add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gate", type=number(0.0, 100.0), default=1.0, metavar="POINTS",
        help="of mAP, or of decisions, that may be lost (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sure", action="store_true",
        help="the upmost end of the 95 %% intervals, of all lights too, must be within the gate",
    )  # fmt: skip
    _add_judged(parser)


def _add_judged(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judge-bag", type=Path, action="append", default=[],
        help="recordings to judge on; else frames of --bag that were not calibrated with",
    )  # fmt: skip
    parser.add_argument(
        "--judge-frames", type=whole(1, 100000), default=60, help="judged (%(default)s)"
    )
    parser.add_argument(
        "--judge", choices=("auto", "labels", "agreement"), default="auto",
        help="mAP where there are labels, else agreement of decisions (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--simulated", type=whole(0, 100000), default=0, metavar="N",
        help="judge by mAP on N simulated frames instead, which nothing was trained on",
    )  # fmt: skip
    parser.add_argument(
        "--skip", type=whole(0, 100000), default=0, metavar="N",
        help="of the simulated frames, leave out the first N: those that a choice was made with",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=Path("~/.cache/edge_perception/evaluation"),
        help="folder for rendered frames (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--models", type=Path,
        help="set that the model is judged in, for mAP (default: the bundled one)",
    )  # fmt: skip
    parser.add_argument("--params-file", type=Path, action="append", default=[], help="repeatable")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", nargs="+", metavar="BUNDLE[@BACKEND]",
        help="by folder or name; the first is what the others are held to",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more folders of bundles"
    )
    parser.add_argument("--rounds", type=whole(1, 1000), default=9, help="turns (%(default)s)")
    parser.add_argument(
        "--runs", type=whole(1, 100000), default=15, help="inferences of a turn (%(default)s)"
    )
    _add_judged(parser)


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--share", type=number(0.01, 0.95), default=0.4, help="of the channels (%(default)s)"
    )
    parser.add_argument(
        "--rounds", type=whole(1, 100), default=1,
        help="remove them in so many rounds, each with --steps of training (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--multiple", type=whole(1, 64), default=4,
        help="of this are the channels that are left: runtimes compute in groups (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="append", default=[], metavar="MODULE",
        help="name of a module that is left as it is; repeatable",
    )  # fmt: skip
    _add_training(parser, steps=200)


def _add_distill(parser: argparse.ArgumentParser) -> None:
    _add_training(parser, steps=1000)


def _add_qat(parser: argparse.ArgumentParser) -> None:
    _add_training(parser, steps=100)


def _add_training(parser: argparse.ArgumentParser, *, steps: int) -> None:
    _add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--opset", type=whole(7, 99), default=_OPSET, help="(%(default)s)")
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="of each output; repeatable"
    )
    parser.add_argument(
        "--train", default="", metavar="MODULE:FUNCTION",
        help="your own training: is given the module, trains it or returns another",
    )  # fmt: skip
    parser.add_argument(
        "--teacher", default="",
        help="ONNX file, bundle or MODULE:FACTORY (default: --bundle, or the model as it was)",
    )  # fmt: skip
    parser.add_argument(
        "--data", default="", metavar="MODULE:FUNCTION", help="yields graph inputs to train with"
    )
    parser.add_argument(
        "--bag", type=Path, action="append", default=[],
        help="recordings to train with, prepared as --bundle says; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=whole(1, 100000), default=200, help="to train with (%(default)s)"
    )
    parser.add_argument("--steps", type=whole(0, 10**7), default=steps, help="(%(default)s)")
    parser.add_argument("--batch", type=whole(1, 1024), default=4, help="frames (%(default)s)")
    parser.add_argument(
        "--rate", type=number(1e-8, 1.0), default=1e-3, help="learning rate (%(default)s)"
    )
    parser.add_argument(
        "--half", action="store_true", help="train in bfloat16: a processor that has it"
    )
    parser.add_argument(
        "--temperature", type=number(0.1, 100), default=2.0, help="of classes (%(default)s)"
    )
    parser.add_argument(
        "--alpha", type=number(0.0, 1.0), default=1.0,
        help="share of the teacher; the rest is --own-loss (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--own-loss", default="", metavar="MODULE:FUNCTION",
        help="of module, inputs and outputs by name",
    )  # fmt: skip
    parser.add_argument(
        "--bundle", default="", help="whose place it takes: judged against it, and its variant"
    )
    _add_gate(parser)
    _add_target(parser)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--into", type=Path, default=Path("optimize_out/models"),
        help="folder of the new bundle (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--name", default="", help="of the new bundle")
    parser.add_argument("--replace", action="store_true", help="overwrite a bundle of that name")


def run(args: argparse.Namespace) -> int:
    """Run the step that was asked for."""
    from edge_perception.cli import (
        _optimize_compare,
        _optimize_graphs,
        _optimize_smaller,
        _optimize_trained,
    )

    actions = {
        "check": _optimize_graphs.check,
        "export": _optimize_graphs.export_model,
        "parity": _optimize_graphs.parity,
        "quantize": _optimize_smaller.quantize,
        "prune": _optimize_trained.prune,
        "distill": _optimize_trained.distill,
        "qat": _optimize_trained.qat,
        "compare": _optimize_compare.compare,
        "report": _optimize_graphs.report,
    }
    try:
        return actions[args.action](args)
    except ModelError as error:  # a model that cannot be used is an input, here
        raise ConfigurationError(str(error)) from error
    except KeyboardInterrupt:
        if args.action in _RESUMED:
            print(f"interrupted: the same command goes on with what is in {args.work}",
                  file=sys.stderr, flush=True)  # fmt: skip
        raise
