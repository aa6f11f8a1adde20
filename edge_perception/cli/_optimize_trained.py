"""`edge-perception optimize prune | distill | qat`: steps that train."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.cli._optimize_smaller import (
    golden_frames,
    judged_by,
    make_judge,
    read_model,
    say,
    split_frames,
    whole_bundle,
)
from edge_perception.cli._optimize_told import repeated, tell
from edge_perception.cli._optimize_variants import gate_of, target_folder
from edge_perception.cli._progress import Progress
from edge_perception.core.errors import ConfigurationError


@dataclass(kw_only=True)
class Work:
    """What a step works with."""

    source: Any  # TorchSource
    names: list[str]  # of its outputs
    outcome: Any
    bundle: Any = None
    target: Path | None = None
    frames: Sequence[Any] = ()  # graph inputs to train or calibrate with
    judge: Any = None
    keep: Any = None  # puts arrays on disk
    checkpoints: list[Path] = field(default_factory=list)  # of what was trained


def prune(args: argparse.Namespace) -> int:
    """Remove channels, train what is left, export, judge."""
    from edge_perception.optimize.shrinking import fine_tuned, pruned, size_of, widths

    with ExitStack() as stack:
        work = _begin(args, "prune", stack)
        before, whole = size_of(work.source), widths(work.source)
        told = [] if args.train or not args.steps else _told(args, work, stack)
        made = work.source
        for turn in range(args.rounds):
            # Equal shares of what is left, so that all rounds together remove what was asked for.
            kept = (1 - args.share) ** ((turn + 1) / args.rounds)
            made = pruned(made, share=1 - kept, keep=args.keep, multiple=args.multiple, whole=whole)
            say(f"{before['operations']} operations become {size_of(made)['operations']}")
            if not turn and not _rehearsed(args, work, made, "fp32"):
                return 2
            if args.train:
                made = fine_tuned(made, args.train)
            elif args.steps:
                _taught(args, work, made, told, turn)
        work.outcome.figures.update(
            share=args.share, rounds=args.rounds, before=before, after=size_of(made)
        )
        return _finish(args, work, made, "pruned", "fp32", stack)


def distill(args: argparse.Namespace) -> int:
    """Teach a small model what a large one says, export, judge."""
    from edge_perception.optimize.shrinking import size_of

    with ExitStack() as stack:
        work = _begin(args, "distill", stack)
        work.outcome.figures["after"] = size_of(work.source)
        if not _rehearsed(args, work, work.source, "fp32"):
            return 2
        _taught(args, work, work.source, _told(args, work, stack))
        return _finish(args, work, work.source, "distilled", "fp32", stack)


def qat(args: argparse.Namespace) -> int:
    """Train with quantisation in the loop, export the quantised graph, judge."""
    from edge_perception.optimize.shrinking import fine_tuned, folded, stripped, with_quantisers

    with ExitStack() as stack:
        work = _begin(args, "qat", stack)
        if not work.frames:
            raise ConfigurationError(
                "qat: expected frames to begin the ranges with: --bag of a --bundle, or --data"
            )
        made = with_quantisers(folded(work.source), work.frames[:100])
        if not _rehearsed(args, work, stripped(made), "int8"):
            return 2
        told = [] if args.train or not args.steps else _told(args, work, stack)
        if args.train:
            made = fine_tuned(made, args.train)
        elif args.steps:
            _taught(args, work, made, told)
        return _finish(args, work, stripped(made), "qat", "int8", stack)


def _begin(args: argparse.Namespace, step: str, stack: ExitStack) -> Work:
    """Open the model and the frames; all that can be refused is, before anything is trained."""
    from edge_perception.optimize.bag_frames import FrameStore
    from edge_perception.optimize.distilling import frames_of_function
    from edge_perception.optimize.findings import Outcome
    from edge_perception.optimize.sources import TorchSource, open_source
    from edge_perception.optimize.torch_check import named_outputs, run_torch

    if args.out.exists() and not args.replace:
        raise ConfigurationError(f"{args.out}: exists already: --replace, or another --out")
    source = open_source(
        args.model, shapes=args.input, inputs_file=args.inputs, weights=args.weights
    )
    if not isinstance(source, TorchSource) or source.is_script:
        raise ConfigurationError(
            f"{args.model}: expected MODULE:FACTORY, a model that can be trained"
        )
    raw = run_torch(source)
    names = [name for name, _ in named_outputs(raw, args.output)]
    if args.output and len(args.output) != len(names):
        raise ConfigurationError(f"--output: expected {len(names)} names, got {len(args.output)}")
    outcome = Outcome(step=step, subject=source.name, command=repeated())
    work = Work(source=source, names=names, outcome=outcome)
    if args.bundle:
        work.bundle = whole_bundle(args.bundle, args.folder)
        work.target = target_folder(args, f"{work.bundle.manifest.name}_{step}")
        _check_fits(work)
    elif args.bag:
        raise ConfigurationError("--bag: expected --bundle too, which says how frames are prepared")
    taken: Sequence[Any] = ()
    judged: Sequence[Any] = ()
    store = stack.enter_context(FrameStore())
    work.keep = store.keep
    if args.bag:
        taken, judged = split_frames(store, work.bundle, args)
        work.frames = [frame.inputs for frame in taken]
    if args.data:
        work.frames = frames_of_function(args.data, source.inputs, args.frames, keep=store.keep)
    if work.bundle is not None and (judged or args.simulated):
        work.judge = make_judge(args, work.bundle, store, (taken, judged), stack)
        outcome.figures["judge"] = {"measure": work.judge.what, "frames": work.judge.frames}
        outcome.figures["gate_points"] = args.gate
    return work


def _check_fits(work: Work) -> None:
    """A model that takes the place of a bundle has its inputs and outputs."""
    manifest = work.bundle.manifest
    wanted = {spec.name: tuple(spec.shape) for spec in manifest.inputs}
    given = {name: tuple(array.shape) for name, array in work.source.inputs.items()}
    outputs = [spec.name for spec in manifest.outputs]
    if wanted != given or sorted(outputs) != sorted(work.names):
        raise ConfigurationError(
            f"{work.source.name}: takes {given} and gives {', '.join(work.names)}; "
            f"{manifest.name} takes {wanted} and gives {', '.join(outputs)}: --input, --output"
        )


def _teacher_of(args: argparse.Namespace, work: Work, stack: ExitStack) -> Any:
    """Return what a frame is judged by: a graph or bundle, else the model as it was."""
    import copy
    from dataclasses import replace

    from edge_perception.backends import DEFAULT_BACKEND, BackendOptions, backends, load_model_bytes
    from edge_perception.optimize.sources import OnnxSource, open_source
    from edge_perception.optimize.torch_check import named_outputs, run_torch

    text = args.teacher or (args.bundle if args.action == "distill" else "")
    if text:
        source = open_source(text, folders=args.folder)
        if isinstance(source, OnnxSource):
            session = load_model_bytes(
                backends()[DEFAULT_BACKEND], source.data, Path(source.name), BackendOptions()
            )
            stack.callback(session.close)
            return lambda frame: {k: v.copy() for k, v in session.infer(frame).items()}
    elif args.action == "distill":
        raise ConfigurationError("distill: expected --teacher or --bundle, got neither")
    else:
        source = replace(work.source, module=copy.deepcopy(work.source.module).eval())
    return lambda frame: {
        name: value.numpy() for name, value in named_outputs(run_torch(source, frame), work.names)
    }


def _told(args: argparse.Namespace, work: Work, stack: ExitStack) -> list[Any]:
    """Return what the teacher says to each frame."""
    teacher = _teacher_of(args, work, stack)
    if not work.frames:
        raise ConfigurationError(
            f"{args.action}: expected frames to train with: --bag of a --bundle, --data, or your "
            "own training: --train MODULE:FUNCTION"
        )
    return [work.keep(teacher(frame)) for frame in work.frames]


def _taught(
    args: argparse.Namespace, work: Work, student: Any, told: Sequence[Any], turn: int = 0
) -> None:
    """Teach; `turn`: which of several trainings of the command."""
    from edge_perception.optimize.distilling import Plan, teach

    plan = Plan(
        steps=args.steps, batch=args.batch, learning_rate=args.rate, temperature=args.temperature,
        alpha=args.alpha, half=args.half,
    )  # fmt: skip
    say(f"teaching on {len(work.frames)} frames")
    checkpoint = args.work / f"{args.action}{f'_{turn + 1}' if turn else ''}.checkpoint.pt"
    work.checkpoints.append(checkpoint)
    losses = teach(
        student, work.frames, told, plan, names=work.names, own_loss=args.own_loss,
        checkpoint=checkpoint,
        progress=Progress(args.steps, "steps"),
    )  # fmt: skip
    tenth = max(1, len(losses) // 10)
    work.outcome.figures["training"] = {
        "steps": len(losses), "frames": len(work.frames),
        "loss_first": sum(losses[:tenth]) / tenth, "loss_last": sum(losses[-tenth:]) / tenth,
    }  # fmt: skip


def _rehearsed(args: argparse.Namespace, work: Work, made: Any, precision: str) -> bool:
    """Export and run what is going to be trained; False: told what must not be.

    Weights do not decide whether a graph exports and runs, so hours of training are not spent on
    one that does not.
    """
    from dataclasses import replace

    outcome = replace(work.outcome, findings=[], figures={}, tables={})
    _exported(args, work, made, precision, outcome, quick=True)
    if not outcome.passed:
        tell(outcome, args)
    return bool(outcome.passed)


def _exported(
    args: argparse.Namespace,
    work: Work,
    made: Any,
    precision: str,
    outcome: Any,
    *,
    quick: bool = False,
) -> bytes:
    """Return the graph of a module, checked and compared with it."""
    from edge_perception.optimize.eight_bits import runnable
    from edge_perception.optimize.exporting import export
    from edge_perception.optimize.graph_check import check_graph
    from edge_perception.optimize.parity import ParityInput, compare_sources
    from edge_perception.optimize.sources import OnnxSource

    eight = precision == "int8"
    data = export(made, opset=args.opset, outputs=work.names, traced=eight)
    data = runnable(data) if eight else data
    graph = OnnxSource(name=args.out.name, data=data)
    inputs = dict(made.inputs)
    check_graph(graph.name, data, outcome, inputs, opset=args.opset, quick=quick)
    if outcome.passed:
        # A value that lies between two steps may be rounded either way: not exact, but the same.
        presets = {} if eight else {"": "exact"}
        frames = [ParityInput(inputs=frame) for frame in work.frames[:4]] or [
            ParityInput(inputs=inputs)
        ]
        compare_sources(graph, made, frames, outcome, wanted=presets)
    return data


def _finish(
    args: argparse.Namespace, work: Work, made: Any, name: str, precision: str, stack: ExitStack
) -> int:
    """Export, check, compare with the module as trained, judge; files are there when all passed."""
    from edge_perception.core.whole_file import write_whole
    from edge_perception.optimize.candidates import Trials, write_variant
    from edge_perception.optimize.findings import ERROR
    from edge_perception.optimize.quantizing import tell_doubts

    outcome = work.outcome
    data = _exported(args, work, made, precision, outcome)
    best = None
    if outcome.passed and work.judge is not None:
        trials = stack.enter_context(Trials(work.bundle, work.judge, args.work, judged_by(args)))
        best = trials.candidate(name, data, precision)
        gate = gate_of(args)
        outcome.tables["candidates"] = [best.row(gate)]
        outcome.figures["base"] = {
            "p50_ms": trials.base_ms(), "bytes": len(read_model(work.bundle)),
            "score_points": best.verdict.base,
        }  # fmt: skip
        if not gate.holds(best.verdict):
            low, high = best.verdict.interval
            why = best.verdict.failure or (
                f"loses {best.verdict.loss:.2f} points ({low:.2f} to {high:.2f} with 95 %)"
            )
            outcome.add(
                ERROR, "gate", f"{name} {why}: not {gate}",
                "--steps, more frames, a smaller --share, or --gate",
            )  # fmt: skip
        else:
            tell_doubts(outcome, best, gate, work.judge.frames)
    if outcome.passed:
        write_whole(args.out, data)
        outcome.figures["file"] = args.out.name
        if work.target is not None and golden_frames(work.bundle):
            from edge_perception.optimize.candidates import Candidate
            from edge_perception.optimize.verdicts import Verdict

            unjudged = Candidate(
                name=name, data=data, precision=precision,
                verdict=Verdict(loss=float("nan"), base=float("nan"), score=float("nan")),
            )  # fmt: skip
            write_variant(
                work.bundle, work.target, best or unjudged, {"name": work.target.name},
                note=f"\n## {name}\n\nMade by `edge-perception optimize {args.action}`.\n",
                replace_it=args.replace,
            )  # fmt: skip
            outcome.figures["bundle"] = work.target.name
    for checkpoint in work.checkpoints if outcome.passed else ():
        checkpoint.unlink(missing_ok=True)
    return tell(outcome, args)
